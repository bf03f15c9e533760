//! Clauses of the protocol that only both ends together can show.

use super::with_seeds;
use std::time::Duration;
use wardline::{
    machine::{Outcome, PresenceChange, Subscribe},
    protocol::{Filter, frames::Start},
};
use wardline_tests::scenario::Scenario;

#[test]
fn p_s3a_nothing_is_told_before_it_is_durable() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("t", "ann"), ("t", "bob")]);
        story.connect()?;
        let sub = story.join(1, "default/desk", Start::Live)?.unwrap();
        story.slow_sync(Duration::from_secs(20));
        let item = story.send(0, "default/desk")?;
        story.world.pass(Duration::from_secs(1))?;
        // Taken, and asked about again over another connection: the repeated outcome waits too.
        story.cut(0, usize::MAX, usize::MAX);
        story.pass(4)?;
        assert_eq!(story.outcomes(0, item), []);
        assert_eq!(story.events(1, sub), [0; 0]);
        story.pass(60)?;
        assert_eq!(story.outcomes(0, item), [Outcome::Accepted(Some(1))]);
        assert_eq!(story.events(1, sub), [1]);
        Ok(())
    });
}

#[test]
fn p_s3a_what_was_not_durable_when_the_server_died_was_told_to_nobody_and_is_sent_again() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("t", "ann"), ("t", "bob")]);
        story.connect()?;
        let sub = story.join(1, "default/desk", Start::Live)?.unwrap();
        story.slow_sync(Duration::from_secs(20));
        let item = story.send(0, "default/desk")?;
        story.pass(1)?;
        story.kill_server(Duration::from_secs(1))?;
        story.slow_sync(Duration::ZERO);
        story.pass(5)?;
        story.connected()?;
        story.pass(5)?;
        assert_eq!(story.outcomes(0, item), [Outcome::Accepted(Some(1))]);
        assert_eq!(story.events(1, sub), [1]);
        Ok(())
    });
}

#[test]
fn p_s1_a_store_that_fails_says_so_and_sends_nothing_it_does_not_hold() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("t", "ann")]);
        story.connect()?;
        story.pass(1)?;
        story.fail_store(0, 1);
        let item = story.send(0, "default/desk")?;
        story.pass(5)?;
        // The submit was answered with an error; the invariants see to it that it never appears.
        assert_eq!(story.outcomes(0, item), []);
        let next = story.send(0, "default/desk")?;
        story.pass(5)?;
        assert_eq!(story.outcomes(0, next), [Outcome::Accepted(Some(1))]);
        Ok(())
    });
}

#[test]
fn p_r6_after_a_lost_tail_every_member_hears_of_it_before_anything_newer() {
    with_seeds(|seed| {
        let mut story = Scenario::with(seed, &[("t", "ann"), ("t", "bob")], |plan| {
            plan.embedded = false;
        });
        story.connect()?;
        let ann = story.join(0, "default/desk", Start::First)?.unwrap();
        let bob = story.join(1, "default/desk", Start::Live)?.unwrap();
        for _ in 0..4 {
            story.publish("t", "default/desk")?;
        }
        story.pass(2)?;
        assert_eq!(story.events(0, ann), [1, 2, 3, 4]);
        story.lose_tail(2)?;
        story.publish("t", "default/desk")?;
        story.pass(10)?;
        for (client, sub) in [(0, ann), (1, bob)] {
            let gaps = story.gaps(client, sub);
            assert!(matches!(gaps[..], [(4, from)] if from.seq == 4), "{gaps:?}");
            assert_eq!(story.events(client, sub)[4..].last(), Some(&3));
        }
        Ok(())
    });
}

#[test]
fn p_p2_a_cut_is_no_leave_and_a_return_is_no_join() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("t", "ann"), ("t", "bob")]);
        story.connect()?;
        let of = |present: bool| Subscribe {
            filter: Filter::default(),
            from: Start::Live,
            cursor: None,
            durable: None,
            meta: None,
            present,
            watch: !present,
            hook: false,
        };
        let seen = story.join_as(0, "default/desk", of(false))?.unwrap();
        let shown = story.join_as(1, "default/desk", of(true))?.unwrap();
        story.pass(70)?;
        let before = story.presence(0, seen);
        for _ in 0..5 {
            story.cut(1, 0, 0);
            story.pass(1)?;
            story.connected()?;
            story.pass(1)?;
        }
        assert_eq!(story.presence(0, seen), before);
        story.leave(1, shown)?;
        story.pass(5)?;
        let after = story.presence(0, seen);
        let [PresenceChange::Left(user)] = &after[before.len()..] else { panic!("{after:?}") };
        assert_eq!(user.as_str(), "bob");
        Ok(())
    });
}

#[test]
fn p_c7_two_copies_of_one_store_part_and_both_are_heard() {
    with_seeds(|seed| {
        let mut story = Scenario::new(seed, &[("t", "ann"), ("t", "other")]);
        story.connect()?;
        let first = story.send(0, "default/desk")?;
        story.pass(1)?;
        story.copy_store(0, 1)?;
        story.pass(1)?;
        let mut items = vec![];
        for _ in 0..10 {
            items.push((0, story.send(0, "default/desk")?));
            items.push((1, story.send(1, "default/desk")?));
            story.pass(3)?;
        }
        story.pass(300)?;
        story.connected()?;
        assert_eq!(story.outcomes(0, first), [Outcome::Accepted(Some(1))]);
        for (client, item) in items {
            let outcomes = story.outcomes(client, item);
            assert!(matches!(outcomes[..], [Outcome::Accepted(Some(_))]), "{item} {outcomes:?}");
        }
        Ok(())
    });
}
