//! A viewer without a connection: it takes one picture after the other (P-V2).

use super::Node;
use crate::hub::{
    self, Input,
    media::{Picture, TapId},
};
use std::sync::{Arc, PoisonError, atomic::Ordering};
use tokio::sync::mpsc;
use wardline::{model::ids::TenantId, protocol::Address};

/// Views one room until dropped.
pub(crate) struct Tap {
    node: Arc<Node>,
    id: TapId,
    shard: usize,
    pictures: mpsc::Receiver<Arc<Picture>>,
    /// Given out, and not yet told as seen.
    taken: Option<Arc<Picture>>,
}

impl Tap {
    pub(crate) fn open(node: &Arc<Node>, tenant: TenantId, room: Address) -> Self {
        let id = TapId(node.next.fetch_add(1, Ordering::Relaxed));
        let shard = node.shard_of(tenant.as_str());
        // Two pictures may be under way.
        let (sender, pictures) = mpsc::channel(2);
        node.taps.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let tap = Self { node: node.clone(), id, shard, pictures, taken: None };
        node.turn(shard, [Input::Tap(id, hub::Tap::Open(tenant, room))], None);
        tap
    }

    /// The next picture; none when the server drains. Asking says the one before was taken.
    pub(crate) async fn next(&mut self) -> Option<Arc<Picture>> {
        if let Some(taken) = self.taken.take() {
            self.node.turn(self.shard, [Input::Tap(self.id, hub::Tap::Seen(taken))], None);
        }
        let draining = self.node.draining.clone();
        let picture = tokio::select! {
            () = draining.cancelled() => None,
            picture = self.pictures.recv() => picture,
        };
        self.taken.clone_from(&picture);
        picture
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.node.taps.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.node.turn(self.shard, [Input::Tap(self.id, hub::Tap::Close)], None);
    }
}

impl Node {
    /// Gives a tap its picture; one that does not take it gets a newer one later.
    pub(crate) fn picture(&self, id: TapId, picture: Arc<Picture>) {
        let taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tap) = taps.get(&id) {
            let _ = tap.try_send(picture);
        }
    }
}
