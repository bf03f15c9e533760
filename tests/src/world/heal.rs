//! The end of a world: faults cease, and everything must come right.

use super::{World, process::Call};
use crate::{app::Sub, hold, model::passes, tokens::SECRET, violation::Checked};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use wardline::{
    machine::{Command, Signal},
    protocol::{Code, frames::RoomMode},
};

/// The longest a world may take to heal: a few rounds of the longest back-off and the longest lease.
const HEALING: Duration = Duration::from_secs(600);
/// Rest after healing: pings with heads come round.
const REST: Duration = Duration::from_secs(40);
/// How long a client must stay silent after its disconnect.
const SILENCE: Duration = Duration::from_secs(120);

impl World {
    /// Ends all faults, waits, and judges what stands.
    ///
    /// # Errors
    /// The first violation met, or what did not heal.
    pub fn heal(&mut self) -> Checked {
        self.trace.note(self.now, || "— healing".into());
        self.calm = true;
        self.end_faults()?;
        self.pass(Duration::from_secs(1))?;
        self.wake_everyone()?;
        // Something new for everyone, so that a client that only seems well is found out.
        self.pass(Duration::from_secs(30))?;
        for client in 0..self.clients.len() {
            self.submit(client, 3, 0)?;
        }
        let healed = self.run_until(HEALING, |world| world.ailment().is_none())?;
        let rest = if healed { REST } else { Duration::ZERO };
        self.pass(rest)?;
        if let Some(ailment) = self.ailment() {
            hold!(false, NotHealed, "{ailment}");
        }
        self.run_until(Duration::from_secs(5), |world| world.log_is_quiet())?;
        self.judge_hub()?;
        self.judge_secrets()?;
        self.part()
    }

    fn end_faults(&mut self) -> Checked {
        self.tokens.keys_missing = false;
        self.journal.log.set_available(true);
        self.log_path = (Duration::ZERO, Duration::ZERO);
        for disk in &mut self.disks {
            disk.failures = 0;
            disk.slow = Duration::ZERO;
        }
        for link in self.links.values_mut() {
            link.up.set_rate(None);
            link.down.set_rate(None);
        }
        for node in 0..self.nodes.len() {
            self.server_up(node);
        }
        // One process per store: the others end.
        let mut seen = BTreeSet::new();
        for client in 0..self.clients.len() {
            let disk = self.clients[client].disk;
            let sharers = self.clients.iter().filter(|other| other.disk == disk).count();
            if sharers > 1 {
                self.crash_client(client)?;
                if seen.insert(disk) {
                    self.start(client)?;
                }
            }
        }
        for process in &mut self.clients {
            process.provider_fails = false;
        }
        Ok(())
    }

    fn wake_everyone(&mut self) -> Checked {
        for client in 0..self.clients.len() {
            if self.clients[client].machine.is_none() {
                continue;
            }
            self.wake(client)?;
            self.set_token(client)?;
            self.command(client, Call::Connect, Command::Connect)?;
            self.signal(client, Signal::Visible)?;
        }
        Ok(())
    }

    /// The first thing that is not as it should be.
    pub(crate) fn ailment(&mut self) -> Option<String> {
        for client in 0..self.clients.len() {
            if self.clients[client].machine.is_none() {
                continue;
            }
            if !self.clients[client].is_connected() {
                let status = self.clients[client].status;
                return Some(format!("client {client} is {status:?}"));
            }
            if let Some((id, call)) = self.waiting_calls(client).first_key_value() {
                return Some(format!("client {client} waits for {id:?} {call:?}"));
            }
            if let Some(ailment) = self.outbox_ailment(client) {
                return Some(ailment);
            }
            if let Some(ailment) = self.rooms_ailment(client) {
                return Some(ailment);
            }
        }
        self.items_ailment()
    }

    fn outbox_ailment(&self, client: usize) -> Option<String> {
        let process = &self.clients[client];
        let view = self.disks[process.disk].view(&process.session)?;
        let item = view.items.first()?;
        Some(format!(
            "client {client} has {} items in its store, the first {} of {} bytes in lane {} as {:?} \
             (skip {:?}, deaths {}), lanes {:?}",
            view.items.len(),
            item.item.id,
            item.item.data.get().len(),
            item.item.lane,
            item.n,
            item.skip,
            item.deaths,
            view.lanes
        ))
    }

