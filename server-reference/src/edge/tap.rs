//! A viewer without a connection: it takes one picture after the other (P-V2).

use super::Node;
use crate::hub::{
    self, Input, Principal,
    media::{Picture, TapId},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use wardline::protocol::{Address, Code};

/// How long the hub may take to read the tenant's revocations.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// A stream that shows nothing for so long gives way to another of its room.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// What the hub said of a tap; none: nothing yet.
type Told = Option<Result<(), Code>>;

/// The taps of a node, as the hubs reach them.
#[derive(Default)]
pub(crate) struct Taps(Mutex<HashMap<TapId, Slot>>);

struct Slot {
    pictures: mpsc::Sender<Arc<Picture>>,
    told: watch::Sender<Told>,
}

/// Views one room until dropped, its token's end or its revocation.
pub(crate) struct Tap {
    node: Arc<Node>,
    id: TapId,
    shard: usize,
    pictures: mpsc::Receiver<Arc<Picture>>,
    told: watch::Receiver<Told>,
    /// Given out, and not yet told as seen.
    taken: Option<Arc<Picture>>,
}

impl Tap {
    /// Begins to view.
    ///
    /// # Errors
    /// Why the hub does not let it: `token_revoked`, `forbidden`, `rate`, `unavailable`.
    pub(crate) async fn open(
        node: &Arc<Node>,
        who: Arc<Principal>,
        room: Address,
    ) -> Result<Self, Code> {
        let id = TapId(node.next.fetch_add(1, Ordering::Relaxed));
        let shard = node.shard_of(who.tenant.as_str());
        // Two pictures may be under way.
        let (sender, pictures) = mpsc::channel(2);
        let (tell, told) = watch::channel(None);
        node.taps.lock().insert(id, Slot { pictures: sender, told: tell });
        let mut tap = Self { node: node.clone(), id, shard, pictures, told, taken: None };
        node.turn(shard, [Input::Tap(id, hub::Tap::Open(who, room))], None);
        let answered = tokio::time::timeout(OPEN_WITHIN, tap.told.wait_for(Option::is_some)).await;
        let answer = answered.ok().and_then(Result::ok).and_then(|told| told.clone());
        answer.unwrap_or(Err(Code::UNAVAILABLE)).map(|()| tap)
    }

    /// The next picture; none when the hub has ended this, or the server drains. Asking says the
    /// one before was taken.
    pub(crate) async fn next(&mut self) -> Option<Arc<Picture>> {
        if let Some(taken) = self.taken.take() {
            self.node.turn(self.shard, [Input::Tap(self.id, hub::Tap::Seen(taken))], None);
        }
        let draining = self.node.draining.clone();
        loop {
            let picture = tokio::select! {
                biased;
                () = draining.cancelled() => None,
                _ = self.told.wait_for(|told| matches!(told, Some(Err(_)))) => None,
                picture = self.pictures.recv() => picture,
                () = tokio::time::sleep(SILENT_AFTER) => {
                    self.node.turn(self.shard, [Input::Tap(self.id, hub::Tap::Look)], None);
                    continue;
                }
            };
            self.taken.clone_from(&picture);
            return picture;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.node.taps.lock().remove(&self.id);
        self.node.turn(self.shard, [Input::Tap(self.id, hub::Tap::Close)], None);
    }
}

impl Taps {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TapId, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a tap its picture; one that does not take it gets a newer one later.
    pub(super) fn show(&self, id: TapId, picture: Arc<Picture>) {
        if let Some(tap) = self.lock().get(&id) {
            let _ = tap.pictures.try_send(picture);
        }
    }

    /// Tells a tap that it was let in, or is no more.
    pub(super) fn tell(&self, id: TapId, told: Result<(), Code>) {
        if let Some(tap) = self.lock().get(&id) {
            tap.told.send_replace(Some(told));
        }
    }
}
