//! Who is cut, when, and what survives.

use super::*;
use crate::log::{MemoryLog, Retention};
use wardline::time::UnixMillis;

fn at(ms: u64) -> Now {
    Now { mono: Instant::new(Duration::from_millis(ms)), wall: UnixMillis(ms) }
}

fn who(user: &str, token: &str, issued: u64) -> Principal {
    Principal {
        tenant: "t".into(),
        user: user.into(),
        organization: None,
        roles: Vec::new(),
        token_id: Some(token.into()),
        issued,
        expires: None,
    }
}

fn revocation(user: Option<&str>, token: Option<&str>, not_before: u64) -> Revocation {
    Revocation {
        tenant: "t".into(),
        user: user.map(Into::into),
        token_id: token.map(Into::into),
        not_before,
    }
}

struct Rig {
    log: MemoryLog,
    part: Revocations,
    cuts: Vec<Revocation>,
    loaded: usize,
    durable: Vec<CallId>,
    refused: Vec<CallId>,
}

impl Rig {
    fn new(log: MemoryLog, config: Config) -> Self {
        Self {
            log,
            part: Revocations::new(config, 7),
            cuts: Vec::new(),
            loaded: 0,
            durable: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn run(&mut self, now: Now) {
        while let Some(output) = self.part.poll_output() {
            match output {
                Output::Log(request) => {
                    for reply in self.log.handle_request(request, now.wall.0) {
                        match &reply {
                            Reply::Entry(key, entry) => self.part.handle_entry(key, entry, now),
                            _ => self.part.handle_reply(&reply, now),
                        }
                    }
                }
                Output::Loaded(_) => self.loaded += 1,
                Output::Cut(cut) => self.cuts.push(cut),
                Output::Durable(call) => self.durable.push(call),
                Output::Refused(call) => self.refused.push(call),
            }
        }
    }

    fn check(&mut self, user: &str, token: &str, issued: u64, now: Now) -> Verdict {
        match self.part.check(&who(user, token, issued), now) {
            Verdict::Loading => {
                self.run(now);
                self.part.check(&who(user, token, issued), now)
            }
            verdict => verdict,
        }
    }
}

fn log() -> MemoryLog {
    MemoryLog::new(1, Retention::uniform(1 << 50))
}

#[test]
fn p_c6a_nobody_is_let_in_before_the_control_log_is_read() {
    let mut rig = Rig::new(log(), Config::default());
    assert_eq!(rig.part.check(&who("u", "a", 5), at(0)), Verdict::Loading);
    assert_eq!(rig.part.check(&who("u", "a", 5), at(0)), Verdict::Loading);
    rig.run(at(0));
    assert_eq!((rig.loaded, rig.check("u", "a", 5, at(0))), (1, Verdict::Valid));
}

#[test]
fn p_c6a_user_token_and_tenant_are_cut_by_not_before() {
    let mut rig = Rig::new(log(), Config::default());
    for cut in [
        revocation(Some("u"), None, 100),
        revocation(None, Some("tok"), 200),
        revocation(Some("u"), None, 50),
    ] {
        rig.part.revoke(None, cut, at(1000));
        rig.run(at(1000));
    }
    assert_eq!(rig.cuts.len(), 3);
    for (user, token, issued, verdict) in [
        ("u", "a", 99, Verdict::Revoked),
        ("u", "a", 100, Verdict::Valid),
        ("v", "a", 1, Verdict::Valid),
        ("v", "tok", 199, Verdict::Revoked),
        ("v", "tok", 200, Verdict::Revoked),
    ] {
        assert_eq!(rig.check(user, token, issued, at(1000)), verdict, "{user} {token} {issued}");
        let named = rig.cuts.iter().any(|cut| names(cut, &who(user, token, issued)));
        assert_eq!(named, verdict == Verdict::Revoked);
    }
    rig.part.revoke(None, revocation(None, None, 500), at(1000));
    rig.run(at(1000));
    assert_eq!(rig.check("v", "a", 499, at(1000)), Verdict::Revoked);
    assert_eq!(rig.check("v", "a", 500, at(1000)), Verdict::Valid);
}

#[test]
fn p_c6a_a_restart_and_another_node_know_them() {
    let mut rig = Rig::new(log(), Config::default());
    rig.part.revoke(None, revocation(Some("u"), None, 100), at(1000));
    rig.run(at(1000));
    let mut restarted = Rig::new(rig.log.clone(), Config::default());
    assert_eq!(restarted.check("u", "a", 99, at(2000)), Verdict::Revoked);
    let config = Config { refresh: Some(Duration::from_secs(1)), ..Config::default() };
    let mut other = Rig::new(log(), config);
    assert_eq!(other.check("u", "a", 99, at(0)), Verdict::Valid);
    std::mem::swap(&mut other.log, &mut rig.log);
    assert_eq!(other.part.poll_timeout(), Some(at(1000).mono));
    other.part.handle_timeout(at(1000));
    other.run(at(1000));
    assert_eq!(other.cuts, [revocation(Some("u"), None, 100)]);
    assert_eq!(other.check("u", "a", 99, at(1000)), Verdict::Revoked);
}

#[test]
fn p_c6a_a_revocation_waits_for_a_log_that_cannot_answer() {
    let mut rig = Rig::new(log(), Config::default());
    rig.check("u", "a", 1, at(0));
    rig.log.set_available(false);
    rig.part.revoke(None, revocation(Some("u"), None, 100), at(0));
    rig.run(at(0));
    assert!(rig.cuts.is_empty());
    rig.log.set_available(true);
    assert_eq!(rig.part.poll_timeout(), Some(at(1000).mono));
    rig.part.handle_timeout(at(1000));
    rig.run(at(1000));
    assert_eq!(rig.cuts.len(), 1);
}

#[test]
fn p_c6a_they_are_kept_for_the_longest_token_life_and_bounded() {
    let config = Config { token_life: Duration::from_secs(10), most: 3, ..Config::default() };
    let mut rig = Rig::new(log(), config);
    for n in 0..5 {
        rig.part.revoke(None, revocation(Some(&format!("u{n}")), None, 100 + n), at(1000));
        rig.run(at(1000));
    }
    let tenant = rig.part.tenants.values().next().unwrap();
    assert_eq!((tenant.users.len(), tenant.not_before), (3, Some(101)));
    rig.part.revoke(None, revocation(Some("late"), None, 7), at(11_000));
    rig.run(at(11_000));
    let tenant = rig.part.tenants.values().next().unwrap();
    assert_eq!((tenant.users.len(), tenant.ages.len()), (1, 1));
}

#[test]
fn p_c6a_a_call_is_answered_when_its_revocation_is_durable() {
    let mut rig = Rig::new(log(), Config::default());
    rig.part.revoke(Some(CallId(9)), revocation(Some("u"), None, 100), at(1000));
    assert!(rig.durable.is_empty());
    rig.run(at(1000));
    assert_eq!((rig.durable, rig.cuts.len()), (vec![CallId(9)], 1));
}

#[test]
fn p_c6a_a_revocation_the_log_refuses_keeps_no_call_waiting_and_is_done_later() {
    let mut rig = Rig::new(log(), Config::default());
    rig.check("u", "a", 1, at(0));
    rig.log.set_available(false);
    let most = MAX_WAITING as u64;
    for call in 0..most {
        rig.part.revoke(Some(CallId(call)), revocation(Some("u"), None, 100), at(0));
        rig.run(at(0));
    }
    assert_eq!((rig.refused.len(), rig.part.waiting.len()), (MAX_WAITING, 0));
    // What waits for the log is bounded; past it nothing is promised.
    rig.part.revoke(Some(CallId(most)), revocation(Some("u"), None, 100), at(0));
    rig.run(at(0));
    assert_eq!((rig.refused.last(), rig.part.waiting.len()), (Some(&CallId(most)), 0));
    assert_eq!(rig.part.ledger.under_way(), MAX_WAITING);
    rig.log.set_available(true);
    rig.part.handle_timeout(at(1000));
    rig.run(at(1000));
    assert_eq!((rig.cuts.len(), rig.part.ledger.under_way()), (MAX_WAITING, 0));
    rig.part.revoke(Some(CallId(most + 1)), revocation(Some("u"), None, 100), at(1000));
    rig.run(at(1000));
    assert_eq!(rig.durable, [CallId(most + 1)]);
}
