//! Viewers without a connection: let in and ended as members are.

use super::*;
use wardline::protocol::media::{KIND_JPEG, chunks};

const ROOM: &str = "video/camera:7";
const TAP: media::TapId = media::TapId(1);

impl Bench {
    fn tap(&mut self, tap: media::TapId, token: &str) {
        let who = Arc::new(verify(&token.into()).unwrap());
        self.feed(Input::Tap(tap, Tap::Open(who, ROOM.parse().unwrap())));
    }

    fn camera(&mut self, stream: u16) -> ConnId {
        let camera = self.welcome(&format!("1/site{stream}/service"));
        self.text(camera, &format!(r#"{{"type":"stream","stream":{stream},"room":"{ROOM}","codec":"jpeg","width":64,"height":48}}"#));
        camera
    }

    fn picture(&mut self, camera: ConnId, stream: u16, seq: u32) {
        for chunk in chunks(KIND_JPEG, true, stream, seq, 0, &bytes::Bytes::from_static(b"p")) {
            self.feed(Input::Binary(camera, chunk.encode()));
        }
    }

    fn ended(&self, tap: media::TapId) -> Option<&str> {
        let told = self.taps.iter().rev().find(|(told, _)| *told == tap)?;
        told.1.as_ref().err().map(Code::as_str)
    }
}

fn revocation(user: &str) -> Revocation {
    Revocation {
        tenant: "1".into(),
        user: Some(user.into()),
        token_id: None,
        not_before: START + 1,
    }
}

#[test]
fn p_c6a_a_tap_waits_for_the_revocations_and_ends_with_one() {
    let mut bench = Bench::new();
    bench.held = Some(VecDeque::new());
    bench.tap(TAP, "1/ann");
    assert!(bench.taps.is_empty(), "the control log is being read");
    bench.release();
    assert_eq!(bench.taps, [(TAP, Ok(()))]);
    let camera = bench.camera(3);
    bench.picture(camera, 3, 1);
    assert_eq!(bench.pictures.len(), 1);

    bench.feed(Input::Revoke(None, revocation("bob")));
    assert_eq!(bench.ended(TAP), None);
    bench.feed(Input::Revoke(None, revocation("ann")));
    assert_eq!(bench.ended(TAP), Some("token_revoked"));
    bench.take(camera);
    bench.picture(camera, 3, 2);
    assert_eq!(bench.pictures.len(), 1, "nothing is shown after it");
    bench.tap(media::TapId(2), "1/ann");
    assert_eq!(bench.ended(media::TapId(2)), Some("token_revoked"));
    assert!(bench.hub.taps.is_empty());
}

#[test]
fn p_c6_a_tap_ends_within_five_seconds_of_its_tokens_end() {
    let mut bench = Bench::new();
    bench.tap(TAP, &format!("expires:{}/1/ann", START + 60_000));
    bench.tap(media::TapId(2), "1/ann");
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.ended(TAP), None);
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.ended(TAP), Some("token_expired"));
    assert_eq!(bench.ended(media::TapId(2)), None, "a token without an end has none");
    // A wall clock that was set forward moves every end.
    bench.tap(TAP, &format!("expires:{}/1/ann", bench.now.wall.0 + 3_600_000));
    bench.now.wall.0 += 3_600_000;
    bench.pass(Duration::from_secs(35));
    assert_eq!(bench.ended(TAP), Some("token_expired"));
}

#[test]
fn taps_are_bounded_and_see_only_what_their_user_may() {
    let mut bench = Bench::new();
    for n in 0..300 {
        bench.tap(media::TapId(n), "1/ann");
    }
    assert_eq!(bench.hub.taps.len(), 256);
    assert_eq!(bench.ended(media::TapId(299)), Some("rate"));
    bench.feed(Input::Tap(media::TapId(0), Tap::Close));
    bench.tap(media::TapId(300), "1/ann");
    assert_eq!(bench.ended(media::TapId(300)), None);
    let ann = Arc::new(verify(&"1/ann".into()).unwrap());
    let room = "video/tenant:other".parse().unwrap();
    bench.feed(Input::Tap(media::TapId(0), Tap::Close));
    bench.feed(Input::Tap(media::TapId(300), Tap::Close));
    bench.feed(Input::Tap(media::TapId(301), Tap::Open(ann, room)));
    assert_eq!(bench.ended(media::TapId(301)), Some("forbidden"));
}
