//! Pictures: bytes across the border, both ways.

use crate::{
    border::{self, Said},
    host::Host,
};
use bytes::Bytes;
use serde_json::json;
use wardline::protocol::{
    ClientFrame,
    frames::{Demand, Joined, RoomMode, Stream},
    media::{Chunk, KIND_H264, KIND_JPEG, PAYLOAD, chunks},
};
use wasm_bindgen_test::wasm_bindgen_test;

const ROOM: &str = "notes/camera:1";
const PTS: u64 = (1 << 53) - 1;

fn bytes(len: usize) -> Bytes {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

fn stream(stream: u16) -> Stream {
    Stream { stream, room: ROOM.into(), codec: "jpeg".into(), width: 1920, height: 1080 }
}

/// A host that looks at the camera's room, as subscription 3.
fn viewer() -> Host {
    let mut host = Host::connected();
    host.call("join", json!({ "sub": 3, "room": "camera:1" }));
    let frames = host.frames();
    let [ClientFrame::Join(join)] = &frames[..] else { panic!("{frames:?}") };
    let (id, cursor) = (join.id, crate::life::cursor(0));
    let (head, mode) = (cursor, RoomMode::Log);
    host.say(Joined { id, room: ROOM.into(), cursor, head, mode, full: false });
    host.tell("look", json!({ "sub": 3, "room": ROOM }));
    host.say(stream(u16::MAX));
    host.out.clear();
    host
}

fn hear(host: &mut Host, chunk: &Chunk) {
    let (generation, message) = (host.generation, chunk.encode());
    host.turn(|core| core.binary(generation, message.to_vec()));
}

#[wasm_bindgen_test]
fn a_picture_of_many_chunks_comes_out_as_it_went_in() {
    let mut host = viewer();
    for (seq, len) in [(1, 0), (2, 1), (3, PAYLOAD), (u32::MAX, 10 * PAYLOAD + 17)] {
        host.out.clear();
        let picture = bytes(len);
        for chunk in chunks(KIND_JPEG, true, u16::MAX, seq, PTS, &picture) {
            assert!(!host.has(&Said::Picture(3)), "told before its last chunk");
            hear(&mut host, &chunk);
        }
        assert!(host.has(&Said::Picture(3)), "{seq}");
        let (head, data) = border::take_picture(&mut host.core, 3).expect("a picture");
        assert_eq!(data, picture, "{seq}");
        let wanted = json!({
            "stream": u16::MAX, "room": ROOM, "codec": "jpeg", "width": 1920, "height": 1080,
            "seq": seq, "ptsUs": PTS, "key": true,
        });
        assert_eq!(head, wanted);
        assert!(border::take_picture(&mut host.core, 3).is_none(), "once");
        host.tell("seen", json!({ "stream": u16::MAX, "seq": seq }));
        let frames = host.frames();
        assert!(
            matches!(&frames[..], [ClientFrame::Seen(seen)] if (seen.stream, seen.seq) == (u16::MAX, seq)),
            "{frames:?}"
        );
    }
}

#[wasm_bindgen_test]
fn of_pictures_nobody_took_the_newest_is_there() {
    let mut host = viewer();
    for seq in 1..=5 {
        for chunk in chunks(KIND_JPEG, true, u16::MAX, seq, PTS, &bytes(100 + seq as usize)) {
            hear(&mut host, &chunk);
        }
    }
    let (head, data) = border::take_picture(&mut host.core, 3).expect("a picture");
    assert_eq!((head["seq"].as_u64(), data.len()), (Some(5), 105));
}

#[wasm_bindgen_test]
fn binary_messages_that_are_no_chunks_do_no_harm() {
    let mut host = viewer();
    for len in [0, 1, 15, 16, 16 + PAYLOAD + 1, 1 << 20] {
        let generation = host.generation;
        host.turn(|core| core.binary(generation, bytes(len).to_vec()));
        assert!(!host.has(&Said::Picture(3)), "{len}");
    }
    assert!(border::take_picture(&mut host.core, 3).is_none());
    assert!(border::take_picture(&mut host.core, 99).is_none(), "no such subscription");
    assert!(host.core.bytes().is_empty());
}

#[wasm_bindgen_test]
fn a_picture_of_this_client_leaves_in_chunks() {
    let mut host = Host::connected();
    host.call(
        "stream",
        json!({ "stream": 9, "room": "camera:1", "codec": "h264", "width": 640, "height": 480 }),
    );
    host.say(Demand { stream: 9, viewers: 1 });
    assert_eq!(host.events("demand")[0]["viewers"], 1);
    host.out.clear();
    let picture = bytes(2 * PAYLOAD + 5);
    let data = picture.to_vec();
    host.turn(|core| core.picture(9, true, true, u32::MAX, PTS as f64, data));
    let mut sent = Vec::new();
    for said in &host.out {
        if let Said::Binary(generation, message) = said {
            assert_eq!(*generation, host.generation);
            sent.push(Chunk::decode(&Bytes::from(message.clone())).unwrap());
        }
    }
    assert_eq!(sent, chunks(KIND_H264, true, 9, u32::MAX, PTS, &picture).collect::<Vec<_>>());
}
