//! Server processes: a hub each over the one log, their verifier, handlers, deaths and drains.

use super::{World, links::Message, schedule::Due};
use crate::{
    hold,
    journal::{Asker, NOBODY, Said},
    plan::{Fault, LATEST_ROOM},
    tokens::SECRET,
    violation::Checked,
    wire::LinkId,
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use wardline::{
    machine::Close,
    model::ids::TenantId,
    protocol::{Address, Json, ServerFrame, Token, close},
};
use wardline_server::{
    hub::{self, ConnId, Hook, Hub, HubConfig, Output, To},
    log::{Reply, Request, RoomKey, Stepped},
};

/// Outputs of one turn before a hub is taken to spin.
const OUTPUTS: u32 = 50_000;

/// One server process.
#[derive(Default)]
pub(crate) struct Node {
    /// None: it is down.
    pub(crate) hub: Option<Hub>,
    pub(crate) life: u32,
    pub(crate) due: Option<Duration>,
    pub(crate) conns: BTreeMap<ConnId, Peer>,
    pub(crate) draining: bool,
    /// Since when nothing was wrong with it.
    pub(crate) quiet_since: Option<Duration>,
    /// The last moment at which the log told or answered it something: order is kept.
    told_until: Duration,
    asked_until: Duration,
}

/// What a hub's connection is to the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) link: LinkId,
}

impl Node {
    pub(crate) fn accepts(&self) -> bool {
        self.hub.is_some() && !self.draining
    }
}

impl World {
    pub(super) fn node_lives(&self, asker: Asker) -> bool {
        self.nodes.get(asker.node).is_some_and(|node| node.life == asker.life && node.hub.is_some())
    }

    /// A server process comes up.
    pub(crate) fn server_up(&mut self, node: usize) {
        if self.nodes[node].hub.is_some() {
            return;
        }
        let seed = self.rng.u64(..);
        let mut config = HubConfig::default();
        let latest: Address = match LATEST_ROOM.parse() {
            Ok(address) => address,
            Err(_) => return,
        };
        if let (Some(space), Some(first)) =
            (config.namespaces.get_mut(latest.namespace()), latest.parts().next())
        {
            space.latest.insert(first.to_owned());
        }
        let now = self.now;
        let up = &mut self.nodes[node];
        up.life += 1;
        up.hub = Some(Hub::new(config, seed));
        up.conns.clear();
        up.draining = false;
        up.quiet_since = Some(now);
        up.due = Some(now);
        up.told_until = now;
        up.asked_until = now;
        self.trace.note(now, || format!("node {node} up"));
    }

    /// A server process dies; an embedded log dies with it. `clean`: after a drain.
    pub(crate) fn server_dies(&mut self, node: usize, clean: bool) -> Checked {
        if self.nodes[node].hub.is_none() {
            return Ok(());
        }
        self.trace.note(self.now, || format!("node {node} dies (clean: {clean})"));
        let dead = &mut self.nodes[node];
        dead.hub = None;
        dead.due = None;
        dead.draining = false;
        dead.quiet_since = None;
        let links: Vec<LinkId> =
            std::mem::take(&mut dead.conns).into_values().map(|peer| peer.link).collect();
        self.wire.server_died(&links);
        for id in links {
            let pending = self.links.get(&id).map_or(0, |link| link.down.pending());
            let keep = self.rng.usize(..=pending);
            let seen = self.span(0, 1_500);
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.server_ended = true;
            link.impaired = true;
            link.down.cut(keep, self.now, &mut self.rng);
            let close = Close { code: 1006, reason: String::new() };
            let at = link.down.last_arrival().max(self.now + seen);
            self.schedule.at(at, Due::ClientSees(id, close));
        }
        if self.plan.embedded {
            if clean {
                // An orderly end waits for the disk.
                let said = self.journal.sync();
                self.hear(said)?;
            }
            self.journal.crash();
            self.learn_losses();
            self.sync_due = false;
        }
        Ok(())
    }

    pub(super) fn hub_timeout(&mut self, node: usize) -> Checked {
        self.nodes[node].due = None;
        self.trace.mix(self.now, &[2, node as u8]);
        self.hub_input(node, hub::Input::Timeout)
    }

    /// One whole turn of a hub.
    pub(crate) fn hub_input(&mut self, node: usize, input: hub::Input) -> Checked {
        let Some(mut hub) = self.nodes[node].hub.take() else { return Ok(()) };
        let now = self.server_now();
        hub.handle_input(input, now);
        let mut written: BTreeMap<LinkId, Vec<Bytes>> = BTreeMap::new();
        let mut count = 0;
        let timeout = loop {
            match hub.poll_output() {
                Output::Timeout(timeout) => break timeout,
                output => self.hub_output(node, output, &mut written)?,
            }
            count += 1;
            hold!(count < OUTPUTS, Livelock, "node {node}: {count} outputs in one turn");
        };
        self.nodes[node].due = timeout.map(|instant| instant.since_start().max(self.now));
        self.nodes[node].hub = Some(hub);
        for (link, objects) in written {
            self.write_down(link, &objects);
        }
        Ok(())
    }

