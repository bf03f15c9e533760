//! Presence: this client's own status, and a mirror of each watched room (P-P).
//!
//! The mirror survives the connection, so that after a reconnect only real differences become
//! events.

use super::{
    backoff::uniform,
    io::{Error, PresenceChange, SubId},
};
use crate::fifo::Fifo;
use crate::table::list;
use crate::table::{Set, Table};
use crate::{
    model::{ids::UserId, presence::Status},
    protocol::{
        Address, Code, Json,
        frames::{self, Member, SetStatus},
        limits::META_BYTES,
        wire::{whole, words},
    },
    time::Instant,
};
use fastrand::Rng;
use std::time::Duration;

/// Members mirrored per room; who comes past it is not mirrored.
const MAX_MEMBERS: usize = 50_000;
/// After a node's death or restart members may be late for this long (P-P2), and some more.
const LATE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(75)];
/// Time to the next question where one came to nothing.
const ASK_AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(10)];

/// What the mirrors want done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PresenceOutput {
    /// Tell a subscription.
    Change(SubId, PresenceChange),
    /// Ask for a room's members.
    Ask(Address),
}

/// How far a mirror agrees with the server.
#[derive(Clone, Debug)]
enum Agreement {
    /// A snapshot has to come: with the join, or asked for.
    None,
    /// Pages of a snapshot are coming.
    Paging(Pages),
    /// Changes follow `version`; none: the answer did not name it, the next change does.
    At { version: Option<u64> },
}

#[derive(Clone, Debug)]
struct Pages {
    version: Option<u64>,
    members: Table<UserId, Member>,
    /// Changes came between the pages: ask again at their end.
    missed: bool,
}

#[derive(Clone, Debug)]
struct Mirror {
    agreement: Agreement,
    members: Table<UserId, Member>,
    /// Who has been told all members; the others get a snapshot first.
    told: Set<SubId>,
    asking: bool,
    ask_at: Option<Instant>,
}

/// The answer to `call presence`.
struct Snapshot {
    version: Option<u64>,
    presence: Vec<Member>,
    partial: bool,
}

impl Snapshot {
    fn read(answer: &Json) -> Option<Self> {
        whole(answer.get(), |fields| Self {
            version: fields.maybe("version"),
            presence: fields.maybe("presence").unwrap_or_else(|| fields.need("members")),
            partial: fields.or_default("partial"),
        })
    }
}

/// Own status and mirrors.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    own: SetStatus,
    mirrors: Table<Address, Mirror>,
    output: Fifo<PresenceOutput>,
    rng: Rng,
}

impl Presence {
    /// Online, and without mirrors.
    pub(super) fn new(rng: Rng) -> Self {
        Self { own: SetStatus::default(), mirrors: Table::new(), output: Fifo::new(), rng }
    }

    // Own status.

    /// The application sets its status; absent parts stay. Returns the frame to send.
    pub(super) fn handle_set_status(
        &mut self,
        status: Option<Status>,
        meta: Option<Json>,
    ) -> Result<SetStatus, Error> {
        if meta.as_ref().is_some_and(|meta| meta.get().len() > META_BYTES) {
            let text = words("the metadata is larger than ", META_BYTES as u64, " bytes");
            return Err(Error { code: Code::BAD_STATUS, text });
        }
        self.own.status = status.or(self.own.status);
        self.own.meta = meta.clone().or_else(|| self.own.meta.take());
        Ok(SetStatus { status, meta, hidden: None })
    }

    /// The application is seen, or not. Returns the frame to send if that is news.
    pub(super) fn handle_hidden(&mut self, hidden: bool) -> Option<SetStatus> {
        let news = self.is_hidden() != hidden;
        self.own.hidden = Some(hidden);
        news.then(|| SetStatus { hidden: Some(hidden), ..SetStatus::default() })
    }

