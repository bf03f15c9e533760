//! Chunks become pictures, and each viewer gets as many as it takes (P-V1, P-V2).

use super::*;

impl Live {
    /// Adds a chunk to the picture; the picture, once it is whole. What does not follow on, is of
    /// another kind or too large drops the picture: its viewers meet the next one.
    pub(super) fn take_chunk(&mut self, mut chunk: Chunk, most: usize) -> Option<Picture> {
        if chunk.kind != self.kind {
            return None;
        }
        if chunk.has(FIRST) {
            if self.partial.take().is_some() {
                self.dropped_one();
            }
            let picture = Picture {
                stream: self.info.stream,
                seq: chunk.seq,
                pts_us: chunk.pts_us,
                kind: self.kind,
                key: self.kind == KIND_JPEG || chunk.has(KEY),
                messages: Vec::new(),
            };
            self.partial = Some((picture, 0));
        }
        let (picture, size) = self.partial.as_mut()?;
        *size += chunk.payload.len();
        if picture.seq != chunk.seq || *size > most {
            self.partial = None;
            self.dropped_one();
            return None;
        }
        chunk.stream = picture.stream;
        picture.messages.push(chunk.encode());
        if chunk.has(LAST) { self.partial.take().map(|(picture, _)| picture) } else { None }
    }

    pub(super) fn dropped_one(&mut self) {
        if self.kind == KIND_H264 {
            for window in self.windows.values_mut() {
                window.needs_key = true;
            }
        }
    }
}

impl Window {
    /// Takes a new picture; gives it back where it is to be written now.
    pub(super) fn offer(&mut self, picture: &Arc<Picture>) -> Option<Arc<Picture>> {
        if self.needs_key && !picture.key {
            return None;
        }
        self.needs_key = false;
        if self.unseen.len() < UNSEEN_PICTURES {
            self.unseen.push_back(picture.seq);
            return Some(Arc::clone(picture));
        }
        if self.pending.is_none() || picture.key {
            self.pending = Some(Arc::clone(picture));
        } else {
            // It needs what waits before it; what waits can still be shown.
            self.needs_key = true;
        }
        None
    }

    /// Gives the picture that may be written now.
    pub(super) fn saw(&mut self, seq: u32) -> Option<Arc<Picture>> {
        let at = self.unseen.iter().position(|unseen| *unseen == seq)?;
        self.unseen.drain(..=at);
        let picture = self.pending.take()?;
        self.unseen.push_back(picture.seq);
        Some(picture)
    }
}
