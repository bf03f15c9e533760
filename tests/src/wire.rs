//! Watches the server's boundary: every frame the hub takes and gives, judged against the model.

mod presence;

use crate::{
    hold,
    model::{Model, passes, rooms::Span},
    violation::Checked,
};
use presence::Leases;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use wardline::protocol::{
    Address, ClientFrame, Cursor, Filter, Mark, ServerFrame,
    address::PUBLIC_TENANT,
    close,
    frames::{Event, Hello, Join, Joined, Lost, RoomMode},
};
use wardline_server::{
    hub::Principal,
    log::{ProducerKey, RoomKey},
};

/// A transport, over all nodes and lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// How long after its end a token may still be served (P-C6).
const EXPIRY_GRACE: Duration = Duration::from_secs(5);
/// How long a node may believe in a head that its log lost: it proves each active room once per
/// ping interval (P-K2), and whoever joined meanwhile is told `lost` with all others.
const UNNOTICED: Duration = Duration::from_secs(45);
/// How long after a revocation (P-C6a).
const REVOCATION_GRACE: Duration = Duration::from_secs(2);

/// What is known of every connection at the server's boundary.
#[derive(Debug, Default)]
pub struct Wire {
    conns: BTreeMap<LinkId, Conn>,
    leases: Leases,
}

/// One connection as its frames describe it.
#[derive(Debug, Default)]
pub struct Conn {
    /// The client process; none: a hostile peer.
    pub client: Option<usize>,
    /// Who speaks, as last told to the hub.
    pub principal: Option<Arc<Principal>>,
    hello: Option<Hello>,
    welcomed: bool,
    revoked: Option<Duration>,
    closed: bool,
    joins: BTreeMap<u64, (Join, Duration)>,
    /// Memberships, by address.
    pub rooms: BTreeMap<String, Member>,
    held: BTreeMap<u8, BTreeSet<u64>>,
}

/// One membership.
#[derive(Debug)]
pub struct Member {
    filter: Filter,
    /// Last number written.
    last: u64,
    last_mark: Option<Mark>,
    /// The position moved by `live` and heads.
    position: Cursor,
    mode: RoomMode,
    keys: BTreeMap<String, u64>,
    present: bool,
}

/// The moment at the server, for checks of time.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// World time.
    pub at: Duration,
    /// The server's wall clock, ms since 1970.
    pub wall: u64,
}

impl Wire {
    /// A connection was accepted.
    pub fn opened(&mut self, link: LinkId, client: Option<usize>) {
        self.conns.insert(link, Conn { client, ..Conn::default() });
    }

    /// What is known of a connection.
    #[must_use]
    pub fn conn(&self, link: LinkId) -> Option<&Conn> {
        self.conns.get(&link)
    }

    /// The hub is told who a token speaks for.
    pub fn verified(&mut self, link: LinkId, principal: &Principal) {
        if let Some(conn) = self.conns.get_mut(&link) {
            let other = conn.principal.as_ref().is_some_and(|before| {
                before.user != principal.user || before.tenant != principal.tenant
            });
            if other {
                // Never adopted: the connection is closed with 4203 (P-S1a).
                return;
            }
            conn.principal = Some(Arc::new(principal.clone()));
            conn.revoked = None;
        }
    }

    /// The hub is told of a revocation.
    pub fn revoked(&mut self, matches: impl Fn(&Principal) -> bool, now: Duration) {
        for conn in self.conns.values_mut() {
            if conn.principal.as_ref().is_some_and(|principal| matches(principal)) {
                conn.revoked.get_or_insert(now);
            }
        }
    }

