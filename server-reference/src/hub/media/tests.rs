//! Streams, viewers and what they are shown.

use super::*;
use wardline::protocol::media::chunks;

const PUBLISHER: ConnId = ConnId(1);
const VIEWER: ConnId = ConnId(2);

fn key() -> RoomKey {
    RoomKey { tenant: "t".into(), room: "video/camera:7".parse().unwrap() }
}

fn stream(number: u16, codec: &str) -> frames::Stream {
    frames::Stream {
        stream: number,
        room: "video/camera:7".into(),
        codec: codec.into(),
        width: 640,
        height: 360,
    }
}

fn drain(media: &mut Media) -> Vec<Output> {
    std::iter::from_fn(|| media.poll_output()).collect()
}

/// A media with a publisher's stream 5 and one viewer; and the number the viewer got.
fn watched(codec: &str) -> (Media, u16) {
    let mut media = Media::new(Config::default());
    media.announce(PUBLISHER, &key(), &stream(5, codec)).unwrap();
    assert_eq!(drain(&mut media), [Output::Demand(PUBLISHER, Demand { stream: 5, viewers: 0 })]);
    media.join(VIEWER, &key());
    let out = drain(&mut media);
    let [Output::Stream(VIEWER, begun), Output::Demand(PUBLISHER, demand)] = &*out else {
        panic!("{out:?}")
    };
    assert_eq!(*demand, Demand { stream: 5, viewers: 1 });
    let number = begun.stream;
    (media, number)
}

fn publish(media: &mut Media, seq: u32, is_key: bool, size: usize) {
    let kind = match media.streams.values().next() {
        Some(live) => live.kind,
        None => KIND_JPEG,
    };
    let picture = Bytes::from(vec![seq as u8; size]);
    for chunk in chunks(kind, is_key, 5, seq, 1000, &picture) {
        media.binary(PUBLISHER, &chunk.encode()).unwrap();
    }
}

/// The numbers of the pictures written whole to the viewer, in order.
fn pictures(media: &mut Media) -> Vec<u32> {
    let chunks = drain(media).into_iter().filter_map(|output| match output {
        Output::Chunk(VIEWER, bytes) => Some(Chunk::decode(&bytes).unwrap()),
        _ => None,
    });
    chunks.filter(|chunk| chunk.has(LAST)).map(|chunk| chunk.seq).collect()
}

fn see(media: &mut Media, stream: u16, seq: u32) {
    media.seen(VIEWER, Seen { stream, seq });
}

#[test]
fn p_v1_a_picture_is_relayed_whole_in_the_viewers_numbers() {
    let (mut media, number) = watched("jpeg");
    publish(&mut media, 1, true, 40_000);
    let out = drain(&mut media);
    assert_eq!(out.len(), 3);
    for output in &out {
        let Output::Chunk(VIEWER, bytes) = output else { panic!("{output:?}") };
        let chunk = Chunk::decode(bytes).unwrap();
        assert_eq!((chunk.stream, chunk.seq, chunk.pts_us), (number, 1, 1000));
    }
    let half = chunks(KIND_JPEG, true, 5, 2, 0, &Bytes::from(vec![0; 40_000])).take(2);
    for chunk in half {
        media.binary(PUBLISHER, &chunk.encode()).unwrap();
    }
    assert_eq!(drain(&mut media), []);
    publish(&mut media, 3, true, 10);
    assert_eq!(pictures(&mut media), [3]);
}

#[test]
fn p_v2_two_pictures_are_unseen_at_most_and_newer_replace_older() {
    let (mut media, number) = watched("jpeg");
    for seq in 1..=9 {
        publish(&mut media, seq, true, 100);
    }
    assert_eq!(pictures(&mut media), [1, 2]);
    see(&mut media, number, 1);
    assert_eq!(pictures(&mut media), [9]);
    see(&mut media, number, 77);
    publish(&mut media, 10, true, 100);
    assert_eq!(pictures(&mut media), [0u32; 0]);
    see(&mut media, number, 9);
    assert_eq!(pictures(&mut media), [10]);
    publish(&mut media, 11, true, 100);
    assert_eq!(pictures(&mut media), [11]);
}

