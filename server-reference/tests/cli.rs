//! The binary: its words, its signals, what it logs (V15, V16, P-C8).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Output, Stdio},
};
use support::{Peer, SECRET};

fn server(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardline-server"));
    // Nothing of the machine's own environment.
    command.env_clear().args(words);
    command
}

fn run(words: &[&str], env: &[(&str, &str)]) -> Output {
    server(words).envs(env.iter().copied()).output().unwrap()
}

fn refused(words: &[&str], env: &[(&str, &str)]) -> String {
    let output = run(words, env);
    assert!(!output.status.success(), "{words:?} {env:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn v16_bad_configuration_is_refused_with_what_and_why() {
    let secret = ("JWT_SECRET", SECRET);
    let production = ("ENVIRONMENT", "production");
    for (words, env, said) in [
        (vec!["check-config"], vec![], "JWT_SECRET is not set"),
        (vec!["serve"], vec![], "JWT_SECRET is not set"),
        (vec!["check-config", "--jwt-secret", "short"], vec![], "--jwt-secret has 5 characters"),
        (vec!["check-config"], vec![secret, production], "at least 64 in production"),
        (vec!["check-config"], vec![secret, ("PORT", "x")], "PORT: \"x\""),
        (vec!["check-config"], vec![secret, ("CLUSTERING_ENABLED", "true")], "CLUSTERING_ENABLED"),
        (vec!["check-config"], vec![secret, ("JWT_ALGORITHM", "none")], "JWT_ALGORITHM: \"none\""),
        (vec!["check-config"], vec![secret, ("JWT_ALGORITHM", "RS256")], "JWT_PUBLIC_KEY"),
        (vec!["check-config"], vec![secret, ("CORS_ORIGIN", "app.example")], "CORS_ORIGIN"),
        (vec!["check-config", "--config", "/nowhere"], vec![secret], "cannot read /nowhere"),
        (vec!["check-config", "--log", "paper"], vec![secret], "--log: \"paper\""),
        (vec!["serve", "--host", "256.0.0.1"], vec![secret, ("LOG", "memory")], "cannot listen on"),
    ] {
        let words: Vec<&str> = words.into_iter().collect();
        let told = refused(&words, &env);
        assert!(told.contains(said), "{words:?} {env:?}: {told}");
        assert!(!told.contains(SECRET), "{told}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wardline.toml");
    std::fs::write(&file, format!("jwt_secret = \"{SECRET}\"\nport = 1\nshards = 2\n")).unwrap();
    let file = file.to_str().unwrap();
    let good = run(&["check-config", "--config", file, "--host", "::1"], &[("PORT", "2")]);
    let told = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success() && told.contains("::1:2") && told.contains("2 shard"), "{told}");
    assert!(!told.contains(SECRET));
}

/// A serving child, ended with the test.
struct Serving {
    child: Child,
    addr: std::net::SocketAddr,
}

impl Serving {
    fn start(words: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = server(&["serve", "--host", "127.0.0.1", "--port", "0"])
            .args(words)
            .env("JWT_SECRET", SECRET)
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = loop {
            let line = lines.next().expect("the server says where it listens").unwrap();
            if let Some(addr) = line.strip_prefix("listening on ") {
                break addr.parse().unwrap();
            }
        };
        Self { child, addr }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Its end, and what it logged.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn token(user: &str) -> String {
    let words = ["token", "--tenant", "t", "--user", user, "--role", "admin", "--ttl", "60"];
    let output = run(&words, &[("JWT_SECRET", SECRET)]);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn v12_v15_a_signal_drains_and_no_log_holds_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ready = folder.path().join("ready");
    let words = ["--data", data.to_str().unwrap(), "--ready-file", ready.to_str().unwrap()];
    let serving = Serving::start(&words, &[("LOG_LEVEL", "trace")]);
    let token = token("u");
    let mut peer = Peer::connect(serving.addr);
    peer.hello(Some(&token));
    peer.expect("welcome");
    peer.join(1, "alerts/tenant:t");
    let path = format!("/wardline?token={token}");
    let v1 = [("sec-websocket-protocol", "wardline.v1.json")];
    let mut other = Peer::connect_with(serving.addr, &path, &v1).unwrap();
    other.hello(None);
    other.expect("welcome");
    let mut wrong = Peer::connect(serving.addr);
    wrong.hello(Some("wrong.secret.token"));
    assert_eq!(wrong.closed(), 4101);
    assert_eq!(std::fs::read_to_string(&ready).unwrap(), serving.addr.to_string());

    serving.terminate();
    assert_eq!(peer.closed(), 4000);
    assert_eq!(other.closed(), 4000);
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
    for word in ["connected", "not let in", "joined", "draining", "stopped"] {
        assert!(log.contains(word), "{word} in {log}");
    }
    assert!(!log.contains('\u{1b}'), "no colours where nobody looks");
    for secret in [SECRET, token.as_str(), "wrong.secret.token"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn a_hangup_has_the_certificate_read_again_and_ends_nothing() {
    let files = tempfile::tempdir().unwrap();
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    let certify = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.key_pair.serialize_pem()).unwrap();
    };
    certify();
    let env = [
        ("LOG", "memory"),
        ("TLS_CERT", cert.to_str().unwrap()),
        ("TLS_KEY", key.to_str().unwrap()),
    ];
    let mut serving = Serving::start(&[], &env);
    let mut log = BufReader::new(serving.child.stderr.take().unwrap()).lines();
    let mut until = |words: &str| log.by_ref().any(|line| line.unwrap().contains(words));
    certify();
    serving.signal("-HUP");
    assert!(until("another certificate is shown"));
    std::fs::write(&cert, "no certificate").unwrap();
    serving.signal("-HUP");
    assert!(until("the certificate there was is shown on"));
    serving.terminate();
    assert!(until("stopped"));
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn production_logs_are_json() {
    let secret = SECRET.repeat(2);
    let env = [("ENVIRONMENT", "production"), ("JWT_SECRET", secret.as_str()), ("LOG", "memory")];
    let serving = Serving::start(&[], &env);
    serving.terminate();
    let (code, log) = serving.end();
    assert_eq!(code, Some(0));
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert!(log.contains("draining"));
}

#[test]
fn dev_makes_a_secret_and_a_token_that_lets_in() {
    let mut child = server(&["serve", "--dev", "--port", "0", "--log", "memory"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = std::collections::BTreeMap::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let (word, rest) = line.split_once(' ').unwrap();
        said.insert(word.to_owned(), rest.trim().to_owned());
        if word == "listening" {
            break;
        }
    }
    let addr = said["listening"].strip_prefix("on ").unwrap().parse().unwrap();
    let mut peer = Peer::connect(addr);
    peer.hello(Some(&said["token"]));
    assert_eq!(peer.expect("welcome")["tenant"], "demo");
    assert_eq!(said["url"], format!("ws://{addr}/wardline"));
    child.kill().unwrap();
    child.wait().unwrap();
}
