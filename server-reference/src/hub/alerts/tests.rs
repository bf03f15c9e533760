//! Commands and what becomes of alerts, over a log in memory.

use super::*;
use crate::{
    hub::ledger::tests::at,
    log::{Intent, MemoryLog, Retention, Step, Ticket},
};
use wardline::protocol::Mark;

fn tenant() -> TenantId {
    "t".into()
}

struct Rig {
    log: MemoryLog,
    part: Alerts,
    seq: u64,
    events: Vec<(String, String)>,
}

impl Rig {
    fn new(log: MemoryLog, config: Config) -> Self {
        let mut part = Alerts::new(config);
        part.open(&tenant());
        let mut rig = Self { log, part, seq: 0, events: Vec::new() };
        rig.run(at(0));
        assert!(rig.part.is_ready(&tenant()));
        rig
    }

    fn fresh() -> Self {
        Self::new(MemoryLog::new(1, Retention::uniform(3_600_000)), Config::default())
    }

    fn ask(&mut self, request: Request, now: Now) {
        for reply in self.log.handle_request(request, now.wall.0) {
            match &reply {
                Reply::Entry(key, entry) => {
                    if key.room.as_str() != STATE {
                        self.events.push((key.room.to_string(), entry.event.to_string()));
                    }
                    self.part.handle_entry(key, entry, now);
                }
                _ => self.part.handle_reply(&reply, now),
            }
        }
    }

    fn run(&mut self, now: Now) {
        while let Some(request) = self.part.poll_request() {
            self.ask(request, now);
        }
    }

    /// Handles a command and appends its effects.
    fn command(&mut self, event: &str, data: &str, now: Now) -> Result<Alert, Code> {
        self.seq += 1;
        let entry = Entry {
            seq: self.seq,
            mark: Mark(self.seq),
            prev_mark: Mark(0),
            time: now.wall.0,
            id: ItemId(self.seq.into()),
            from: "ann".into(),
            event: event.into(),
            key: None,
            gone: false,
            data: Json::parse(data).unwrap(),
        };
        let Handled { answer, effects } = self.part.handle(&tenant(), &entry);
        assert_eq!(answer.is_ok(), !effects.is_empty());
        let step = Step { producer: None, once: None, intent: Intent::Append(effects) };
        self.ask(Request::Step(Ticket(1), step), now);
        answer.map(|json| json.to().unwrap()).map_err(|error| error.code)
    }