    /// The hub takes a frame.
    ///
    /// # Errors
    /// An item under another owner's token, or a number its store does not know.
    pub fn received(
        &mut self,
        link: LinkId,
        frame: &ClientFrame,
        model: &Model,
        now: Duration,
    ) -> Checked {
        let Some(conn) = self.conns.get_mut(&link).filter(|conn| !conn.closed) else {
            return Ok(());
        };
        match frame {
            ClientFrame::Hello(hello) => conn.hello = Some(hello.clone()),
            ClientFrame::Join(join) => {
                conn.joins.insert(join.id, (join.clone(), now));
                if !join.present {
                    conn.absent(link, &join.room, &mut self.leases, now);
                }
            }
            ClientFrame::Leave(leave) => conn.absent(link, &leave.room, &mut self.leases, now),
            ClientFrame::Send(send) => {
                conn.numbered(send.lane, send.n, send.base);
                if let (Some(principal), Some(item), Some(_)) =
                    (&conn.principal, model.item(send.id), conn.client)
                {
                    // A store rolled back to before its binding may be bound anew.
                    let same = item.excused
                        || item.owner.as_ref().is_none_or(|owner| {
                            owner.tenant == principal.tenant && owner.user == principal.user
                        });
                    let (owner, user) = (&item.owner, &principal.user);
                    hold!(same, ForeignOutbox, "{} of {owner:?} sent as {user}", send.id);
                }
            }
            ClientFrame::Skip(skip) => conn.numbered(skip.lane, skip.n, skip.base),
            _ => {}
        }
        Ok(())
    }