    /// Whether no one sees this client now.
    pub(super) fn is_hidden(&self) -> bool {
        self.own.hidden == Some(true)
    }

    /// What each new connection is told; `hidden` travels in `hello`.
    pub(super) fn retold(&self) -> Option<SetStatus> {
        let set = self.own.status.is_some() || self.own.meta.is_some();
        set.then(|| SetStatus { hidden: None, ..self.own.clone() })
    }

    // Mirrors.

    /// How many rooms are mirrored.
    pub(super) fn len(&self) -> usize {
        self.mirrors.len()
    }

    /// A `presence` frame of a room with these watching subscriptions.
    pub(super) fn handle_frame(
        &mut self,
        frame: frames::Presence,
        watchers: &[SubId],
        now: Instant,
    ) {
        let Ok(room) = frame.room.parse::<Address>() else { return };
        if watchers.is_empty() {
            self.mirrors.remove(&room);
            return;
        }
        let mirror = self.mirrors.or_insert_with(room.clone(), Mirror::new);
        let Some(page) = frame.members else {
            if mirror.handle_changes(frame.version, frame.changes, watchers, &mut self.output) {
                self.ask(&room);
            }
            return;
        };
        if let Some(pages) = mirror.handle_page(frame.version, page, frame.more) {
            let again = pages.missed;
            self.settle(&room, pages, frame.partial, watchers, now);
            if again {
                self.ask(&room);
            }
        }
    }

    /// The answer to [`PresenceOutput::Ask`]; none: there was none.
    pub(super) fn handle_members(
        &mut self,
        room: &Address,
        answer: Option<Json>,
        watchers: &[SubId],
        now: Instant,
    ) {
        let Some(mirror) = self.mirrors.get_mut(room) else { return };
        mirror.asking = false;
        match answer.and_then(|json| Snapshot::read(&json)) {
            Some(answer) => {
                let members = by_user(answer.presence);
                let version = answer.version;
                let pages = Pages { version, members, missed: false };
                self.settle(room, pages, answer.partial, watchers, now);
            }
            None => mirror.ask_at = Some(now + uniform(&mut self.rng, ASK_AGAIN[0], ASK_AGAIN[1])),
        }
    }

    /// Tells the members to subscriptions that came after them.
    pub(super) fn tell(&mut self, room: &Address, watchers: &[SubId]) {
        if let Some(mirror) = self.mirrors.get_mut(room)
            && matches!(mirror.agreement, Agreement::At { .. })
        {
            mirror.tell_newcomers(watchers, &mut self.output);
        }
    }

    /// Nobody watches these rooms any more, or the membership ended.
    pub(super) fn retain(&mut self, watched: impl Fn(&Address) -> bool) {
        self.mirrors.retain(|room, _| watched(room));
    }

    /// The connection is gone: what comes next is a snapshot.
    pub(super) fn handle_link_down(&mut self) {
        for mirror in self.mirrors.values_mut() {
            mirror.agreement = Agreement::None;
            mirror.asking = false;
            mirror.ask_at = None;
        }
    }

    /// Another user: nothing of the last one stays.
    pub(super) fn handle_owner_changed(&mut self) {
        self.mirrors.clear();
        self.own = SetStatus { hidden: self.own.hidden, ..SetStatus::default() };
    }