#[test]
fn p_v2_after_a_drop_of_a_coded_stream_comes_a_key_frame() {
    let (mut media, number) = watched("h264");
    publish(&mut media, 1, false, 10);
    assert_eq!(pictures(&mut media), [0u32; 0], "a viewer begins at a key frame");
    for (seq, is_key) in [(2, true), (3, false), (4, false), (5, false), (6, false)] {
        publish(&mut media, seq, is_key, 10);
    }
    assert_eq!(pictures(&mut media), [2, 3]);
    see(&mut media, number, 3);
    assert_eq!(pictures(&mut media), [4], "what waits follows on the last written");
    publish(&mut media, 7, false, 10);
    assert_eq!(pictures(&mut media), [0u32; 0], "5 was dropped");
    publish(&mut media, 8, true, 10);
    publish(&mut media, 9, false, 10);
    assert_eq!(pictures(&mut media), [8]);
    see(&mut media, number, 8);
    assert_eq!(pictures(&mut media), [9]);
}

#[test]
fn p_v2_a_waiting_picture_of_a_coded_stream_gives_way_to_a_key_frame_only() {
    let (mut media, number) = watched("h264");
    for (seq, is_key) in [(1, true), (2, false), (3, false), (4, true), (5, false)] {
        publish(&mut media, seq, is_key, 10);
    }
    assert_eq!(pictures(&mut media), [1, 2]);
    see(&mut media, number, 2);
    assert_eq!(pictures(&mut media), [4]);
    publish(&mut media, 6, false, 10);
    assert_eq!(pictures(&mut media), [0u32; 0], "5 was dropped behind 4");
}

#[test]
fn p_v2_demand_follows_the_viewers() {
    let (mut media, number) = watched("jpeg");
    media.join(PUBLISHER, &key());
    assert!(!drain(&mut media).iter().any(|o| matches!(o, Output::Stream(PUBLISHER, _))));
    media.tap(TapId(1), &key());
    let demand = |viewers| Output::Demand(PUBLISHER, Demand { stream: 5, viewers });
    assert_eq!(drain(&mut media), [demand(2)]);
    media.untap(TapId(1));
    media.leave(VIEWER, &key());
    assert_eq!(drain(&mut media), [demand(1), demand(0)]);
    media.join(VIEWER, &key());
    drain(&mut media);
    media.closed(PUBLISHER);
    let ended = frames::Stream { stream: number, ..stream(number, "") };
    assert_eq!(drain(&mut media), [Output::Stream(VIEWER, ended)]);
    media.closed(VIEWER);
    assert!(media.rooms.is_empty() && media.streams.is_empty() && media.views.is_empty());
}

#[test]
fn p_v1_a_stream_ends_with_an_empty_codec_and_with_the_publishers_membership() {
    let (mut media, _) = watched("jpeg");
    media.announce(PUBLISHER, &key(), &stream(5, "")).unwrap();
    assert!(matches!(&*drain(&mut media), [Output::Stream(VIEWER, s)] if s.codec.is_empty()));
    publish(&mut media, 1, true, 10);
    assert_eq!(drain(&mut media), []);
    media.join(PUBLISHER, &key());
    media.announce(PUBLISHER, &key(), &stream(6, "jpeg")).unwrap();
    drain(&mut media);
    media.leave(PUBLISHER, &key());
    assert!(matches!(&*drain(&mut media), [Output::Stream(VIEWER, s)] if s.codec.is_empty()));
}

