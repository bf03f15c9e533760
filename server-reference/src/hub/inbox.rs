//! What a client writes: objects to handlers (P-F1, P-F2).

use super::{ConnId, Hub, connections::State};
use wardline::protocol::{
    ClientFrame, Code, Json, close,
    codec::{BadFrame, objects},
    frames::{ErrorBody, Pong, Reply},
    limits::BATCH_BYTES,
};

impl Hub {
    /// A text frame: one or more objects.
    pub(super) fn handle_text(&mut self, conn: ConnId, text: String) {
        let Some(connection) = self.connections.get(conn) else { return };
        if !matches!(connection.state, State::Ready(_)) {
            self.handle_early_text(conn, text);
            return;
        }
        if text.len() > self.config.limits.message {
            self.close(conn, close::TOO_BIG, "a frame larger than the limit");
            return;
        }
        let batch_too_large = text.len() > BATCH_BYTES;
        for (index, object) in objects(&text).enumerate() {
            if index > 0 && batch_too_large {
                self.close_bad_frame(conn);
                return;
            }
            match ClientFrame::decode(object) {
                Ok(frame) => self.handle_frame(conn, frame),
                Err(BadFrame(_)) => self.close_bad_frame(conn),
            }
            if self.session(conn).is_none() {
                return;
            }
        }
    }

    fn handle_frame(&mut self, conn: ConnId, frame: ClientFrame) {
        match frame {
            ClientFrame::Hello(_) => self.close(conn, close::HELLO_TWICE, "a second hello"),
            ClientFrame::Auth(auth) => self.handle_auth(conn, auth),
            ClientFrame::Join(join) => self.handle_join(conn, join),
            ClientFrame::Leave(leave) => self.handle_leave(conn, leave),
            ClientFrame::Credit(credit) => self.handle_credit(conn, &credit.room, credit.seq),
            ClientFrame::Send(send) => self.handle_send(conn, send),
            ClientFrame::Skip(skip) => self.handle_skip(conn, skip),
            ClientFrame::Cast(cast) => self.handle_cast(conn, cast),
            ClientFrame::Call(call) => self.handle_call(conn, call),
            ClientFrame::Status(status) => self.handle_status(conn, status),
            ClientFrame::Answer(answer) => self.handle_answer(conn, answer),
            ClientFrame::Stream(stream) => self.handle_stream(conn, &stream),
            ClientFrame::Seen(seen) => self.handle_seen(conn, seen),
            ClientFrame::Ping(_) => self.write(conn, &Pong {}.into()),
            ClientFrame::Pong(_) => {}
            ClientFrame::Unknown { id, .. } => self.handle_unknown(conn, id),
        }
    }

    /// A type this version does not know: answered if it can be, and counted (P-F2).
    fn handle_unknown(&mut self, conn: ConnId, id: Option<Json>) {
        if let Some(session) = self.session_mut(conn) {
            session.unknown += 1;
        }
        if let Some(id) = id {
            let error = ErrorBody { code: Code::UNKNOWN_TYPE, message: String::new() };
            self.write(conn, &Reply { id, result: None, error: Some(error) }.into());
        }
    }

    /// Closes for an object that is none of this protocol (P-F2). The reason repeats no data.
    pub(super) fn close_bad_frame(&mut self, conn: ConnId) {
        self.close(conn, close::BAD_FRAME, "not an object of this protocol");
    }
}
