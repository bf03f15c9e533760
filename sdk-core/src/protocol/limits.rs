//! The sizes and times the protocol fixes, and those a server announces (P-F3).

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The WebSocket subprotocol of this version (P-F1).
pub const SUBPROTOCOL: &str = "wardline.v1.json";
/// The path a url without one gets.
pub const PATH: &str = "/wardline";

/// Largest `hello`, in bytes (P-F3).
pub const HELLO_BYTES: usize = 16 * 1024;
/// Largest frame that carries several objects, in bytes (P-F1).
pub const BATCH_BYTES: usize = 64 * 1024;
/// Largest object a client accepts, in bytes, always (P-F3).
pub const CLIENT_OBJECT_BYTES: usize = 2 * 1024 * 1024;
/// Longest event name, in bytes.
pub const EVENT_BYTES: usize = 128;
/// Lanes of an outbox, 0 most urgent (P-S1).
pub const LANES: u8 = 8;
/// Items in flight per lane, and outcomes a record keeps (P-S2, P-S3).
pub const WINDOW: u64 = 32;
/// Bytes in flight per lane; a larger item travels alone (P-S3).
pub const WINDOW_BYTES: usize = 256 * 1024;
/// Events of a room after which the server asks for credit (P-R5).
pub const PAGE_EVENTS: u64 = 1024;
/// Bytes of a room after which the server asks for credit (P-R5).
pub const PAGE_BYTES: usize = 256 * 1024;
/// Unanswered pages after which a member counts as behind (P-R5).
pub const PAGES_UNANSWERED: u8 = 2;
/// Entries of one page read from the log (P-R4).
pub const READ_ENTRIES: usize = 256;
/// Bytes of one page read from the log, or one entry (P-R4).
pub const READ_BYTES: usize = 64 * 1024;
/// Entries of the tail a hub keeps per active room (P-R4).
pub const TAIL_ENTRIES: usize = 256;
/// Bytes of that tail (P-R4).
pub const TAIL_BYTES: usize = 256 * 1024;
/// Unsent bytes past which a member falls behind (P-R4).
pub const BEHIND_BYTES: usize = 256 * 1024;
/// Unsent bytes below which replay is written (P-R5), and which a client keeps in its socket (P-S10).
pub const REPLAY_BYTES: usize = 64 * 1024;
/// Views per room (P-R10).
pub const VIEWS: usize = 64;
/// Dirty keys kept per member of a `latest` room (P-R9).
pub const DIRTY_KEYS: usize = 10_000;
/// Presence metadata, in bytes (P-P1).
pub const META_BYTES: usize = 4 * 1024;
/// Producers kept per user (P-S6a).
pub const PRODUCERS: usize = 64;
/// Largest stored command result, in bytes (P-S8).
pub const RESULT_BYTES: usize = 16 * 1024;
/// Largest media chunk, header included (P-V1).
pub const CHUNK_BYTES: usize = 16 * 1024 + 16;
/// Pictures a viewer may leave unseen per stream (P-V2).
pub const UNSEEN_PICTURES: usize = 2;

/// Time from the upgrade to `hello` (P-C1).
pub const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Time to live of a command (P-S8).
pub const COMMAND_TTL: Duration = Duration::from_secs(30);
/// Time after which an unanswered command's effect is unknown (P-S8).
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Deadline of a call (P-S7).
pub const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Longest life of an item in the outbox (P-S6a).
pub const ITEM_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Presence grace after the last lease ended (P-P2).
pub const GRACE: Duration = Duration::from_secs(15);

/// What a server lets a connection do, announced in `welcome` (P-F3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest object from client to server, in bytes.
    pub message: usize,
    /// Rooms per connection.
    pub rooms: usize,
    /// JSON nesting.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 1024 * 1024, rooms: 1000, depth: super::json::MAX_DEPTH }
    }
}
