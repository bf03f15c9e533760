//! Viewers without a connection: which of a room's streams each sees.

use super::*;

/// What a tap views: of several streams the one that sends, and of those that do one only.
#[derive(Debug)]
pub(super) struct Tapped {
    pub(super) key: RoomKey,
    /// None: whichever JPEG stream of the room sends first.
    pub(super) stream: Option<u16>,
}

impl Media {
    /// A tap begins to view a room: the newest picture that is kept, else the JPEG stream that
    /// sends first, and then that stream alone.
    pub fn tap(&mut self, tap: TapId, key: &RoomKey) {
        if self.concerns(key.room.namespace()) {
            self.taps.insert(tap, Tapped { key: key.clone(), stream: None });
            self.add_viewer(Viewer::Tap(tap), key);
        }
    }

    /// The stream a tap views fell silent: the one that sends next takes over. What was kept of
    /// others is older than what the tap has seen, and is not shown.
    pub fn tap_look(&mut self, tap: TapId) {
        let Some(tapped) = self.taps.get_mut(&tap) else { return };
        tapped.stream = None;
        let streams = self.rooms.get(&tapped.key).map(|room| room.streams.clone());
        for number in streams.unwrap_or_default() {
            let Some(live) = self.streams.get_mut(&number) else { continue };
            if live.kind == KIND_JPEG && !live.windows.contains_key(&Viewer::Tap(tap)) {
                live.windows.insert(Viewer::Tap(tap), Window::default());
                self.tell_demand(number);
            }
        }
    }

    /// A tap took a picture.
    pub fn tap_seen(&mut self, tap: TapId, picture: &Picture) {
        self.viewer_saw(Viewer::Tap(tap), picture.stream, picture.seq);
    }

    /// A tap ends.
    pub fn untap(&mut self, tap: TapId) {
        if let Some(tapped) = self.taps.remove(&tap) {
            self.remove_viewer(Viewer::Tap(tap), &tapped.key);
        }
    }

    /// A tap takes the first picture it is given.
    pub(super) fn newest_first(&self, streams: &mut [u16]) {
        let age = |number: &u16| self.streams.get(number).map_or(0, |live| live.last_at);
        streams.sort_by_key(|number| std::cmp::Reverse(age(number)));
    }

    /// A tap was shown a picture: from then on it views that stream alone.
    pub(super) fn choose(&mut self, tap: TapId, number: u16) {
        let Some(tapped) = self.taps.get_mut(&tap) else { return };
        if tapped.stream.replace(number).is_some() {
            return;
        }
        let streams = self.rooms.get(&tapped.key).map(|room| room.streams.clone());
        for other in streams.unwrap_or_default() {
            if other != number && self.close_window(Viewer::Tap(tap), other) {
                self.tell_demand(other);
            }
        }
    }
}
