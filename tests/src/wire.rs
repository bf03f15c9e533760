//! Watches the server's boundary: every frame the hub takes and gives, judged against the model.

mod conn;
mod presence;

pub use conn::{Conn, Member};

use crate::{hold, model::Model, violation::Checked};
use presence::Leases;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use wardline::protocol::{
    Address, ClientFrame, Cursor, ServerFrame, address::PUBLIC_TENANT, close,
};
use wardline_server::{hub::Principal, log::RoomKey};

/// A transport, over all nodes and lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What is known of every connection at the server's boundary.
#[derive(Debug, Default)]
pub struct Wire {
    conns: BTreeMap<LinkId, Conn>,
    leases: Leases,
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
                conn.numbered(send.lane, send.n, send.id, send.base);
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
            ClientFrame::Skip(skip) => conn.numbered(skip.lane, skip.n, skip.id, skip.base),
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
                    conn.answered(ok.lane, ok.n, ok.id)?;
                    let Some(key) = conn.producer() else { continue };
                    let told = model.was_told(&key, ok.lane, ok.n, ok.id, true);
                    hold!(told, ToldBeforeDurable, "{ok:?} of {key:?} was not told by the log");
                }
                ServerFrame::Refused(refused) => {
                    conn.answered(refused.lane, refused.n, refused.id)?;
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

/// The log key of a room for a principal: its own tenant, or the public one (P-F4).
#[must_use]
pub fn room_key(principal: &Principal, room: &str) -> Option<RoomKey> {
    let room: Address = room.parse().ok()?;
    let public = room.parts().next() == Some("public");
    let tenant = if public { PUBLIC_TENANT.into() } else { principal.tenant.clone() };
    Some(RoomKey { tenant, room })
}

/// Where a principal is shown: in a public room only to its own tenant's people.
#[must_use]
pub fn presence_key(principal: &Principal, room: &str) -> Option<RoomKey> {
    Some(RoomKey { tenant: principal.tenant.clone(), room: room.parse().ok()? })
}

/// Whether a principal without roles may read a room: by its first part, and by `org` wherever it
/// stands, whole part against whole part (P-F4).
#[must_use]
pub fn may_read(principal: &Principal, room: &str) -> bool {
    let Ok(room) = room.parse::<Address>() else { return false };
    let parts: Vec<&str> = room.parts().collect();
    let part = |index: usize| parts.get(index).copied();
    let (tenant, user) = (principal.tenant.as_str(), principal.user.as_str());
    let by_first = match part(0).unwrap_or_default() {
        "tenant" => part(1) == Some(tenant),
        "user" => part(1) == Some(user),
        "notifications" => part(1) == Some(tenant) && part(2) == Some(user),
        _ => true,
    };
    let own = principal.organization.as_ref().map(|own| own.as_str());
    let mut organizations = parts.iter().enumerate().filter(|(_, part)| **part == "org");
    by_first && organizations.all(|(at, _)| own.is_some() && part(at + 1) == own)
}
