//! Placeholder: welcomes whoever has a token, until the hub stands.

use crate::hub::{AuthError, ConnId, Input, Output, To};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use wardline::{
    protocol::{ClientFrame, Limits, ServerFrame, Token, close, codec, frames},
    time::Now,
};

#[derive(Default)]
pub(crate) struct Hub {
    out: VecDeque<Output>,
    tokens: BTreeMap<ConnId, Option<Token>>,
}

impl Hub {
    pub(crate) fn handle_input(&mut self, input: Input, now: Now) {
        match input {
            Input::Open(id, opened) => {
                self.tokens.insert(id, opened.token);
            }
            Input::Text(id, text) => {
                for object in codec::objects(&text) {
                    match ClientFrame::decode(object) {
                        Ok(ClientFrame::Hello(hello)) => {
                            let token = hello.token.or(self.tokens.remove(&id).flatten());
                            self.out.push_back(match token {
                                Some(token) => Output::Verify(id, token),
                                None => Output::Close(id, close::TOKEN_MISSING, String::new()),
                            });
                        }
                        Ok(ClientFrame::Ping(_)) => self.write(id, frames::Pong {}.into()),
                        Ok(_) => {}
                        Err(_) => {
                            self.out.push_back(Output::Close(id, close::BAD_FRAME, String::new()));
                        }
                    }
                }
            }
            Input::Verified(id, Ok(principal)) => self.write(
                id,
                ServerFrame::Welcome(frames::Welcome {
                    connection: id.0.to_string().into(),
                    tenant: principal.tenant,
                    user: principal.user,
                    accepted: None,
                    ping: 30_000,
                    expires_in: None,
                    time: now.wall.0,
                    limits: Limits::default(),
                    features: vec![],
                }),
            ),
            Input::Verified(id, Err(error)) => {
                let code = match error {
                    AuthError::Missing => close::TOKEN_MISSING,
                    AuthError::Expired => close::TOKEN_EXPIRED,
                    AuthError::Revoked => close::TOKEN_REVOKED,
                    AuthError::TenantInactive => close::TENANT_INACTIVE,
                    _ => close::TOKEN_INVALID,
                };
                self.out.push_back(Output::Close(id, code, String::new()));
            }
            _ => {}
        }
    }

    fn write(&mut self, id: ConnId, frame: ServerFrame) {
        self.out.push_back(Output::Text(To::One(id), Bytes::from(frame.encode())));
    }

    pub(crate) fn poll_output(&mut self) -> Output {
        self.out.pop_front().unwrap_or(Output::Timeout(None))
    }
}