    /// The next moment a room is to be asked for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.mirrors.values().filter_map(|mirror| mirror.ask_at).min()
    }

    /// Asks for the rooms that are due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let due = |mirror: &Mirror| mirror.ask_at.is_some_and(|at| at <= now);
        let rooms = self.mirrors.keys_where(&|_, mirror| due(mirror));
        for room in rooms {
            self.ask(&room);
        }
    }

    /// What to do next.
    pub(super) fn poll_output(&mut self) -> Option<PresenceOutput> {
        self.output.pop_front()
    }

    fn ask(&mut self, room: &Address) {
        let Some(mirror) = self.mirrors.get_mut(room) else { return };
        mirror.ask_at = None;
        if !mirror.asking {
            mirror.asking = true;
            mirror.agreement = Agreement::None;
            self.output.push_back(PresenceOutput::Ask(room.clone()));
        }
    }

    fn settle(
        &mut self,
        room: &Address,
        pages: Pages,
        partial: bool,
        watchers: &[SubId],
        now: Instant,
    ) {
        let Some(mirror) = self.mirrors.get_mut(room) else { return };
        mirror.asking = false;
        // Who is missing from a partial snapshot may only be late: a later one decides (P-P3).
        mirror.ask_at = partial.then(|| now + uniform(&mut self.rng, LATE[0], LATE[1]));
        mirror.replace(pages, partial, watchers, &mut self.output);
    }
}

impl Mirror {
    fn new() -> Self {
        Self {
            agreement: Agreement::None,
            members: Table::new(),
            told: Set::new(),
            asking: false,
            ask_at: None,
        }
    }

    /// Returns all pages with the last one.
    fn handle_page(&mut self, version: u64, page: Vec<Member>, more: bool) -> Option<Pages> {
        let mut pages = match std::mem::replace(&mut self.agreement, Agreement::None) {
            Agreement::Paging(pages) if pages.version == Some(version) => pages,
            _ => Pages { version: Some(version), members: Table::new(), missed: false },
        };
        pages.members.extend(by_user(page));
        if more && pages.members.len() < MAX_MEMBERS {
            self.agreement = Agreement::Paging(pages);
            return None;
        }
        Some(pages)
    }

    /// Returns whether the room has to be asked for again.
    fn handle_changes(
        &mut self,
        next: u64,
        changes: Vec<frames::Change>,
        watchers: &[SubId],
        output: &mut Fifo<PresenceOutput>,
    ) -> bool {
        match &mut self.agreement {
            Agreement::None => return false,
            Agreement::Paging(pages) => {
                pages.missed |= pages.version.is_none_or(|version| next > version);
                return false;
            }
            Agreement::At { version: Some(version) } if next <= *version => return false,
            Agreement::At { version: Some(version) } if next > version.saturating_add(1) => {
                return true;
            }
            Agreement::At { version } => *version = Some(next),
        }
        for change in changes {
            if change.gone {
                if self.members.remove(&change.user).is_some() {
                    self.tell(watchers, &PresenceChange::Left(change.user), output);
                }
                continue;
            }
            // What a change does not name stays as it was.
            let known = self.members.get(&change.user);
            let status = change.status.or(known.map(|known| known.status)).unwrap_or_default();
            let meta = change.meta.or_else(|| known.and_then(|known| known.meta.clone()));
            self.put(Member { user: change.user, status, meta }, watchers, output);
        }
        false
    }

    fn replace(
        &mut self,
        pages: Pages,
        partial: bool,
        watchers: &[SubId],
        output: &mut Fifo<PresenceOutput>,
    ) {
        self.agreement = Agreement::At { version: pages.version };
        if !partial {
            let gone = self.members.keys_where(&|user, _| !pages.members.contains_key(user));
            for user in gone {
                self.members.remove(&user);
                self.tell(watchers, &PresenceChange::Left(user), output);
            }
        }
        for (_, member) in pages.members {
            self.put(member, watchers, output);
        }
        self.tell_newcomers(watchers, output);
    }

    fn put(&mut self, member: Member, watchers: &[SubId], output: &mut Fifo<PresenceOutput>) {
        let change = match self.members.get(&member.user) {
            Some(known) if *known == member => return,
            Some(_) => PresenceChange::Updated(member.clone()),
            None if self.members.len() >= MAX_MEMBERS => return,
            None => PresenceChange::Joined(member.clone()),
        };
        self.members.insert(member.user.clone(), member);
        self.tell(watchers, &change, output);
    }