    /// The hub writes one object to some connections.
    ///
    /// # Errors
    /// Whatever the frame breaks.
    pub fn sent(
        &mut self,
        links: &[LinkId],
        frame: &ServerFrame,
        model: &Model,
        now: Moment,
    ) -> Checked {
        for link in links {
            let Some(conn) = self.conns.get_mut(link) else { continue };
            hold!(!conn.closed, AfterClose, "{link:?} gets {frame:?} after its close");
            conn.check_timely(*link, frame, now)?;
            match frame {
                ServerFrame::Welcome(welcome) => {
                    hold!(!conn.welcomed, Invention, "{link:?} welcomed twice");
                    conn.welcomed = true;
                    let Some(key) = conn.producer() else { continue };
                    for (lane, n) in welcome.accepted.iter().flatten() {
                        let told = model.highest_told(&key, *lane);
                        hold!(
                            *n <= told || conn.based(*lane) >= *n,
                            ToldBeforeDurable,
                            "welcome.accepted {lane}: {n}, durable {told}"
                        );
                    }
                }
                ServerFrame::Joined(joined) => {
                    conn.joined(*link, joined, model, &mut self.leases)?;
                }
                ServerFrame::Left(left) => {
                    conn.joins.remove(&left.id.unwrap_or(u64::MAX));
                    if let Some(member) = conn.rooms.remove(&left.room)
                        && member.present
                        && let Some((key, user)) = conn.presence_key(&left.room)
                    {
                        self.leases.end(&key, &user, *link, true, now.at);
                    }
                }
                ServerFrame::Lost(lost) => {
                    // The membership is over; to come back within the grace is no absence.
                    if conn.rooms.get(&lost.room).is_some_and(|member| member.present)
                        && let Some((key, user)) = conn.presence_key(&lost.room)
                    {
                        self.leases.end(&key, &user, *link, false, now.at);
                    }
                    conn.lost(lost, model)?;
                }
                ServerFrame::Live(live) => {
                    let cursor = Cursor { seq: live.seq, mark: live.mark };
                    conn.told_position(*link, &live.room, cursor, model)?;
                }
                ServerFrame::Event(event) => conn.event(*link, event, model)?,
                ServerFrame::Ping(ping) => {
                    for head in &ping.heads {
                        let cursor = Cursor { seq: head.seq, mark: head.mark };
                        conn.told_position(*link, &head.room, cursor, model)?;
                    }
                }
                ServerFrame::Accepted(ok) => {
                    conn.answered(ok.lane, ok.n)?;
                    let Some(key) = conn.producer() else { continue };
                    let told = model.was_told(&key, ok.lane, ok.n, ok.id, true);
                    hold!(told, ToldBeforeDurable, "{ok:?} of {key:?} was not told by the log");
                }
                ServerFrame::Refused(refused) => {
                    conn.answered(refused.lane, refused.n)?;
                    let Some(key) = conn.producer() else { continue };
                    let told = model.was_told(&key, refused.lane, refused.n, refused.id, false);
                    hold!(told, ToldBeforeDurable, "{refused:?} was not told by the log");
                }
                ServerFrame::Hold(held) => {
                    let lane = held.lane;
                    let again = conn.held.insert(lane, BTreeSet::new()).is_some();
                    hold!(!again, HeldLane, "lane {lane} is held, and was not ended by `base`");
                }
                ServerFrame::Presence(presence) => {
                    let Some((key, _)) = conn.presence_key(&presence.room) else { continue };
                    for change in presence.changes.iter().filter(|change| change.gone) {
                        self.leases.gone(&key, &change.user, now.at)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The hub closes a connection, or is told that it ended.
    pub fn closed(
        &mut self,
        link: LinkId,
        by_client: Option<u16>,
        by_server: Option<u16>,
        now: Duration,
    ) {
        let Some(conn) = self.conns.get_mut(&link).filter(|conn| !conn.closed) else { return };
        conn.closed = true;
        let revoked = by_server == Some(close::TOKEN_REVOKED) || conn.revoked.is_some();
        let clean = by_client == Some(close::NORMAL) || revoked;
        conn.end_leases(link, &mut self.leases, clean, now);
        if clean {
            self.leases.end_cleanly(link);
        }
    }

    /// The server died: its connections are gone, and nobody knows who was present.
    pub fn server_died(&mut self, links: &[LinkId]) {
        for link in links {
            self.conns.remove(link);
        }
        self.leases.clear();
    }

    /// Forgets what a closed connection was.
    pub fn forget(&mut self, link: LinkId) {
        self.conns.remove(&link);
    }
}

impl Conn {
    /// Whether the hub welcomed and has not closed it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.welcomed && !self.closed
    }

    fn producer(&self) -> Option<ProducerKey> {
        // A hostile peer's numbers are its own affair.
        self.client?;
        let principal = self.principal.as_ref()?;
        Some(ProducerKey {
            tenant: principal.tenant.clone(),
            user: principal.user.clone(),
            producer: self.hello.as_ref()?.producer,
        })
    }

    fn based(&self, lane: u8) -> u64 {
        self.hello.as_ref().and_then(|hello| hello.lanes.get(&lane)).copied().unwrap_or(0)
    }

    fn presence_key(&self, room: &str) -> Option<(RoomKey, String)> {
        let principal = self.principal.as_ref()?;
        Some((room_key(principal, room)?, principal.user.as_str().to_owned()))
    }

    /// Everywhere where its user was shown, this connection stands for it no more.
    fn end_leases(&mut self, link: LinkId, leases: &mut Leases, clean: bool, now: Duration) {
        let Some(principal) = &self.principal else { return };
        for (room, member) in &mut self.rooms {
            if std::mem::replace(&mut member.present, false)
                && let Some(key) = room_key(principal, room)
            {
                leases.end(&key, principal.user.as_str(), link, clean, now);
            }
        }
    }

    /// The client asks not to be shown in a room any more.
    fn absent(&mut self, link: LinkId, room: &str, leases: &mut Leases, now: Duration) {
        let Some(member) = self.rooms.get_mut(room) else {
            // The membership was lost before: now it is not to come back.
            if let Some((key, user)) = self.presence_key(room) {
                leases.let_go(&key, &user, link);
            }
            return;
        };
        if std::mem::replace(&mut member.present, false)
            && let Some((key, user)) = self.presence_key(room)
        {
            leases.end(&key, &user, link, true, now);
        }
    }

    fn numbered(&mut self, lane: u8, n: u64, base: Option<u64>) {
        if base.is_some() {
            self.held.remove(&lane);
        } else if let Some(dropped) = self.held.get_mut(&lane) {
            dropped.insert(n);
        }
    }

    fn answered(&self, lane: u8, n: u64) -> Checked {
        let dropped = self.held.get(&lane).is_some_and(|dropped| dropped.contains(&n));
        hold!(!dropped, HeldLane, "number {n} of held lane {lane} was answered");
        Ok(())
    }

    fn check_timely(&self, link: LinkId, frame: &ServerFrame, now: Moment) -> Checked {
        if !matches!(frame, ServerFrame::Event(_) | ServerFrame::Presence(_)) {
            return Ok(());
        }
        let Some(principal) = &self.principal else {
            hold!(false, Permission, "{link:?} without a principal gets {frame:?}");
            return Ok(());
        };
        if let Some(expires) = principal.expires {
            let end = expires.saturating_add(crate::clock::millis(EXPIRY_GRACE));
            hold!(now.wall <= end, Permission, "{link:?} gets {frame:?} after its token's end");
        }
        if let Some(at) = self.revoked {
            let late = now.at.saturating_sub(at) > REVOCATION_GRACE;
            hold!(!late, Permission, "{link:?} gets {frame:?} after revocation");
        }
        Ok(())
    }

    fn joined(
        &mut self,
        link: LinkId,
        joined: &Joined,
        model: &Model,
        leases: &mut Leases,
    ) -> Checked {
        let Some((join, since)) = self.joins.remove(&joined.id) else {
            // A hostile peer may use one number twice.
            hold!(self.client.is_none(), Invention, "{link:?}: {joined:?} answers no join");
            return Ok(());
        };
        let Some(principal) = self.principal.clone() else {
            hold!(false, Permission, "{joined:?} without a principal");
            return Ok(());
        };
        let allowed = may_read(&principal, &joined.room);
        hold!(allowed, Permission, "{} of {} joined", principal.user, joined.room);
        let Some(key) = room_key(&principal, &joined.room) else { return Ok(()) };
        if let Some(room) = model.rooms.get(&key)
            && model.losses.last().is_none_or(|loss| *loss + UNNOTICED < since)
        {
            if let Some(cursor) = join.cursor
                && !joined.full
            {
                hold!(joined.cursor == cursor, Position, "{joined:?} for {join:?}");
                // A log made anew begins with a mark that only its first entry shows.
                let unknown = cursor.seq == 0 && room.mark(0).is_none();
                hold!(
                    unknown || room.stands(cursor),
                    ResumeWithoutProof,
                    "{link:?} joined {key:?} at {cursor:?}, the log has {:?}",
                    room.mark(cursor.seq)
                );
            }
            let durable = room.had(joined.head.mark) || joined.head.seq == 0;
            hold!(durable, ToldBeforeDurable, "{joined:?}: the head is not durable");
        }
        if join.present {
            leases.begin(&key, principal.user.as_str(), link);
        }
        let filter = join.filter.clone().canonical().unwrap_or_default();
        let member = Member {
            filter,
            last: joined.cursor.seq,
            last_mark: Some(joined.cursor.mark),
            position: joined.cursor,
            mode: joined.mode,
            keys: BTreeMap::new(),
            present: join.present,
        };
        self.rooms.insert(joined.room.clone(), member);
        Ok(())
    }

    fn lost(&mut self, lost: &Lost, model: &Model) -> Checked {
        let key = self.principal.as_ref().and_then(|principal| room_key(principal, &lost.room));
        let join = lost.id.and_then(|id| self.joins.remove(&id));
        let from = match &join {
            Some((join, _)) => join.cursor,
            None => self.rooms.get(&lost.room).map(|member| member.position),
        };
        // It does not attach; a membership overtaken is over.
        self.rooms.remove(&lost.room);
        if let (Some(key), Some(from)) = (key, from)
            && let Some(room) = model.rooms.get(&key)
            && room.tails_lost == 0
            && self.client.is_some()
        {
            let held = room.stands(from) && from.seq >= lost.first.seq;
            hold!(!held, FalseGap, "{lost:?}, but {from:?} stands");
        }
        Ok(())
    }

    fn told_position(
        &mut self,
        link: LinkId,
        name: &str,
        cursor: Cursor,
        model: &Model,
    ) -> Checked {
        let Some(key) = self.principal.as_ref().and_then(|p| room_key(p, name)) else {
            return Ok(());
        };
        let Some(member) = self.rooms.get_mut(name) else {
            hold!(self.client.is_none(), Membership, "{link:?}: position of {name}, no member");
            return Ok(());
        };
        let Some(room) = model.rooms.get(&key) else { return Ok(()) };
        let durable = room.had(cursor.mark) || cursor.seq == 0;
        hold!(durable, ToldBeforeDurable, "{key:?}: position {cursor:?} is not durable");
        // A hostile peer may join one room twice under one number: which answer is whose is open.
        if self.client.is_some() && member.mode == RoomMode::Log && cursor.seq > member.last {
            let span = room.between(member.last, member.last_mark, cursor.mark, &member.filter);
            let entry = model.rooms.ever(&key, cursor.mark);
            let itself = entry.is_some_and(|entry| passes(&member.filter, entry));
            hold!(
                !itself && span == Span::Follows(Vec::new()),
                SilentGap,
                "{link:?} told at {cursor:?} of {key:?}, wrote up to {}: {span:?}",
                member.last
            );
        }
        if cursor.seq >= member.position.seq {
            member.position = cursor;
        }
        Ok(())
    }

    fn event(&mut self, link: LinkId, event: &Event, model: &Model) -> Checked {
        let Some(principal) = self.principal.clone() else { return Ok(()) };
        let allowed = may_read(&principal, &event.room);
        hold!(allowed, Permission, "{} gets an event of {}", principal.user, event.room);
        let Some(key) = room_key(&principal, &event.room) else { return Ok(()) };
        let tag = format!(r#""tenant":"{}""#, key.tenant);
        let tainted = event.data.get().contains(r#""tenant":"#) && !event.data.get().contains(&tag);
        // What lay in a copied store may be sent by whoever got the copy.
        let item = event.id.and_then(|id| model.item(id));
        let tainted = tainted && item.is_none_or(|item| !item.copied && !item.excused);
        hold!(!tainted, TenantTaint, "{} of {key:?} gets {event:?}", principal.user);
        let Some(member) = self.rooms.get_mut(&event.room) else {
            hold!(self.client.is_none(), Membership, "{link:?} gets {event:?}, no member");
            return Ok(());
        };
        let (Some(seq), Some(mark)) = (event.seq, event.mark) else { return Ok(()) };
        let Some(entry) = model.rooms.ever(&key, mark) else {
            hold!(false, ToldBeforeDurable, "{link:?} gets {event:?}, not in the log");
            return Ok(());
        };
        let same = entry.seq == seq
            && Some(entry.id) == event.id
            && *entry.from == *event.from
            && *entry.event == *event.event
            && entry.data == event.data;
        hold!(same, Invention, "{event:?} is not {entry:?}");
        hold!(passes(&member.filter, entry), Invention, "{event:?} fails {:?}", member.filter);
        if let (RoomMode::Latest, Some(name), Some(_)) = (member.mode, &event.key, self.client) {
            let last = member.keys.insert(name.clone(), seq).unwrap_or(0);
            hold!(last < seq, Double, "{link:?}: {event:?} behind {last}");
            return Ok(());
        }
        if self.client.is_none() {
            return Ok(());
        }
        let prev = event.prev.unwrap_or(seq.saturating_sub(1));
        hold!(seq > member.last, Double, "{link:?}: {seq} of {key:?} behind {}", member.last);
        // A view that was made at a position nobody has an event of counts from that position,
        // which `joined`, `live` or a head told this member before.
        hold!(
            prev < seq && prev <= member.last.max(member.position.seq),
            Position,
            "{link:?}: prev {prev} of {seq} in {key:?}, wrote up to {}",
            member.last
        );
        if let Some(room) = model.rooms.get(&key) {
            let span = room.between(member.last, member.last_mark, mark, &member.filter);
            hold!(
                span == Span::Follows(Vec::new()),
                SilentGap,
                "{link:?} gets {seq} of {key:?} behind {}: {span:?}",
                member.last
            );
        }
        member.last = seq;
        member.last_mark = Some(mark);
        if seq > member.position.seq {
            member.position = Cursor { seq, mark };
        }
        Ok(())
    }
}

/// The log key of a room for a principal: its own tenant, or the public one (P-F4).
#[must_use]
pub fn room_key(principal: &Principal, room: &str) -> Option<RoomKey> {
    let room: Address = room.parse().ok()?;
    let public = room.parts().next() == Some("public");
    let tenant = if public { PUBLIC_TENANT.into() } else { principal.tenant.clone() };
    Some(RoomKey { tenant, room })
}

/// Whether a principal may read a room: the claims' parts, whole against whole (P-F4).
#[must_use]
pub fn may_read(principal: &Principal, room: &str) -> bool {
    let Ok(room) = room.parse::<Address>() else { return false };
    let parts: Vec<&str> = room.parts().collect();
    parts.windows(2).all(|pair| match pair[0] {
        "tenant" => pair[1] == principal.tenant.as_str(),
        "org" => principal.organization.as_ref().is_some_and(|org| org.as_str() == pair[1]),
        "user" => pair[1] == principal.user.as_str(),
        _ => true,
    })
}