    fn items_ailment(&self) -> Option<String> {
        for (id, item) in self.model.items.iter() {
            let owed = item.queued && !item.excused && !item.failed && item.outcomes.is_empty();
            let here = self.clients.iter().any(|process| {
                process.disk == item.disk
                    && process.machine.is_some()
                    && match (&process.bound, &item.owner) {
                        (Some(bound), Some(owner)) => {
                            bound.tenant == owner.tenant && bound.user == owner.user
                        }
                        _ => true,
                    }
            });
            if owed && here {
                return Some(format!("{id} has no outcome: {item:?}"));
            }
        }
        None
    }

    fn rooms_ailment(&self, client: usize) -> Option<String> {
        let process = &self.clients[client];
        let mut wanted = BTreeSet::new();
        for (id, sub) in process.app.subs.iter().filter(|(_, sub)| sub.wanted) {
            let allowed = self.may_join(client, sub.room.as_str());
            if !allowed {
                continue;
            }
            wanted.insert(sub.room.as_str().to_owned());
            if let Some(code) = &sub.left
                && *code != Code::FORBIDDEN
            {
                return Some(format!("client {client} {id:?} of {} left: {code}", sub.room));
            }
            if !sub.joined {
                return Some(format!("client {client} {id:?} of {} never joined", sub.room));
            }
            if let Some(behind) = self.behind(sub) {
                return Some(format!("client {client} {id:?} of {}: {behind}", sub.room));
            }
        }
        let link = process.transports.values().filter(|t| !t.ended).find_map(|t| t.link)?;
        let joined: BTreeSet<String> = self
            .wire
            .conn(link)
            .map(|conn| conn.rooms.keys().cloned().collect())
            .unwrap_or_default();
        if joined != wanted {
            return Some(format!("client {client} is in {joined:?}, wants {wanted:?}"));
        }
        None
    }

    fn behind(&self, sub: &Sub) -> Option<String> {
        let key = sub.key.as_ref()?;
        let room = self.model.rooms.get(key)?;
        if sub.mode == RoomMode::Latest {
            let newest: BTreeMap<_, _> = room.newest();
            return newest.iter().find_map(|(name, entry)| {
                let has = sub.keys().get(&**name).map(|(seq, _)| *seq);
                let wants = passes(&sub.filter, entry) && !entry.gone;
                (wants && has != Some(entry.seq))
                    .then(|| format!("key {name} at {has:?}, newest {}", entry.seq))
            });
        }
        let (seq, mark) = sub.position()?;
        if seq > room.head() {
            return Some(format!("stands at {seq}, the log ends at {}", room.head()));
        }
        if let (Some(mark), Some(there)) = (mark, room.mark(seq))
            && mark != there
        {
            return Some(format!("stands at {seq} {mark}, the log has {there}"));
        }
        let missing = room.entries().find(|entry| entry.seq > seq && passes(&sub.filter, entry))?;
        Some(format!("handed up to {seq}, {} is there", missing.seq))
    }

    fn log_is_quiet(&self) -> bool {
        self.nodes.iter().filter_map(|node| node.hub.as_ref()).all(|hub| hub.log_requests() == 0)
    }

    fn judge_hub(&self) -> Checked {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(hub) = &node.hub else { continue };
            let open = hub.log_requests();
            hold!(open == 0, Unbounded, "node {index} waits for {open} answers of the log");
        }
        let known = self.schedule.len();
        hold!(known < 1000, Unbounded, "{known} things wait in the world");
        Ok(())
    }

    /// Nothing that is kept, or may be printed, holds a token.
    fn judge_secrets(&self) -> Checked {
        if !self.plan.search_secrets {
            return Ok(());
        }
        let holds = |what: &dyn std::fmt::Debug| format!("{what:?}").contains(SECRET);
        for (client, process) in self.clients.iter().enumerate() {
            hold!(!holds(&process.machine), SecretLeak, "client {client}: the machine prints it");
        }
        for (disk, there) in self.disks.iter().enumerate() {
            hold!(!holds(there), SecretLeak, "store {disk} holds it");
        }
        for (index, node) in self.nodes.iter().enumerate() {
            hold!(!holds(&node.hub), SecretLeak, "node {index}: the hub prints it");
        }
        hold!(!holds(&self.journal), SecretLeak, "the log holds it");
        Ok(())
    }

    /// Everyone disconnects; then nothing more comes from anyone.
    fn part(&mut self) -> Checked {
        for client in 0..self.clients.len() {
            self.command(client, Call::Disconnect, Command::Disconnect)?;
        }
        self.pass(Duration::from_secs(10))?;
        for client in 0..self.clients.len() {
            let process = &self.clients[client];
            let open = process.transports.iter().find(|(_, transport)| !transport.ended);
            hold!(open.is_none(), AfterClose, "client {client} disconnected, has {open:?}");
        }
        self.pass(SILENCE)
    }
}
