//! One connection as its frames describe it, and what its frames must keep to.

use super::{LinkId, Moment, may_read, presence::Leases, presence_key, room_key};
use crate::{
    hold,
    model::{Model, passes, rooms::Span},
    violation::Checked,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use wardline::model::ids::ItemId;
use wardline::protocol::{
    Cursor, Filter, Mark, ServerFrame,
    frames::{Event, Hello, Join, Joined, Lost, RoomMode},
};
use wardline_server::{
    hub::Principal,
    log::{ProducerKey, RoomKey},
};

/// How long after its end a token may still be served (P-C6).
const EXPIRY_GRACE: Duration = Duration::from_secs(5);
/// How long a node may believe in a head that its log lost: it proves each active room once per
/// ping interval (P-K2), and whoever joined meanwhile is told `lost` with all others.
const UNNOTICED: Duration = Duration::from_secs(45);
/// How long after a revocation (P-C6a).
const REVOCATION_GRACE: Duration = Duration::from_secs(2);

/// One connection as its frames describe it.
#[derive(Debug, Default)]
pub struct Conn {
    /// The client process; none: a hostile peer.
    pub client: Option<usize>,
    /// Who speaks, as last told to the hub.
    pub principal: Option<Arc<Principal>>,
    pub(super) hello: Option<Hello>,
    pub(super) welcomed: bool,
    pub(super) revoked: Option<Duration>,
    pub(super) closed: bool,
    pub(super) joins: BTreeMap<u64, (Join, Duration)>,
    /// Memberships, by address.
    pub rooms: BTreeMap<String, Member>,
    pub(super) held: BTreeMap<u8, BTreeSet<(u64, ItemId)>>,
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
    pub(super) present: bool,
}

impl Conn {
    /// Whether the hub welcomed and has not closed it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.welcomed && !self.closed
    }

    pub(super) fn producer(&self) -> Option<ProducerKey> {
        // A hostile peer's numbers are its own affair.
        self.client?;
        let principal = self.principal.as_ref()?;
        Some(ProducerKey {
            tenant: principal.tenant.clone(),
            user: principal.user.clone(),
            producer: self.hello.as_ref()?.producer,
        })
    }

    pub(super) fn based(&self, lane: u8) -> u64 {
        self.hello.as_ref().and_then(|hello| hello.lanes.get(&lane)).copied().unwrap_or(0)
    }

    pub(super) fn presence_key(&self, room: &str) -> Option<(RoomKey, String)> {
        let principal = self.principal.as_ref()?;
        Some((presence_key(principal, room)?, principal.user.as_str().to_owned()))
    }

    /// Everywhere where its user was shown, this connection stands for it no more.
    pub(super) fn end_leases(
        &mut self,
        link: LinkId,
        leases: &mut Leases,
        clean: bool,
        now: Duration,
    ) {
        let Some(principal) = &self.principal else { return };
        for (room, member) in &mut self.rooms {
            if std::mem::replace(&mut member.present, false)
                && let Some(key) = presence_key(principal, room)
            {
                leases.end(&key, principal.user.as_str(), link, clean, now);
            }
        }
    }

    /// The client asks not to be shown in a room any more.
    pub(super) fn absent(&mut self, link: LinkId, room: &str, leases: &mut Leases, now: Duration) {
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

    pub(super) fn numbered(&mut self, lane: u8, n: u64, id: ItemId, base: Option<u64>) {
        if base.is_some() {
            self.held.remove(&lane);
        } else if let Some(dropped) = self.held.get_mut(&lane) {
            dropped.insert((n, id));
        }
    }

    pub(super) fn answered(&self, lane: u8, n: u64, id: ItemId) -> Checked {
        let dropped = self.held.get(&lane).is_some_and(|dropped| dropped.contains(&(n, id)));
        hold!(!dropped, HeldLane, "number {n} of held lane {lane} was answered");
        Ok(())
    }

    pub(super) fn check_timely(&self, link: LinkId, frame: &ServerFrame, now: Moment) -> Checked {
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

    pub(super) fn joined(
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
        if join.present
            && let Some(key) = presence_key(&principal, &joined.room)
        {
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

    pub(super) fn lost(&mut self, lost: &Lost, model: &Model) -> Checked {
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

    pub(super) fn told_position(
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

    pub(super) fn event(&mut self, link: LinkId, event: &Event, model: &Model) -> Checked {
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