    fn hub_output(
        &mut self,
        node: usize,
        output: Output,
        written: &mut BTreeMap<LinkId, Vec<Bytes>>,
    ) -> Checked {
        let asker = Asker { node, life: self.nodes[node].life };
        match output {
            Output::Text(to, bytes) => {
                let conns = match to {
                    To::One(conn) => vec![conn],
                    To::Many(conns) => conns.to_vec(),
                };
                let links: Vec<LinkId> = conns
                    .iter()
                    .filter_map(|conn| self.nodes[node].conns.get(conn).map(|peer| peer.link))
                    .collect();
                let text = std::str::from_utf8(&bytes).unwrap_or_default();
                hold!(!text.contains('\n'), BadFrame, "node {node} writes a line feed: {text}");
                hold!(!text.contains(SECRET), SecretLeak, "node {node} writes {text}");
                let frame = match ServerFrame::decode(text) {
                    Ok(frame) => frame,
                    Err(error) => {
                        hold!(false, BadFrame, "node {node} writes {text}: {error}");
                        return Ok(());
                    }
                };
                self.wire.sent(&links, &frame, &self.model, self.moment())?;
                for link in links {
                    written.entry(link).or_default().push(bytes.clone());
                }
            }
            Output::Media(conn, bytes) => {
                if let Some(peer) = self.nodes[node].conns.get(&conn).copied()
                    && self.links.get(&peer.link).is_some_and(|link| link.down.unsent() == 0)
                {
                    self.write_down_message(peer.link, Message::Binary(bytes));
                }
            }
            Output::Close(conn, code, reason) => {
                let Some(peer) = self.nodes[node].conns.remove(&conn) else { return Ok(()) };
                let leaks = reason.contains(SECRET);
                hold!(!leaks, SecretLeak, "close reason {reason}");
                if let Some(objects) = written.remove(&peer.link) {
                    self.write_down(peer.link, &objects);
                }
                self.judge_server_close(peer.link, code, &reason)?;
                self.trace.note(self.now, || {
                    format!("node {node} closes {:?}: {code} {reason}", peer.link)
                });
                self.wire.closed(peer.link, None, Some(code), self.now);
                self.write_down_message(peer.link, Message::Close(code, reason));
                if let Some(link) = self.links.get_mut(&peer.link) {
                    link.server_ended = true;
                }
            }
            Output::Verify(conn, token) => {
                let Some(peer) = self.nodes[node].conns.get(&conn).copied() else { return Ok(()) };
                let at = self.now + self.span(0, 30);
                self.schedule.at(at, Due::Verified(asker, conn, peer.link, token));
            }
            Output::Log(request) => {
                let slow = self.log_path.0;
                let at = (self.now + self.span(0, 3) + slow).max(self.nodes[node].asked_until);
                self.nodes[node].asked_until = at;
                self.schedule.at(at, Due::Ask(asker, Box::new(request)));
            }
            Output::Hook(Hook::Command(tenant, room, entry)) => {
                let at = self.now + self.span(5, 500);
                self.schedule.at(at, Due::Handled(asker, tenant, room, entry.seq));
            }
            Output::Hook(hook) => {
                if self.plan.search_secrets {
                    let leaks = format!("{hook:?}").contains(SECRET);
                    hold!(!leaks, SecretLeak, "hook {hook:?}");
                }
            }
            Output::Published(call, result) => self.published(call, &result)?,
            Output::Picture(..) | Output::Tap(..) | Output::Timeout(_) => {}
        }
        Ok(())
    }

    /// 4010 says that two outboxes use one producer: only faults of stores or the log explain it.
    fn judge_server_close(&self, link: LinkId, code: u16, reason: &str) -> Checked {
        let Some(client) = self.wire.conn(link).and_then(|conn| conn.client) else { return Ok(()) };
        if code == close::FORKED {
            let disk = self.clients[client].disk;
            let caused = self.model.has_losses()
                || self.disks[disk].disturbed > 0
                || self.plan.has(Fault::StoreShared)
                || self.plan.has(Fault::StoreCopied);
            hold!(caused, FalseFork, "client {client} closed as forked without a cause: {reason}");
        }
        let stop = matches!(close::class_of(code), close::CloseClass::Stop);
        hold!(!stop, BadFrame, "client {client} closed with {code} {reason}");
        Ok(())
    }

