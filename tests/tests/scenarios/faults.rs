//! The faults of the systems Wardline replaces, in the order of the list they were taken from. Fault 3
//! (a send reaches only the clients of its own server) and fault 5 (offsets committed over a lost
//! fan-out) need several servers and a broker: their tests come with these. Fault 6 (one connection for all typed
//! clients) is about real sockets and stands with the tests of the real server, as do the codes of fault 4.

use super::with_seeds;
use std::time::Duration;
use wardline::{
    machine::{Outcome, Status},
    protocol::{Code, frames::Start},
};
use wardline_tests::{hold, scenario::Scenario};

#[test]
fn fault_1_access_is_whole_part_against_whole_part() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("1", "eve"), ("10", "ann")]);
        story.connect()?;
        let own = story.join(1, "alerts/tenant:10:admin", Start::First)?.unwrap();
        for room in [
            "alerts/tenant:10",
            "alerts/tenant:10:admin",
            "alerts/tenant:1x",
            "alerts/tenant:10:1",
            "default/desk:org:1",
            "default/user:ann",
            "default/user:ev",
            "default/notifications:10:ann",
            "default/notifications:1:ev",
            "dispatch/incident:7:org:1",
        ] {
            assert_eq!(story.join(0, room, Start::First)?, Err(Code::FORBIDDEN), "{room}");
            let params = format!(r#"{{"room":"{room}"}}"#);
            for method in ["history", "presence"] {
                let answer = story.query(0, method, &params)?;
                assert_eq!(answer.unwrap_err(), Code::FORBIDDEN, "{method} {room}");
            }
            let item = story.send(0, room)?;
            story.pass(2)?;
            let outcomes = story.outcomes(0, item);
            assert!(
                matches!(&outcomes[..], [Outcome::Refused(code, _)] if *code == Code::FORBIDDEN),
                "{room}: {outcomes:?}"
            );
        }
        // A room of the same name is another tenant's own room, with another log.
        let mine = story.join(0, "default/desk", Start::First)?.unwrap();
        let theirs = story.join(1, "default/desk", Start::First)?.unwrap();
        story.publish("10", "default/desk")?;
        story.publish("10", "alerts/tenant:10:admin")?;
        story.pass(2)?;
        assert_eq!(story.events(0, mine), [0; 0]);
        assert_eq!((story.events(1, theirs), story.events(1, own)), (vec![1], vec![1]));
        Ok(())
    });
}

#[test]
fn fault_2_who_sends_no_protocol_pings_stays_a_member() {
    with_seeds(|seed| {
        // No WebSocket ping exists in this world: what proves life is what a page can send.
        let mut story = Scenario::new(seed, &[("t", "page"), ("t", "other")]);
        story.connect()?;
        let sub = story.join(0, "default/desk", Start::Live)?.unwrap();
        story.pass(3600)?;
        assert_eq!((story.dials(0), story.world.clients[0].is_connected()), (1, true));
        story.send(1, "default/desk")?;
        story.pass(2)?;
        assert_eq!(story.events(0, sub), [1]);
        Ok(())
    });
}

#[test]
fn fault_4_a_token_that_does_not_let_in_is_another_state_than_a_cut() {
    with_seeds(|seed| {
        let mut story = Scenario::with(seed, &[("t", "ann")], |plan| {
            plan.token_ttl = Some(Duration::from_secs(60));
        });
        story.connect()?;
        story.cut(0, 0, 0);
        story.connected()?;
        // The provider has none any more: the client says so and stops asking.
        story.end_tokens(0);
        story.pass(120)?;
        let last = *story.statuses(0).last().unwrap();
        assert_eq!((last.0, last.1 / 100), (Status::Unauthenticated, 41), "{last:?}");
        let dials = story.dials(0);
        story.pass(600)?;
        assert_eq!(story.dials(0), dials);
        let never_normal = story.statuses(0).iter().all(|(_, code)| *code != 1000);
        hold!(never_normal, NotSilent, "{:?}", story.statuses(0));
        Ok(())
    });
}