#[test]
fn the_last_picture_serves_http_and_who_comes_later() {
    let (mut media, _) = watched("jpeg");
    assert_eq!(media.snapshot(&key()), None);
    publish(&mut media, 1, true, 40_000);
    assert_eq!(media.snapshot(&key()).unwrap().bytes(), vec![1; 40_000]);
    drain(&mut media);
    media.tap(TapId(1), &key());
    let out = drain(&mut media);
    let Output::Picture(TapId(1), picture) = &out[0] else { panic!("{out:?}") };
    publish(&mut media, 2, true, 10);
    publish(&mut media, 3, true, 10);
    publish(&mut media, 4, true, 10);
    media.tap_seen(TapId(1), picture);
    let tapped = drain(&mut media).into_iter().filter_map(|output| match output {
        Output::Picture(_, picture) => Some(picture.seq),
        _ => None,
    });
    assert_eq!(tapped.collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn media_is_bounded() {
    let config =
        Config { picture: 20_000, publisher_streams: 2, snapshots: 1, ..Config::default() };
    let mut media = Media::new(config);
    media.announce(PUBLISHER, &key(), &stream(5, "jpeg")).unwrap();
    media.announce(PUBLISHER, &key(), &stream(6, "jpeg")).unwrap();
    assert_eq!(media.announce(PUBLISHER, &key(), &stream(7, "jpeg")), Err(Code::RATE));
    assert_eq!(media.announce(PUBLISHER, &key(), &stream(6, "x")), Err(Code::BAD_PARAMS));
    publish(&mut media, 1, true, 20_001);
    assert_eq!(media.snapshot(&key()), None);
    assert!(media.streams.values().all(|live| live.partial.is_none()));
    assert_eq!(media.binary(PUBLISHER, &Bytes::from_static(&[0; 3])), Err(BadChunk));
    let elsewhere = RoomKey { tenant: "t".into(), room: "alerts/x".parse().unwrap() };
    assert_eq!(media.announce(PUBLISHER, &elsewhere, &stream(9, "jpeg")), Err(Code::FORBIDDEN));
}

/// What a tap was shown: stream (in the publisher's numbers) and picture.
fn tapped(media: &mut Media) -> Vec<Arc<Picture>> {
    let shown = drain(media).into_iter().filter_map(|output| match output {
        Output::Picture(_, picture) => Some(picture),
        _ => None,
    });
    shown.collect()
}

fn publish_from(media: &mut Media, publisher: ConnId, number: u16, seq: u32) {
    for chunk in chunks(KIND_JPEG, true, number, seq, 0, &Bytes::from_static(b"p")) {
        media.binary(publisher, &chunk.encode()).unwrap();
    }
}

fn demands(media: &mut Media) -> Vec<(u16, u32)> {
    let told = drain(media).into_iter().filter_map(|output| match output {
        Output::Demand(_, demand) => Some((demand.stream, demand.viewers)),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_silent_stream_does_not_hide_one_that_sends() {
    let other = ConnId(3);
    let mut media = Media::new(Config { snapshots: 0, ..Config::default() });
    media.announce(PUBLISHER, &key(), &stream(4, "h264")).unwrap();
    media.announce(PUBLISHER, &key(), &stream(5, "jpeg")).unwrap();
    media.announce(other, &key(), &stream(6, "jpeg")).unwrap();
    drain(&mut media);
    media.tap(TapId(1), &key());
    assert_eq!(demands(&mut media), [(4, 0), (5, 1), (6, 1)], "both are asked for pictures");
    publish_from(&mut media, other, 6, 1);
    let shown = tapped(&mut media);
    assert_eq!(shown.len(), 1);
    media.tap_seen(TapId(1), &shown[0]);
    // From then on it is that stream alone, as long as it sends.
    publish_from(&mut media, PUBLISHER, 5, 7);
    assert_eq!(tapped(&mut media), []);
    publish_from(&mut media, other, 6, 2);
    let shown = tapped(&mut media);
    assert_eq!(shown[0].seq, 2);
    media.tap_seen(TapId(1), &shown[0]);
    media.tap_look(TapId(1));
    assert_eq!(demands(&mut media), [(5, 1)]);
    publish_from(&mut media, PUBLISHER, 5, 8);
    assert_eq!(demands(&mut media), [(6, 0)]);
    publish_from(&mut media, other, 6, 3);
    assert_eq!(tapped(&mut media), []);
    // Its end gives way to the other as well.
    media.closed(PUBLISHER);
    publish_from(&mut media, other, 6, 4);
    assert_eq!(tapped(&mut media)[0].seq, 4);
    media.untap(TapId(1));
    assert_eq!(demands(&mut media), [(6, 0)]);
}

#[test]
fn of_several_kept_pictures_the_newest_is_shown() {
    let other = ConnId(3);
    let mut media = Media::new(Config::default());
    media.announce(PUBLISHER, &key(), &stream(5, "jpeg")).unwrap();
    media.announce(other, &key(), &stream(6, "jpeg")).unwrap();
    publish_from(&mut media, PUBLISHER, 5, 1);
    publish_from(&mut media, other, 6, 9);
    drain(&mut media);
    assert_eq!(media.snapshot(&key()).unwrap().seq, 9);
    media.tap(TapId(1), &key());
    let shown: Vec<_> = tapped(&mut media).iter().map(|picture| picture.seq).collect();
    assert_eq!(shown, [9]);
    // What was kept of the other is older than what the tap has seen.
    media.tap_look(TapId(1));
    assert_eq!(tapped(&mut media), []);
}