    fn create(&mut self, now: Now) -> Alert {
        self.command(CREATE, r#"{"type":"fire","title":"Smoke","severity":"high"}"#, now).unwrap()
    }

    fn act(&mut self, event: &str, id: &AlertId, now: Now) -> Result<Alert, Code> {
        self.command(event, &format!(r#"{{"alertId":"{id}","note":"n"}}"#), now)
    }
}

#[test]
fn c7_an_alert_is_raised_acknowledged_and_resolved() {
    let mut rig = Rig::fresh();
    let raised = rig.create(at(10));
    assert_eq!((raised.kind.as_str(), raised.created_at), ("fire", Some(10)));
    assert_eq!(raised.created_by, Some("ann".into()));
    let taken = rig.act(ACKNOWLEDGE, &raised.id, at(20)).unwrap();
    assert_eq!(taken.acknowledged_by, Some("ann".into()));
    assert_eq!(rig.act(ACKNOWLEDGE, &raised.id, at(21)), Err(Code::CONFLICT));
    let over = rig.act(RESOLVE, &raised.id, at(30)).unwrap();
    assert_eq!((over.status, over.resolved_at), (AlertStatus::Resolved, Some(30)));
    assert_eq!(over.note.as_deref(), Some("n"));
    assert_eq!(rig.act(RESOLVE, &raised.id, at(31)), Err(Code::CONFLICT));
    assert_eq!(rig.act(ACKNOWLEDGE, &raised.id, at(31)), Err(Code::CONFLICT));
    assert_eq!(rig.act(RESOLVE, &"nobody".into(), at(31)), Err(Code::NOT_FOUND));
    let names: Vec<_> = rig.events.iter().map(|(_, event)| event.as_str()).collect();
    assert_eq!(names, ["alert:created", "alert:acknowledged", "alert:resolved"]);
    assert!(rig.events.iter().all(|(room, _)| room == "alerts/tenant:t"));
}

#[test]
fn c7_bad_commands_are_refused() {
    let mut rig = Rig::fresh();
    for (event, data, code) in [
        (CREATE, "{}", Code::BAD_PARAMS),
        (CREATE, r#"{"type":"","title":"x"}"#, Code::BAD_PARAMS),
        (CREATE, r#"{"type":"a","title":"x","room":"~alerts"}"#, Code::BAD_ROOM),
        (CREATE, r#"{"type":"a","title":"x","room":"commands"}"#, Code::BAD_ROOM),
        (CREATE, r#"{"type":"a","title":"x","room":"a b"}"#, Code::BAD_ROOM),
        (RESOLVE, "[]", Code::BAD_PARAMS),
    ] {
        assert_eq!(rig.command(event, data, at(0)), Err(code), "{data}");
    }
}

#[test]
fn c7_an_alert_too_large_for_an_answer_is_refused_before_anything_happens() {
    let mut rig = Rig::fresh();
    let create = |size: usize| {
        let text = "x".repeat(size);
        format!(r#"{{"type":"a","title":"t","severity":"low","description":"{text}"}}"#)
    };
    assert_eq!(rig.command(CREATE, &create(16_000), at(0)), Err(Code::TOO_LARGE));
    assert!(rig.events.is_empty());
    let raised = rig.command(CREATE, &create(15_000), at(0)).unwrap();
    rig.act(ACKNOWLEDGE, &raised.id, at(1)).unwrap();
}

#[test]
fn an_alert_lives_in_the_room_it_names_and_its_sender_must_be_allowed_there() {
    let mut rig = Rig::fresh();
    let data = r#"{"type":"a","title":"x","room":"site:9"}"#;
    let raised = rig.command(CREATE, data, at(0)).unwrap();
    assert_eq!(rig.events[0].0, "alerts/site:9");
    let concerns = |event: &str, data: &str| {
        let room = rig.part.concerns(&tenant(), event, &Json::parse(data).unwrap());
        room.map(|room| room.to_string())
    };
    assert_eq!(concerns(CREATE, data).as_deref(), Some("alerts/site:9"));
    let act = format!(r#"{{"alertId":"{}"}}"#, raised.id);
    assert_eq!(concerns(RESOLVE, &act).as_deref(), Some("alerts/site:9"));
    assert_eq!(concerns(RESOLVE, r#"{"alertId":"other"}"#), None);
}

#[test]
fn p_s8_the_state_survives_a_restart_and_the_retention_of_events() {
    let mut rig = Rig::fresh();
    let open = rig.create(at(0));
    let over = rig.create(at(0));
    rig.act(RESOLVE, &over.id, at(1)).unwrap();
    rig.log.expire(7_200_000);
    let mut next = Rig::new(rig.log.clone(), Config::default());
    next.seq = 100;
    assert_eq!(next.act(RESOLVE, &over.id, at(7_200_000)), Err(Code::CONFLICT));
    assert!(next.act(ACKNOWLEDGE, &open.id, at(7_200_000)).is_ok());
}

#[test]
fn resolved_alerts_are_forgotten_after_a_day_and_open_ones_never() {
    let mut rig = Rig::fresh();
    let open = rig.create(at(0));
    for _ in 0..100 {
        let over = rig.create(at(0));
        rig.act(RESOLVE, &over.id, at(1000)).unwrap();
    }
    rig.run(at(1000));
    let day = 24 * 3_600_000;
    assert_eq!(rig.part.poll_timeout(), Some(at(1000 + day).mono));
    for ms in [day + 999, day + 1000, day + 3000] {
        rig.part.handle_timeout(at(ms));
        rig.run(at(ms));
    }
    let left: Vec<_> = rig.part.alerts(&tenant()).map(|(_, alert)| alert.id.clone()).collect();
    assert_eq!(left, [open.id]);
}

#[test]
fn alerts_are_bounded() {
    let config = Config { open: 3, resolved: 2, ..Config::default() };
    let mut rig = Rig::new(MemoryLog::new(1, Retention::uniform(3_600_000)), config);
    let mut ids: Vec<_> = (0..3).map(|n| rig.create(at(n)).id).collect();
    let more = rig.command(CREATE, r#"{"type":"a","title":"x"}"#, at(4));
    assert_eq!(more, Err(Code::RATE));
    for id in ids.drain(..) {
        rig.act(RESOLVE, &id, at(10)).unwrap();
        rig.run(at(10));
    }
    assert_eq!(rig.part.alerts(&tenant()).count(), 2);
    rig.create(at(11));
}

#[test]
fn an_alert_of_a_back_end_can_be_acknowledged_too() {
    let mut rig = Rig::fresh();
    let published = NewEntry {
        room: RoomKey { tenant: tenant(), room: "alerts/tenant:t".parse().unwrap() },
        id: ItemId(900),
        from: "".into(),
        event: "alert:created".into(),
        key: None,
        gone: false,
        data: Json::parse(r#"{"id":"x-1","type":"door","title":"Open"}"#).unwrap(),
    };
    let state = rig.part.companion(&published).unwrap();
    assert_eq!(rig.part.companion(&state), None);
    let other = NewEntry { event: "note".into(), ..published.clone() };
    assert_eq!(rig.part.companion(&other), None);
    let intent = Intent::Append(vec![published, state]);
    rig.ask(Request::Step(Ticket(1), Step { producer: None, once: None, intent }), at(0));
    assert!(rig.act(ACKNOWLEDGE, &"x-1".into(), at(5)).is_ok());
}