#[test]
fn fault_7_replay_and_live_are_one_order_and_what_is_missing_is_told() {
    with_seeds(|seed| {
        let mut story = Scenario::with(seed, &[("t", "reader"), ("t", "writer")], |plan| {
            plan.retention = Duration::from_secs(20);
        });
        story.connect()?;
        let sub = story.join(0, "default/desk", Start::First)?.unwrap();
        // Events before, during and after each cut, at every place of the seam.
        for round in 0..40_u64 {
            story.publish("t", "default/desk")?;
            if round % 8 == 3 {
                story.cut(0, 0, usize::try_from(round).unwrap() * 20);
            }
            story.world.pass(Duration::from_millis(20 * (round % 5)))?;
        }
        story.connected()?;
        story.pass(5)?;
        assert_eq!(story.events(0, sub), (1..=40).collect::<Vec<_>>());
        assert_eq!(story.gaps(0, sub), []);
        // Away for longer than events are kept.
        story.disconnect(0)?;
        for _ in 0..5 {
            story.publish("t", "default/desk")?;
        }
        story.pass(60)?;
        for _ in 0..3 {
            story.publish("t", "default/desk")?;
        }
        story.reconnect(0)?;
        story.pass(5)?;
        let gaps = story.gaps(0, sub);
        assert!(matches!(gaps[..], [(40, from)] if from.seq == 40), "{gaps:?}");
        assert_eq!(story.events(0, sub)[40..], [46, 47, 48]);
        Ok(())
    });
}

#[test]
fn fault_8_what_was_sent_during_a_cut_is_neither_lost_nor_done_twice() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("t", "ann"), ("t", "bob")]);
        story.connect()?;
        let heard = story.join(1, "default/desk", Start::First)?.unwrap();
        let mut items = Vec::new();
        for round in 0..20_usize {
            items.push(story.send(0, "default/desk")?);
            // The request arrives and its answer does not, or neither does, or it is cut between.
            story.world.pass(Duration::from_millis(u64::try_from(round).unwrap() * 3))?;
            story.cut(0, [usize::MAX, 0, 40 * round][round % 3], 0);
            items.push(story.send(0, "default/desk")?);
            story.connected()?;
        }
        story.pass(30)?;
        for (at, item) in items.iter().enumerate() {
            let seq = u64::try_from(at).unwrap() + 1;
            assert_eq!(story.outcomes(0, *item), [Outcome::Accepted(Some(seq))]);
        }
        assert_eq!(story.events(1, heard), (1..=40).collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn fault_8_a_subscription_recovers_though_no_event_had_arrived() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("t", "ann")]);
        story.connect()?;
        let sub = story.join(0, "default/desk", Start::Live)?.unwrap();
        story.cut(0, 0, 0);
        for _ in 0..3 {
            story.publish("t", "default/desk")?;
        }
        story.pass(1)?;
        story.connected()?;
        story.pass(2)?;
        assert_eq!(story.events(0, sub), [1, 2, 3]);
        assert_eq!(story.gaps(0, sub), []);
        Ok(())
    });
}

#[test]
fn fault_8_after_the_death_of_the_server_everything_goes_on_where_it_was() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("t", "ann"), ("t", "bob")]);
        story.connect()?;
        let sub = story.join(0, "default/desk", Start::Live)?.unwrap();
        let before = story.send(1, "default/desk")?;
        story.pass(1)?;
        let lost_on_its_way = story.send(1, "default/desk")?;
        story.world.pass(Duration::from_millis(seed * 6))?;
        story.kill_server(Duration::from_secs(20))?;
        let while_away = story.send(1, "default/desk")?;
        story.pass(25)?;
        story.connected()?;
        story.pass(5)?;
        for item in [before, lost_on_its_way, while_away] {
            let outcomes = story.outcomes(1, item);
            assert!(matches!(outcomes[..], [Outcome::Accepted(Some(_))]), "{outcomes:?}");
        }
        assert_eq!(story.events(0, sub), [1, 2, 3]);
        assert_eq!(story.gaps(0, sub), []);
        Ok(())
    });
}

#[test]
fn fault_8_a_queue_outlives_its_process() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("t", "ann"), ("t", "bob")]);
        story.connect()?;
        let heard = story.join(1, "default/desk", Start::First)?.unwrap();
        story.disconnect(0)?;
        for _ in 0..50 {
            story.send(0, "default/desk")?;
        }
        story.pass(1)?;
        story.restart_client(0)?;
        story.reconnect(0)?;
        story.pass(5)?;
        assert_eq!(story.events(1, heard), (1..=50).collect::<Vec<_>>());
        Ok(())
    });
}
