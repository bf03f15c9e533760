//! Transports: dialling, carrying frames both ways, ending.

use super::{
    World,
    schedule::{Due, Who},
    server::Peer,
};
use crate::{
    journal::Asker,
    link::{Path, Pipe},
    plan::Fault,
    violation::Checked,
    wire::LinkId,
};
use bytes::Bytes;
use std::time::Duration;
use wardline::{
    machine::{Close, DialError, Generation, Input},
    protocol::{ClientFrame, ServerFrame, codec, limits::BATCH_BYTES},
};
use wardline_server::hub::{self, ConnId, Opened};

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A text frame.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// A close frame.
    Close(u16, String),
}

impl Message {
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Close(_, reason) => 2 + reason.len(),
        }
    }
}

/// One transport and its two ends.
#[derive(Debug)]
pub(crate) struct Link {
    /// The client's end; none: a hostile peer.
    pub(crate) who: Option<Who>,
    pub(crate) generation: Generation,
    pub(crate) asker: Asker,
    pub(crate) conn: ConnId,
    pub(crate) up: Pipe<Message>,
    pub(crate) down: Pipe<Message>,
    pub(crate) client_ended: bool,
    pub(crate) server_ended: bool,
    /// The path was disturbed at some time: closing it may be right.
    pub(crate) impaired: bool,
    /// What each end was last told to be unsent.
    told: (usize, usize),
    /// Frames may come although the client's end is over.
    ghosts: bool,
    /// Objects of one turn travel as one frame.
    batches: bool,
    opened: Duration,
}

impl Link {
    pub(crate) fn next(&self) -> Option<Duration> {
        [self.up.next(), self.down.next()].into_iter().flatten().min()
    }

    fn is_over(&self) -> bool {
        self.client_ended
            && self.server_ended
            && self.up.next().is_none()
            && self.down.next().is_none()
    }
}