    /// Tells those who know the rest.
    fn tell(&self, watchers: &[SubId], change: &PresenceChange, output: &mut Fifo<PresenceOutput>) {
        for sub in watchers.iter().filter(|sub| self.told.contains(sub)) {
            output.push_back(PresenceOutput::Change(*sub, change.clone()));
        }
    }

    fn tell_newcomers(&mut self, watchers: &[SubId], output: &mut Fifo<PresenceOutput>) {
        self.told.retain(|sub| watchers.contains(sub));
        for sub in watchers {
            if self.told.insert(*sub) {
                let all = PresenceChange::Snapshot(list(self.members.values().cloned()));
                output.push_back(PresenceOutput::Change(*sub, all));
            }
        }
    }
}

fn by_user(members: Vec<Member>) -> Table<UserId, Member> {
    members.into_iter().take(MAX_MEMBERS).map(|member| (member.user.clone(), member)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use PresenceChange::{Joined, Left, Snapshot as All, Updated};

    const SUB: SubId = SubId(1);

    fn at(seconds: u64) -> Instant {
        Instant::new(Duration::from_secs(seconds))
    }

    fn member(user: &str) -> Member {
        Member { user: user.into(), status: Status::Online, meta: None }
    }

    fn snapshot(version: u64, users: &[&str]) -> frames::Presence {
        frames::Presence {
            room: "a/b".into(),
            version,
            members: Some(users.iter().map(|user| member(user)).collect()),
            ..frames::Presence::default()
        }
    }

    fn change(version: u64, user: &str, status: Option<Status>) -> frames::Presence {
        let gone = status.is_none();
        let change = frames::Change { user: user.into(), status, meta: None, gone };
        let changes = vec![change];
        frames::Presence { room: "a/b".into(), version, changes, ..frames::Presence::default() }
    }

    fn told(presence: &mut Presence) -> Vec<PresenceChange> {
        std::iter::from_fn(|| presence.poll_output())
            .map(|output| match output {
                PresenceOutput::Change(_, change) => change,
                PresenceOutput::Ask(room) => panic!("asks for {room}"),
            })
            .collect()
    }

    fn presence() -> Presence {
        Presence::new(Rng::with_seed(1))
    }

    #[test]
    fn p_p1_a_snapshot_in_pages_then_differences() {
        let mut presence = presence();
        presence.handle_frame(
            frames::Presence { more: true, ..snapshot(4, &["ann"]) },
            &[SUB],
            at(0),
        );
        assert!(told(&mut presence).is_empty());
        presence.handle_frame(snapshot(4, &["bob"]), &[SUB], at(0));
        assert_eq!(told(&mut presence), [All(vec![member("ann"), member("bob")])]);
        presence.handle_frame(change(5, "bob", Some(Status::Busy)), &[SUB], at(1));
        presence.handle_frame(change(5, "bob", None), &[SUB], at(1));
        presence.handle_frame(change(6, "ann", None), &[SUB], at(1));
        let busy = Member { status: Status::Busy, ..member("bob") };
        assert_eq!(told(&mut presence), [Updated(busy), Left("ann".into())]);
    }

    #[test]
    fn p_p1_a_missed_version_is_asked_for_once() {
        let mut presence = presence();
        presence.handle_frame(snapshot(4, &["ann"]), &[SUB], at(0));
        told(&mut presence);
        presence.handle_frame(change(6, "bob", Some(Status::Online)), &[SUB], at(1));
        presence.handle_frame(change(7, "cid", Some(Status::Online)), &[SUB], at(1));
        assert_eq!(presence.poll_output(), Some(PresenceOutput::Ask("a/b".parse().unwrap())));
        assert_eq!(presence.poll_output(), None);
        let answer = r#"{"presence":[{"user":"bob","status":"online"}]}"#;
        let answer = Some(Json::parse(answer).unwrap());
        presence.handle_members(&"a/b".parse().unwrap(), answer, &[SUB], at(2));
        assert_eq!(told(&mut presence), [Left("ann".into()), Joined(member("bob"))]);
        presence.handle_frame(change(8, "bob", None), &[SUB], at(3));
        assert_eq!(told(&mut presence), [Left("bob".into())]);
    }

    #[test]
    fn p_p1_after_a_reconnect_only_real_differences_become_events() {
        let mut presence = presence();
        presence.handle_frame(snapshot(4, &["ann", "bob"]), &[SUB], at(0));
        told(&mut presence);
        presence.handle_link_down();
        presence.handle_frame(change(9, "zed", None), &[SUB], at(1));
        presence.handle_frame(snapshot(1, &["ann", "cid"]), &[SUB], at(2));
        assert_eq!(told(&mut presence), [Left("bob".into()), Joined(member("cid"))]);
    }

    #[test]
    fn p_p3_no_one_is_gone_by_a_partial_snapshot_until_a_whole_one_says_so() {
        let mut presence = presence();
        presence.handle_frame(snapshot(4, &["ann", "bob"]), &[SUB], at(0));
        told(&mut presence);
        presence.handle_link_down();
        let partial = frames::Presence { partial: true, ..snapshot(1, &["bob"]) };
        presence.handle_frame(partial, &[SUB], at(10));
        assert!(told(&mut presence).is_empty());
        let due = presence.deadline().unwrap();
        assert!((70..=85).contains(&due.since_start().as_secs()));
        presence.handle_timeout(due);
        assert!(matches!(presence.poll_output(), Some(PresenceOutput::Ask(_))));
        let answer = r#"{"version":1,"members":[{"user":"bob","status":"online"}]}"#;
        let answer = Some(Json::parse(answer).unwrap());
        presence.handle_members(&"a/b".parse().unwrap(), answer, &[SUB], due);
        assert_eq!(told(&mut presence), [Left("ann".into())]);
        assert_eq!(presence.deadline(), None);
    }

    #[test]
    fn a_later_subscription_is_told_everyone_first() {
        let mut presence = presence();
        presence.handle_frame(snapshot(4, &["ann"]), &[SUB], at(0));
        told(&mut presence);
        presence.tell(&"a/b".parse().unwrap(), &[SUB, SubId(2)]);
        assert_eq!(
            presence.poll_output(),
            Some(PresenceOutput::Change(SubId(2), All(vec![member("ann")])))
        );
        assert_eq!(presence.poll_output(), None);
    }

    #[test]
    fn changes_between_pages_are_not_lost() {
        let mut presence = presence();
        let first = frames::Presence { more: true, ..snapshot(4, &["ann"]) };
        presence.handle_frame(first, &[SUB], at(0));
        presence.handle_frame(change(5, "ann", None), &[SUB], at(0));
        presence.handle_frame(snapshot(4, &["bob"]), &[SUB], at(0));
        let out: Vec<_> = std::iter::from_fn(|| presence.poll_output()).collect();
        assert!(matches!(out[..], [PresenceOutput::Change(..), PresenceOutput::Ask(_)]));
    }

    #[test]
    fn p_p1_what_was_set_is_kept_and_told_again() {
        let mut presence = presence();
        assert_eq!(presence.retold(), None);
        let meta = Json::parse("{\"desk\":4}").unwrap();
        presence.handle_set_status(Some(Status::Busy), Some(meta.clone())).unwrap();
        presence.handle_set_status(Some(Status::Away), None).unwrap();
        assert!(presence.handle_hidden(true).is_some() && presence.handle_hidden(true).is_none());
        let retold = presence.retold().unwrap();
        assert_eq!((retold.status, retold.meta), (Some(Status::Away), Some(meta)));
        let large = Json::of(&"x".repeat(META_BYTES)).unwrap();
        let error = presence.handle_set_status(None, Some(large)).unwrap_err();
        assert_eq!(error.code, Code::BAD_STATUS);
    }
}
