//! Viewers without a connection: who they are, and when they must stop (P-C6, P-C6a).
//!
//! What holds for a member holds for them: nothing is shown before the tenant's revocations are
//! known, and nothing after the token's end or its revocation.

use super::{
    AuthError, Hub, Output, Principal, Revocation, Tap,
    media::TapId,
    permissions::{Action, authorize, room_key},
    revocations::{self, Verdict},
    timers::Timer,
};
use std::{collections::BTreeMap, sync::Arc};
use wardline::{
    model::ids::TenantId,
    protocol::{Address, Code},
};

/// Viewers without a connection, of all tenants of this hub.
const MOST: usize = 4096;
/// Of one user.
const MOST_OF_USER: usize = 256;

/// The viewers without a connection.
pub(super) type Taps = BTreeMap<TapId, Viewing>;

/// One of them.
#[derive(Debug)]
pub(super) struct Viewing {
    who: Arc<Principal>,
    room: Address,
    /// It was let in; until then the tenant's revocations are being read.
    open: bool,
}

impl Hub {
    /// A viewer without a connection begins, looks elsewhere, takes a picture, or ends.
    pub(super) fn handle_tap(&mut self, tap: TapId, what: Tap) {
        match what {
            Tap::Open(who, room) => self.open_tap(tap, who, room),
            Tap::Look if self.taps.contains_key(&tap) => self.parts.media().tap_look(tap),
            Tap::Seen(picture) => self.parts.media().tap_seen(tap, &picture),
            Tap::Look => {}
            Tap::Close => self.forget_tap(tap),
        }
    }

    fn open_tap(&mut self, tap: TapId, who: Arc<Principal>, room: Address) {
        let owner = |other: &Principal| (other.tenant.clone(), other.user.clone());
        let same = self.taps.values().filter(|other| owner(&other.who) == owner(&who)).count();
        if same >= MOST_OF_USER || self.taps.len() >= MOST {
            return self.outputs.push_back(Output::Tap(tap, Err(Code::RATE)));
        }
        self.taps.insert(tap, Viewing { who, room, open: false });
        self.check_tap(tap);
    }

    fn check_tap(&mut self, tap: TapId) {
        let Some(viewing) = self.taps.get_mut(&tap) else { return };
        if viewing.open {
            return;
        }
        match self.parts.check(&viewing.who, self.now) {
            Verdict::Loading => return,
            Verdict::Revoked => return self.end_tap(tap, AuthError::Revoked.code()),
            Verdict::Valid => {}
        }
        if let Err(code) = authorize(&self.config, &viewing.who, &viewing.room, Action::Live) {
            return self.end_tap(tap, code);
        }
        viewing.open = true;
        let key = room_key(&viewing.who.tenant, &viewing.room);
        self.outputs.push_back(Output::Tap(tap, Ok(())));
        self.parts.media().tap(tap, &key);
        self.rearm_tap(tap);
    }

    /// The tenant's revocations are known now.
    pub(super) fn check_taps(&mut self, tenant: &TenantId) {
        let waits = |viewing: &Viewing| !viewing.open && viewing.who.tenant == *tenant;
        for tap in self.taps_where(waits) {
            self.check_tap(tap);
        }
    }

    /// Ends whom a durable revocation names (P-C6a).
    pub(super) fn cut_taps(&mut self, revocation: &Revocation) {
        for tap in self.taps_where(|viewing| revocations::names(revocation, &viewing.who)) {
            self.end_tap(tap, AuthError::Revoked.code());
        }
    }

    /// Sets the moment of a viewer's token's end (P-C6).
    fn rearm_tap(&mut self, tap: TapId) {
        let Some(viewing) = self.taps.get(&tap) else { return };
        if let Some(at) = self.cut_at(&viewing.who) {
            self.timers.arm(Timer::Tap(tap), at);
        }
    }

    /// The wall clock was set: every token's end stands elsewhere.
    pub(super) fn rearm_taps(&mut self) {
        for tap in self.taps_where(|_| true) {
            self.rearm_tap(tap);
        }
    }

    /// A viewer's moment.
    pub(super) fn handle_tap_timer(&mut self, tap: TapId) {
        let Some(viewing) = self.taps.get(&tap) else { return };
        if self.is_expired(&viewing.who) {
            self.end_tap(tap, AuthError::Expired.code());
        } else {
            self.rearm_tap(tap);
        }
    }

    fn taps_where(&self, is: impl Fn(&Viewing) -> bool) -> Vec<TapId> {
        self.taps.iter().filter(|(_, viewing)| is(viewing)).map(|(tap, _)| *tap).collect()
    }

    fn end_tap(&mut self, tap: TapId, code: Code) {
        self.forget_tap(tap);
        self.outputs.push_back(Output::Tap(tap, Err(code)));
    }

    fn forget_tap(&mut self, tap: TapId) {
        if self.taps.remove(&tap).is_some() {
            self.timers.disarm(Timer::Tap(tap));
            self.parts.media().untap(tap);
        }
    }
}
