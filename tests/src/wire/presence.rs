//! Leases of presence as the frames describe them: no one is gone who is there or in grace (P-P2).

use super::LinkId;
use crate::{hold, violation::Checked};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use wardline::{model::ids::UserId, protocol::limits::GRACE};
use wardline_server::log::RoomKey;

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases(BTreeMap<(RoomKey, String), Lease>);

#[derive(Debug, Default)]
struct Lease {
    links: BTreeSet<LinkId>,
    /// When the last one ended, whether that means gone at once, and which it was.
    ended: Option<(Duration, bool, LinkId)>,
}

impl Leases {
    pub(super) fn begin(&mut self, room: &RoomKey, user: &str, link: LinkId) {
        let lease = self.0.entry((room.clone(), user.to_owned())).or_default();
        lease.links.insert(link);
        lease.ended = None;
    }

    pub(super) fn end(
        &mut self,
        room: &RoomKey,
        user: &str,
        link: LinkId,
        clean: bool,
        now: Duration,
    ) {
        if let Some(lease) = self.0.get_mut(&(room.clone(), user.to_owned()))
            && lease.links.remove(&link)
            && lease.links.is_empty()
        {
            lease.ended = Some((now, clean, link));
        }
    }

    /// A connection whose membership was lost does not come back to be shown.
    pub(super) fn let_go(&mut self, room: &RoomKey, user: &str, link: LinkId) {
        if let Some(lease) = self.0.get_mut(&(room.clone(), user.to_owned()))
            && let Some((_, clean, last)) = &mut lease.ended
            && *last == link
        {
            *clean = true;
        }
    }

    /// A connection ended in a way that means gone at once, also where its membership was lost
    /// before.
    pub(super) fn end_cleanly(&mut self, link: LinkId) {
        for lease in self.0.values_mut() {
            if let Some((_, clean, last)) = &mut lease.ended
                && *last == link
            {
                *clean = true;
            }
        }
    }

    pub(super) fn gone(&self, room: &RoomKey, user: &UserId, now: Duration) -> Checked {
        let Some(lease) = self.0.get(&(room.clone(), user.as_str().to_owned())) else {
            return Ok(());
        };
        hold!(lease.links.is_empty(), PresenceFlap, "{user} gone from {room:?} while there");
        let Some((ended, clean, _)) = lease.ended else { return Ok(()) };
        let waited = now.saturating_sub(ended);
        hold!(
            clean || waited >= GRACE,
            PresenceFlap,
            "{user} gone from {room:?} {waited:?} after its connection"
        );
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
