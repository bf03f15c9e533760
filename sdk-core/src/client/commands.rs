//! The other side of commands: a service that takes and answers them (P-S8).

use super::{Client, Incoming, Result, Room};
use crate::{
    machine::Command,
    model::ids::{ItemId, UserId},
    protocol::{
        Code, Json,
        frames::{Answer, ErrorBody},
    },
};
use serde::Serialize;

/// The commands of one namespace, as they come to a `service`.
///
/// A command comes at least once and in order; the id is the key under which to take effect once.
/// All services of a namespace form one group: one of them is fed at a time.
#[derive(Debug)]
pub struct CommandStream {
    client: Client,
    room: Room<Json>,
}

impl CommandStream {
    /// Waits for the next command; none when the client has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<ServiceCommand> {
        loop {
            let Incoming::Event(event) = self.room.next_event().await? else { continue };
            let (Some(cursor), Some(id)) = (event.cursor, event.id) else { continue };
            return Some(ServiceCommand {
                client: self.client.clone(),
                room: self.room.address().to_string(),
                seq: cursor.seq,
                id,
                event: event.name,
                data: event.data,
                from: event.from,
            });
        }
    }
}

/// A command that waits for its answer.
#[derive(Debug)]
pub struct ServiceCommand {
    client: Client,
    /// The room of commands.
    pub room: String,
    /// Its number there.
    pub seq: u64,
    /// Its id: taking effect twice for one id is the mistake to avoid.
    pub id: ItemId,
    /// What is wanted.
    pub event: String,
    /// With what.
    pub data: Json,
    /// By whom.
    pub from: UserId,
}

impl ServiceCommand {
    /// Answers with a result, at most 16 KiB of JSON. The first answer counts.
    ///
    /// # Errors
    /// `disconnected`: the command comes again, to this service or another.
    pub async fn answer(self, result: &(impl Serialize + ?Sized)) -> Result<()> {
        let result = Json::of(result)?;
        self.send(Some(result), None).await
    }

    /// Answers that it cannot be done.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub async fn refuse(self, code: Code, message: impl Into<String>) -> Result<()> {
        let error = ErrorBody { code, message: message.into() };
        self.send(None, Some(error)).await
    }

    async fn send(self, result: Option<Json>, error: Option<ErrorBody>) -> Result<()> {
        let answer = Answer { room: self.room, seq: self.seq, result, error };
        self.client.link().call(|call| Command::Answer(call, answer)).await?;
        Ok(())
    }
}

impl Client {
    /// Takes the commands of a namespace; the token needs the role `service`.
    ///
    /// ```no_run
    /// # async fn f(client: wardline::client::Client) -> wardline::client::Result<()> {
    /// let mut commands = client.handle_commands("video").await?;
    /// while let Some(command) = commands.next().await {
    ///     match command.event.as_str() {
    ///         "stream:start" => command.answer(&"started").await?,
    ///         _ => command.refuse(wardline::protocol::Code::NOT_FOUND, "no such command").await?,
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`super::RoomBuilder::join`]; `forbidden` without the role.
    pub async fn handle_commands(&self, namespace: &str) -> Result<CommandStream> {
        let room = self.room_in(namespace, "commands").join().await?;
        Ok(CommandStream { client: self.clone(), room })
    }
}