    pub(super) fn verified(
        &mut self,
        asker: Asker,
        conn: ConnId,
        link: LinkId,
        token: &Token,
    ) -> Checked {
        if !self.node_lives(asker) {
            return Ok(());
        }
        let result = self.tokens.verify(token, self.wall());
        if let Ok(principal) = &result
            && self.nodes[asker.node].conns.contains_key(&conn)
        {
            self.wire.verified(link, principal);
        }
        self.hub_input(asker.node, hub::Input::Verified(conn, result))
    }

    /// A request reaches the log.
    pub(super) fn ask_log(&mut self, asker: Asker, request: Request) -> Checked {
        if self.plan.embedded && !self.node_lives(asker) {
            return Ok(());
        }
        let wall = self.wall();
        let said = self.journal.ask(Some(asker), request, wall);
        self.want_sync();
        self.hear(said)
    }

    pub(crate) fn want_sync(&mut self) {
        if self.sync_due || !self.journal.log.is_dirty() {
            return;
        }
        self.sync_due = true;
        let most = u64::try_from(self.plan.fsync.as_millis()).unwrap_or(0);
        // A log that is away stays dirty: it is asked again a little later.
        let at = self.now + self.span(1, most.max(1)) + self.log_path.1;
        self.schedule.at(at, Due::Sync);
    }

    pub(super) fn sync_log(&mut self) -> Checked {
        self.sync_due = false;
        let said = self.journal.sync();
        self.hear(said)?;
        self.want_sync();
        Ok(())
    }

    /// What the log says is true from now on, and on its way to the nodes.
    pub(crate) fn hear(&mut self, said: Vec<Said>) -> Checked {
        for said in said {
            match said {
                Said::Told(Reply::Entry(key, entry)) => {
                    self.model.appended(&key, &entry)?;
                    self.trace.note(self.now, || {
                        format!("log {} {} = {} {}", key.tenant, key.room, entry.seq, entry.id)
                    });
                    for node in 0..self.nodes.len() {
                        let asker = Asker { node, life: self.nodes[node].life };
                        let reply = Reply::Entry(key.clone(), Arc::clone(&entry));
                        self.deliver(asker, reply);
                    }
                }
                Said::Told(_) => {}
                Said::Answer(asker, mut reply, number) => {
                    if let (Reply::Stepped(_, stepped), Some(number)) = (&reply, &number) {
                        self.model.stepped(number, stepped)?;
                    }
                    if let (Reply::Stepped(ticket, Stepped::New(_)), Some(number)) =
                        (&reply, &number)
                        && self.may(Fault::LogAway)
                        && self.chance(12)
                    {
                        // Done, but the answer never came back: nobody knows.
                        let accepted = number.n.saturating_sub(1);
                        reply = Reply::Stepped(*ticket, Stepped::Unavailable { accepted });
                    }
                    if asker != NOBODY {
                        self.deliver(asker, reply);
                    }
                }
            }
        }
        Ok(())
    }

    fn deliver(&mut self, asker: Asker, reply: Reply) {
        if !self.node_lives(asker) {
            return;
        }
        let at = (self.now + self.span(0, 3)).max(self.nodes[asker.node].told_until);
        self.nodes[asker.node].told_until = at;
        self.schedule.at(at, Due::Answer(asker, Box::new(reply)));
    }

    pub(super) fn log_answers(&mut self, asker: Asker, reply: Reply) -> Checked {
        if !self.node_lives(asker) {
            return Ok(());
        }
        if matches!(
            reply,
            Reply::Stepped(..) | Reply::Producer(..) | Reply::Proved(_, Ok((_, false)))
        ) {
            self.trace.note(self.now, || format!("node {} ⇐ {reply:?}", asker.node));
        }
        self.hub_input(asker.node, hub::Input::Log(reply))
    }

    /// A handler in the server's process answers.
    pub(super) fn handled(
        &mut self,
        asker: Asker,
        tenant: TenantId,
        room: Address,
        seq: u64,
    ) -> Checked {
        if !self.node_lives(asker) {
            return Ok(());
        }
        let result = Ok(Json::null());
        self.hub_input(asker.node, hub::Input::Answer(room, tenant, seq, result))
    }

    /// Asks the log where every known room stands, and lets the model follow: after a loss.
    pub(crate) fn learn_losses(&mut self) {
        let keys: Vec<RoomKey> = self.model.rooms.iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let extent = self.journal.log.peek(&key);
            self.model.truncated(&key, extent.head);
            self.model.rooms.trimmed(&key, extent.first);
        }
    }

    /// The model follows what retention took.
    pub(crate) fn learn_trims(&mut self) {
        let keys: Vec<RoomKey> = self.model.rooms.iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.model.rooms.trimmed(&key, self.journal.log.peek(&key).first);
        }
    }
}