impl World {
    /// A dial ends: in a transport, or in nothing.
    pub(super) fn dialled(&mut self, who: Who, generation: Generation) -> Checked {
        let process = &self.clients[who.client];
        if process.life != who.life
            || process.transports.get(&generation).is_none_or(|transport| transport.ended)
        {
            return Ok(());
        }
        let up: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].accepts()).collect();
        if up.is_empty() {
            let draining = self.nodes.iter().any(|node| node.hub.is_some());
            let error = DialError {
                status: draining.then_some(503),
                retry_after: draining.then_some(Duration::from_secs(1)),
                message: "no server".into(),
            };
            return self.tell(who, Input::DialFailed(generation, error));
        }
        let node = up[self.rng.usize(..up.len())];
        let link = self.connect(node, Some(who), generation)?;
        if let Some(transport) = self.clients[who.client].transports.get_mut(&generation) {
            transport.link = Some(link);
        }
        self.tell(who, Input::Opened(generation))
    }

    /// Makes a transport to a node and tells its hub.
    pub(super) fn connect(
        &mut self,
        node: usize,
        who: Option<Who>,
        generation: Generation,
    ) -> Checked<LinkId> {
        self.next_link += 1;
        let id = LinkId(self.next_link);
        let conn = ConnId(self.next_link);
        let life = self.nodes[node].life;
        let narrow = self.may(Fault::Narrow) && self.chance(2);
        let path = Path { rate: narrow.then_some(12_500), ..self.plan.path };
        let link = Link {
            who,
            generation,
            asker: Asker { node, life },
            conn,
            up: Pipe::new(path, self.now),
            down: Pipe::new(path, self.now),
            client_ended: false,
            server_ended: false,
            impaired: narrow,
            told: (0, 0),
            ghosts: self.may(Fault::Ghost),
            batches: self.rng.bool(),
            opened: self.now,
        };
        self.links.insert(id, link);
        self.nodes[node].conns.insert(conn, Peer { link: id });
        self.wire.opened(id, who.map(|who| who.client));
        self.trace.note(self.now, || format!("{id:?} opens for {who:?} at node {node}"));
        self.hub_input(node, hub::Input::Open(conn, Opened { token: None, peer: "peer".into() }))?;
        Ok(id)
    }

    /// Writes a frame of the client's end.
    pub(crate) fn write_up(&mut self, id: LinkId, message: Message) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let size = message.size();
        link.up.write(message, size, self.now, &mut self.rng);
        // Whatever is left, the writer is told: it counted what it wrote.
        link.told.0 = usize::MAX;
    }

    /// Writes objects of one hub turn, alone or several to a frame (P-F1).
    pub(crate) fn write_down(&mut self, id: LinkId, objects: &[Bytes]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let texts: Vec<&str> =
            objects.iter().map(|object| std::str::from_utf8(object).unwrap_or_default()).collect();
        let frames = if link.batches {
            codec::batches(texts)
        } else {
            texts.into_iter().map(ToOwned::to_owned).collect()
        };
        for frame in frames {
            debug_assert!(frame.len() <= BATCH_BYTES || !frame.contains('\n'));
            let message = Message::Text(frame);
            let size = message.size();
            link.down.write(message, size, self.now, &mut self.rng);
        }
    }

    /// Writes one message of the server's end.
    pub(crate) fn write_down_message(&mut self, id: LinkId, message: Message) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let size = message.size();
        link.down.write(message, size, self.now, &mut self.rng);
    }

    /// Moves bytes of a transport and hands on what arrived.
    pub(super) fn service_link(&mut self, id: LinkId) -> Checked {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let up_moved = link.up.advance(self.now, &mut self.rng);
        let down_moved = link.down.advance(self.now, &mut self.rng);
        let asker = link.asker;
        let conn = link.conn;
        if up_moved || down_moved {
            self.feed_back(id)?;
        }
        let mut arrived = false;
        while let Some(message) = self.links.get_mut(&id).and_then(|l| l.up.arrived(self.now)) {
            arrived = true;
            self.arrives_at_server(id, message)?;
        }
        let live = self.links.get(&id).is_some_and(|link| !link.server_ended);
        if (up_moved || down_moved) && !arrived && live && self.node_lives(asker) {
            self.hub_input(asker.node, hub::Input::Progress(conn))?;
        }
        while let Some(message) = self.links.get_mut(&id).and_then(|l| l.down.arrived(self.now)) {
            self.arrives_at_client(id, message)?;
        }
        if self.links.get(&id).is_some_and(Link::is_over) {
            self.links.remove(&id);
            self.wire.forget(id);
        }
        Ok(())
    }

    /// Tells both ends what is unsent, where the figure says something new.
    pub(super) fn feed_back(&mut self, id: LinkId) -> Checked {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let (up, down) = (link.up.unsent(), link.down.unsent());
        let (told_up, told_down) = std::mem::replace(&mut link.told, (up, down));
        let (who, generation, asker, conn) = (link.who, link.generation, link.asker, link.conn);
        let (client_ended, server_ended) = (link.client_ended, link.server_ended);
        if up != told_up
            && !client_ended
            && let Some(who) = who
        {
            self.tell(who, Input::Unsent(generation, up))?;
        }
        let crosses = |limit: usize| (told_down > limit) != (down > limit);
        let tells = crosses(64 * 1024) || crosses(256 * 1024) || (down == 0 && told_down > 0);
        if tells && !server_ended && self.node_lives(asker) {
            self.hub_input(asker.node, hub::Input::Unsent(conn, down))?;
        }
        Ok(())
    }

    fn arrives_at_server(&mut self, id: LinkId, message: Message) -> Checked {
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        let (asker, conn) = (link.asker, link.conn);
        if link.server_ended || !self.node_lives(asker) {
            return Ok(());
        }
        match message {
            Message::Text(text) => {
                self.trace.mix(self.now, text.as_bytes());
                self.trace.note(self.now, || format!("{id:?} → {text}"));
                for object in codec::objects(&text) {
                    if let Ok(frame) = ClientFrame::decode(object) {
                        self.wire.received(id, &frame, &self.model, self.now)?;
                    }
                }
                self.hub_input(asker.node, hub::Input::Text(conn, text))
            }
            Message::Binary(bytes) => self.hub_input(asker.node, hub::Input::Binary(conn, bytes)),
            Message::Close(code, _) => self.end_at_server(id, Some(code)),
        }
    }

    fn arrives_at_client(&mut self, id: LinkId, message: Message) -> Checked {
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        let Some(who) = link.who else { return Ok(()) };
        let generation = link.generation;
        let ghosts = link.ghosts;
        let ended = link.client_ended;
        if ended && !ghosts {
            return Ok(());
        }
        match message {
            Message::Text(text) => {
                self.trace.mix(self.now, text.as_bytes());
                self.trace.note(self.now, || format!("{id:?} ← {text}"));
                if !ended {
                    self.note_answers(who, &text);
                }
                if ghosts && self.chance(6) {
                    let later = self.now + self.span(10, 8_000);
                    let ghost = Due::Ghost(who, generation, text.clone());
                    self.schedule.at(later, ghost);
                }
                self.tell(who, Input::Text(generation, text))
            }
            Message::Binary(bytes) => self.tell(who, Input::Binary(generation, bytes)),
            Message::Close(code, reason) => self.client_sees(id, Close { code, reason }),
        }
    }

    /// A copy of a frame arrives late: only when its transport is over, as no path doubles frames
    /// of a living one.
    pub(super) fn ghost(&mut self, who: Who, generation: Generation, text: String) -> Checked {
        let process = &self.clients[who.client];
        let over = process.life == who.life
            && process.transports.get(&generation).is_none_or(|transport| transport.ended);
        if !over {
            return Ok(());
        }
        self.trace.note(self.now, || format!("ghost of {generation:?} for {who:?}: {text}"));
        self.tell(who, Input::Text(generation, text))
    }

    /// Remembers which numbers were answered in a process's sight.
    fn note_answers(&mut self, who: Who, text: &str) {
        let process = &self.clients[who.client];
        let Some(producer) = process.producer.filter(|_| process.life == who.life) else { return };
        if !text.contains("\"ok\"") && !text.contains("\"refused\"") {
            return;
        }
        for object in codec::objects(text) {
            match ServerFrame::decode(object) {
                Ok(ServerFrame::Accepted(ok)) => {
                    self.model.items.answered.insert((producer, ok.lane, ok.n));
                }
                Ok(ServerFrame::Refused(no)) => {
                    self.model.items.answered.insert((producer, no.lane, no.n));
                }
                _ => {}
            }
        }
    }

    /// The client's end is over, by the peer's close or by its own system.
    pub(super) fn client_sees(&mut self, id: LinkId, close: Close) -> Checked {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(who) = link.who else {
            link.client_ended = true;
            return Ok(());
        };
        let generation = link.generation;
        let ghost = link.client_ended;
        link.client_ended = true;
        if ghost && !link.ghosts {
            return Ok(());
        }
        self.trace.note(self.now, || format!("{id:?} ends for {who:?}: {close:?}"));
        self.tell(who, Input::Closed(generation, close))
    }

    /// The server's end notices that the peer is gone, without a code.
    pub(super) fn server_sees(&mut self, id: LinkId) -> Checked {
        self.end_at_server(id, None)
    }

    fn end_at_server(&mut self, id: LinkId, code: Option<u16>) -> Checked {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let (asker, conn) = (link.asker, link.conn);
        if std::mem::replace(&mut link.server_ended, true) || !self.node_lives(asker) {
            return Ok(());
        }
        self.trace.note(self.now, || format!("{id:?} ends for the server: {code:?}"));
        self.wire.closed(id, code, None, self.now);
        self.nodes[asker.node].conns.remove(&conn);
        self.hub_input(asker.node, hub::Input::Closed(conn, code))
    }

    /// Cuts a transport behind some bytes; each end learns of it later, or never.
    pub(crate) fn cut(&mut self, id: LinkId) {
        let (up, down) = match self.links.get(&id) {
            Some(link) => (link.up.pending(), link.down.pending()),
            None => return,
        };
        let (up, down) = (self.rng.usize(..=up), self.rng.usize(..=down));
        let client_sees = self.rng.u8(..5) > 0;
        let server_sees = self.rng.u8(..5) > 0;
        let (client_at, server_at) = (self.span(0, 3_000), self.span(0, 20_000));
        let Some(link) = self.links.get_mut(&id) else { return };
        link.impaired = true;
        link.up.cut(up, self.now, &mut self.rng);
        link.down.cut(down, self.now, &mut self.rng);
        if client_sees {
            let close = Close { code: 1006, reason: String::new() };
            let at = link.down.last_arrival().max(self.now + client_at);
            self.schedule.at(at, Due::ClientSees(id, close));
        }
        if server_sees {
            let at = link.up.last_arrival().max(self.now + server_at);
            self.schedule.at(at, Due::ServerSees(id));
        }
    }

    /// Links whose client's end is open.
    pub(crate) fn open_links(&self) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| !link.client_ended).map(|(id, _)| *id).collect()
    }

    /// Hands an input to a process that still lives; a sleeping one gets it later.
    pub(super) fn tell(&mut self, who: Who, input: Input) -> Checked {
        let process = &mut self.clients[who.client];
        if process.life != who.life || process.machine.is_none() {
            return Ok(());
        }
        if process.asleep.is_some() {
            process.inbox.push_back(input);
            return Ok(());
        }
        self.client_input(who.client, input)
    }

    /// The age of a transport.
    #[allow(dead_code)]
    pub(crate) fn age(&self, id: LinkId) -> Duration {
        self.links.get(&id).map_or(Duration::ZERO, |link| self.now.saturating_sub(link.opened))
    }
}
