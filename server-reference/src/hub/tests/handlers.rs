//! Commands and alerts through the hub, end to end (P-S8, C7).

use super::{
    parts::{DEEP, SERVICE, TWICE},
    *,
};
use wardline::{
    model::{alert::Alert, ids::ItemId},
    protocol::{Code, Json},
};

#[test]
fn p_s8_a_service_answers_a_command_and_every_connection_of_the_sender_hears() {
    let mut bench = Bench::new();
    let site = bench.welcome(SERVICE);
    bench.join(site, "video/commands");
    assert_eq!(bench.kinds(site), ["welcome", "joined", "live"]);
    let (ann, phone, bob) =
        (bench.welcome("1/ann"), bench.welcome("1/ann"), bench.welcome("1/bob"));
    let id = bench.command(ann, 1, "video/commands", "video:stream:start", r#"{"cameraId":"7"}"#);
    assert!(bench.kinds(ann).contains(&"ok".to_owned()));
    let fed = bench.events(site);
    assert_eq!((fed.len(), fed[0].id, fed[0].from.as_str()), (1, Some(id), "ann"));
    bench.take(phone);
    bench.answer(site, "video/commands", fed[0].seq.unwrap(), r#"{"url":"x"}"#);
    for conn in [ann, phone] {
        let results = bench.results(conn);
        assert_eq!((results.len(), results[0].id), (1, id));
        assert_eq!(results[0].result.as_ref().unwrap().get(), r#"{"url":"x"}"#);
    }
    assert_eq!(bench.results(bob), []);
    bench.text(
        bob,
        &format!(r#"{{"type":"call","id":1,"method":"results","params":{{"ids":["{id}"]}}}}"#),
    );
    bench.text(
        ann,
        &format!(r#"{{"type":"call","id":1,"method":"results","params":{{"ids":["{id}"]}}}}"#),
    );
    let reply = |bench: &mut Bench, conn| match &bench.take(conn)[..] {
        [ServerFrame::Reply(reply)] => reply.result.as_ref().unwrap().get().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reply(&mut bench, bob), r#"{"results":{}}"#);
    assert_eq!(
        reply(&mut bench, ann),
        format!(r#"{{"results":{{"{id}":{{"result":{{"url":"x"}}}}}}}}"#)
    );
}

#[test]
fn p_s8_commands_and_results_survive_a_restart_of_the_server() {
    let mut bench = Bench::new();
    let site = bench.welcome(SERVICE);
    bench.join(site, "video/commands");
    let ann = bench.welcome("1/ann");
    let first = bench.command(ann, 1, "video/commands", "video:stream:start", "1");
    let second = bench.command(ann, 2, "video/commands", "video:stream:stop", "2");
    let fed = bench.events(site);
    bench.answer(site, "video/commands", fed[0].seq.unwrap(), "\"done\"");
    bench.restart();
    bench.next = 50;
    let ann = bench.welcome("1/ann");
    bench.take(ann);
    bench.text(ann, &format!(r#"{{"type":"call","id":1,"method":"results","params":{{"ids":["{first}","{second}"]}}}}"#));
    let frames = bench.take(ann);
    let [ServerFrame::Reply(reply)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(
        reply.result.as_ref().unwrap().get(),
        format!(r#"{{"results":{{"{first}":{{"result":"done"}}}}}}"#)
    );
    let site = bench.welcome(SERVICE);
    bench.join(site, "video/commands");
    let again = bench.events(site);
    assert_eq!((again.len(), again[0].id), (1, Some(second)), "what was not answered comes again");
    bench.answer(site, "video/commands", again[0].seq.unwrap(), "\"too\"");
    assert_eq!(bench.results(ann)[0].id, second);
}

#[test]
fn p_s8_who_may_do_what_with_commands() {
    let mut bench = Bench::new();
    let ann = bench.welcome("1/ann");
    bench.command(ann, 1, "video/commands", "video:stream:start", "1");
    assert_eq!(bench.refusals(ann), [Code::NO_HANDLER]);
    bench.join(ann, "video/commands");
    let frames = bench.take(ann);
    assert!(matches!(&frames[..], [ServerFrame::Left(left)] if left.code == Some(Code::FORBIDDEN)));
    let site = bench.welcome(SERVICE);
    bench.join(site, "video/commands");
    bench.command(ann, 2, "video/commands", "video:explode", "1");
    assert_eq!(bench.refusals(ann), [Code::BAD_EVENT]);
    for room in ["video/~answers", "system/~control", "alerts/~alerts"] {
        bench.take(site);
        bench.join(site, room);
        let frames = bench.take(site);
        assert!(matches!(&frames[..], [ServerFrame::Left(_)]), "{room}");
    }
    bench.answer(ann, "video/commands", 1, "1");
    bench.command(ann, 3, "video/commands", "video:stream:start", "1");
    let fed = bench.events(site);
    assert_eq!(fed.len(), 1);
    bench.text(site, r#"{"type":"leave","id":5,"room":"video/commands"}"#);
    bench.answer(site, "video/commands", fed[0].seq.unwrap(), "1");
    assert_eq!(bench.results(ann), [], "only members answer");
}

#[test]
fn c7_alerts_are_created_acknowledged_and_resolved_end_to_end() {
    let mut bench = Bench::new();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.join_as(bob, "alerts/tenant:1", r#","filter":[{"severities":["high"]}]"#);
    bench.take(bob);
    let low = r#"{"type":"door","title":"Open","severity":"low"}"#;
    let high = r#"{"type":"fire","title":"Smoke","severity":"high"}"#;
    bench.command(ann, 1, "alerts/commands", "alert:create", low);
    bench.command(ann, 2, "alerts/commands", "alert:create", high);
    let results = bench.results(ann);
    let raised: Alert = results[1].result.as_ref().unwrap().to().unwrap();
    assert_eq!(raised.created_by, Some("ann".into()));
    let act = format!(r#"{{"alertId":"{}"}}"#, raised.id);
    bench.command(bob, 1, "alerts/commands", "alert:acknowledge", &act);
    let frames = bench.take(bob);
    let kinds: Vec<_> = frames.iter().map(ServerFrame::kind).collect();
    assert_eq!(kinds, ["event", "ok", "event", "result"]);
    bench.restart();
    bench.next = 50;
    let bob = bench.welcome("1/bob");
    bench.command(bob, 1, "alerts/commands", "alert:acknowledge", &act);
    bench.command(bob, 2, "alerts/commands", "alert:resolve", &act);
    bench.command(bob, 3, "alerts/commands", "alert:resolve", r#"{"alertId":"none"}"#);
    let codes: Vec<_> =
        bench.results(bob).into_iter().map(|r| r.error.map(|error| error.code)).collect();
    assert_eq!(codes, [Some(Code::CONFLICT), None, Some(Code::NOT_FOUND)]);
    bench.join_as(bob, "alerts/tenant:1", r#","from":"first""#);
    let names: Vec<_> = bench.events(bob).into_iter().map(|event| event.event).collect();
    assert_eq!(names, ["alert:created", "alert:created", "alert:acknowledged", "alert:resolved"]);
}

#[test]
fn c7_an_alert_goes_only_where_its_sender_may_send() {
    let mut bench = Bench::new();
    let ann = bench.welcome("1/ann");
    let data = |room: &str| format!(r#"{{"type":"a","title":"x","room":"{room}"}}"#);
    bench.command(ann, 1, "alerts/commands", "alert:create", &data("tenant:2"));
    bench.command(ann, 2, "alerts/commands", "alert:create", &data("org:9"));
    assert_eq!(bench.refusals(ann), [Code::FORBIDDEN, Code::FORBIDDEN]);
    bench.command(ann, 3, "alerts/commands", "alert:create", &data("site:4"));
    assert_eq!(bench.results(ann).len(), 1);
}

#[test]
fn c7_an_alert_a_service_publishes_can_be_acknowledged() {
    let mut bench = Bench::new();
    let (site, ann) = (bench.welcome(SERVICE), bench.welcome("1/ann"));
    let event = PublishEvent {
        room: "alerts/tenant:1".parse().unwrap(),
        event: "alert:created".into(),
        id: ItemId(77),
        key: None,
        persist: true,
        data: Json::parse(r#"{"id":"p-1","type":"door","title":"Open"}"#).unwrap(),
    };
    let publish = Publish {
        tenant: "1".into(),
        by: None,
        events: vec![event.clone()],
        number: None,
        from: "".into(),
    };
    bench.feed(Input::Publish(CallId(1), publish.clone()));
    assert!(matches!(&bench.published[..], [(CallId(1), Ok(numbers))] if *numbers == [Some(1)]));
    bench.command(
        site,
        1,
        "alerts/tenant:1",
        "alert:created",
        r#"{"id":"s-1","type":"door","title":"Open"}"#,
    );
    for (n, id) in [(1, "p-1"), (2, "s-1")] {
        bench.command(
            ann,
            n,
            "alerts/commands",
            "alert:acknowledge",
            &format!(r#"{{"alertId":"{id}"}}"#),
        );
    }
    assert!(bench.results(ann).iter().all(|result| result.error.is_none()));
    let hidden = PublishEvent { room: "alerts/~alerts".parse().unwrap(), id: ItemId(78), ..event };
    bench.feed(Input::Publish(CallId(2), Publish { events: vec![hidden], ..publish }));
    assert!(matches!(bench.published.last(), Some((CallId(2), Err(_)))));
}

#[test]
fn c7_a_users_own_event_does_not_touch_the_state_of_an_alert() {
    let mut bench = Bench::new();
    let (ann, eve) = (bench.welcome("1/ann"), bench.welcome("1/eve"));
    let new = r#"{"type":"door","title":"Open"}"#;
    bench.command(ann, 1, "alerts/commands", "alert:create", new);
    let raised: Alert = bench.results(ann)[0].result.as_ref().unwrap().to().unwrap();
    let forged = format!(r#"{{"id":"{}","type":"door","title":"Shut"}}"#, raised.id);
    bench.command(eve, 1, "alerts/tenant:1", "alert:resolved", &forged);
    let act = format!(r#"{{"alertId":"{}"}}"#, raised.id);
    bench.command(ann, 2, "alerts/commands", "alert:acknowledge", &act);
    let results = bench.results(ann);
    assert_eq!(results[0].error, None);
}

#[test]
fn p_s8_the_servers_own_code_handles_a_namespace() {
    let mut config = HubConfig::default();
    let spec = commands::Namespace::in_process(&["video:*"]);
    config.parts.commands.namespaces.insert("video".into(), Arc::new(spec));
    let mut bench = Bench::with(config);
    let ann = bench.welcome("1/ann");
    let id = bench.command(ann, 1, "video/commands", "video:stream:start", "1");
    let commands = bench.hooks.iter().filter_map(|hook| match hook {
        Hook::Command(tenant, room, entry) => Some((tenant.clone(), room.clone(), entry.seq)),
        _ => None,
    });
    let handled: Vec<_> = commands.collect();
    let [(tenant, room, seq)] = &handled[..] else { panic!("{handled:?}") };
    bench.feed(Input::Answer(room.clone(), tenant.clone(), *seq, Ok(Json::null())));
    assert_eq!(bench.results(ann)[0].id, id);
}

#[test]
fn p_r8_nothing_is_cast_into_commands() {
    let mut bench = Bench::new();
    let service = bench.welcome("1/svc/service");
    bench.join(service, "video/commands");
    bench.take(service);
    bench.text(service, r#"{"type":"cast","room":"video/commands","event":"e","data":1}"#);
    assert!(bench.take(service).is_empty());
}

#[test]
fn p_s8_a_back_end_sends_a_command_though_nobody_of_the_tenant_is_connected() {
    let mut bench = Bench::new();
    let event = PublishEvent {
        room: "alerts/commands".parse().unwrap(),
        event: "alert:create".into(),
        id: ItemId(5),
        key: None,
        persist: true,
        data: Json::parse(r#"{"type":"fire","title":"Smoke"}"#).unwrap(),
    };
    let publish = Publish {
        tenant: "1".into(),
        by: None,
        events: vec![event],
        number: None,
        from: "".into(),
    };
    // The first one finds the logs unread, and may be published again as it is.
    for call in [1, 2] {
        bench.feed(Input::Publish(CallId(call), publish.clone()));
    }
    let [(_, Err(first)), (_, Ok(_))] = &bench.published[..] else {
        panic!("{:?}", bench.published)
    };
    assert_eq!(first.code, Code::UNAVAILABLE);
    let ann = bench.welcome("1/ann");
    bench.join_as(ann, "alerts/tenant:1", r#","from":"first""#);
    let events = bench.events(ann);
    assert_eq!((events.len(), events[0].event.as_str()), (1, "alert:created"));
}

#[test]
fn p_s8_an_answer_that_is_no_data_is_the_commands_error_at_once() {
    let mut bench = Bench::new();
    let (ann, site) = (bench.welcome("1/ann"), bench.welcome(SERVICE));
    bench.join(site, "video/commands");
    for (n, bad) in (1..).zip([DEEP, TWICE]) {
        bench.command(ann, n, "video/commands", "stream:start", "1");
        let seq = bench.events(site)[0].seq.unwrap();
        bench.take(ann);
        bench.answer(site, "video/commands", seq, bad);
        let results = bench.results(ann);
        let error = results[0].error.as_ref().unwrap();
        assert_eq!(error.code, Code::HANDLER);
        assert!(error.message.contains("result"), "{}", error.message);
    }
    // As deep as may be is a result, minified, and `results` tells it as well.
    let id = bench.command(ann, 3, "video/commands", "stream:start", "1");
    let seq = bench.events(site)[0].seq.unwrap();
    bench.take(ann);
    let deepest = &DEEP[1..DEEP.len() - 1];
    bench.answer(site, "video/commands", seq, &format!(" {deepest} "));
    assert_eq!(bench.results(ann)[0].result.as_ref().map(Json::get), Some(deepest));
    bench.text(
        ann,
        &format!(r#"{{"type":"call","id":8,"method":"results","params":{{"ids":["{id}"]}}}}"#),
    );
    let frames = bench.take(ann);
    let [ServerFrame::Reply(reply)] = &frames[..] else { panic!("{frames:?}") };
    assert!(reply.result.as_ref().unwrap().get().contains(deepest), "{reply:?}");
}

#[test]
fn p_s8_the_first_command_waits_only_as_long_as_reading_its_group_takes() {
    let mut bench = Bench::new();
    let ann = bench.welcome("2/ann");
    bench.take(ann);
    // Another hub, whose reads are under way when the command comes.
    bench.restart();
    bench.held = Some(VecDeque::new());
    let bob = bench.open();
    bench.text(bob, r#"{"type":"hello","token":"3/bob","producer":"000000000000000000000000000000ff","lanes":{}}"#);
    let mut later = VecDeque::new();
    // All but what the group reads is answered.
    for _ in 0..4 {
        for request in bench.held.replace(VecDeque::new()).unwrap_or_default() {
            let of_commands =
                matches!(&request, Request::Read(_, key, _) if key.room.room() == "commands");
            if of_commands {
                later.push_back(request);
                continue;
            }
            for reply in bench.log.handle_request(request, bench.now.wall.0) {
                bench.feed(Input::Log(reply));
            }
        }
    }
    bench.take(bob);
    let send = |base: &str| {
        format!(
            r#"{{"type":"send","lane":1,"n":1,"id":"{:032x}",{base}"room":"alerts/commands","event":"alert:create","persist":true,"data":{{"type":"fire","title":"Smoke"}}}}"#,
            7
        )
    };
    bench.text(bob, &send(r#""base":0,"#));
    let frames = bench.take(bob);
    let [ServerFrame::Hold(hold)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((&hold.code, hold.after), (&Code::UNAVAILABLE, Some(50)));
    bench.held = Some(later);
    bench.release();
    bench.text(bob, &send(r#""base":0,"#));
    let frames = bench.take(bob);
    assert!(frames.iter().any(|frame| matches!(frame, ServerFrame::Accepted(_))), "{frames:?}");
}
