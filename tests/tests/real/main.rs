//! Real clients opposite a real server over real sockets and stores, watched: an ERROR that is logged,
//! or a token in any line, event, error, answer or file, fails the test.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;
mod secrets;

use std::{future::IntoFuture, time::Duration};
use wardline::client::Client;
use wardline_server::{Server, auth::NewToken};
use wardline_tests::watch;

const SECRET: &str = "a secret of more than thirty-two characters";

/// A server that is watched, and looked at when it is dropped.
struct Site {
    server: Server,
}

impl Site {
    async fn start(settings: &[(&str, &str)]) -> Self {
        watch::begin();
        watch::secret(SECRET);
        let common = [("jwt_secret", SECRET), ("host", "127.0.0.1"), ("port", "0")];
        let builder = common
            .iter()
            .chain(settings)
            .fold(Server::builder(), |builder, (name, value)| builder.set(name, *value));
        Self { server: builder.start().await.unwrap() }
    }

    fn token(&self, user: &str, life: Duration) -> String {
        self.token_of("t", user, life)
    }

    fn token_of(&self, tenant: &str, user: &str, life: Duration) -> String {
        let token = NewToken {
            tenant: tenant.into(),
            user: user.into(),
            organization: None,
            roles: Vec::new(),
            life: Some(life),
        };
        let token = self.server.token(&token).unwrap();
        watch::secret(&token);
        token
    }

    fn client(&self, user: &str) -> Client {
        let token = self.token(user, Duration::from_secs(3600));
        Client::builder(self.server.url()).token(token).memory().build().unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let found = watch::findings();
        assert!(std::thread::panicking() || found.is_empty(), "{found:#?}");
    }
}

async fn soon<T>(what: &str, work: impl IntoFuture<Output = T>) -> T {
    let within = Duration::from_secs(20);
    tokio::time::timeout(within, work).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}
