//! What goes wrong, step by step.

use super::{World, links::Message, schedule::Due};
use crate::{
    disk::Disk, model::HOSTILE, plan::Fault, step::Step, tokens::Identity, violation::Checked,
    wire::LinkId,
};
use std::{collections::BTreeSet, time::Duration};
use wardline::{machine::Generation, model::ids::ItemId, protocol::limits::LANES};
use wardline_server::{
    hub::{self, Principal, Revocation},
    log::ProducerKey,
};

impl World {
    pub(super) fn apply_fault(&mut self, step: Step) -> Checked {
        match step {
            Step::Cut => {
                if let Some(link) = self.any_link() {
                    self.cut(link);
                }
                Ok(())
            }
            Step::Stall => {
                let until = self.now + self.span(200, 20_000);
                let (up, down) = [(true, true), (true, false), (false, true)][self.rng.usize(..3)];
                if let Some(link) = self.any_link().and_then(|id| self.links.get_mut(&id)) {
                    link.impaired = true;
                    if up {
                        link.up.stall(until);
                    }
                    if down {
                        link.down.stall(until);
                    }
                }
                Ok(())
            }
            Step::HalfOpen => {
                let (up, down) = [(true, true), (true, false), (false, true)][self.rng.usize(..3)];
                if let Some(link) = self.any_link().and_then(|id| self.links.get_mut(&id)) {
                    link.impaired = true;
                    if up {
                        link.up.deafen();
                    }
                    if down {
                        link.down.deafen();
                    }
                }
                Ok(())
            }
            Step::Narrow => {
                if let Some(link) = self.any_link().and_then(|id| self.links.get_mut(&id)) {
                    link.impaired = true;
                    link.up.set_rate(Some(12_500));
                    link.down.set_rate(Some(12_500));
                }
                Ok(())
            }
            Step::ServerCrash => {
                let away = self.span(0, 3_000);
                self.crash_server(away)
            }
            Step::ServerAway => {
                let away = self.span(60_000, 240_000);
                self.crash_server(away)?;
                // Long enough for a run of attempts.
                self.pass(away)
            }
            Step::Drain => self.drain(),
            Step::LogAway => {
                self.journal.log.set_available(false);
                let back = self.now + self.span(50, 8_000);
                self.schedule.at(back, Due::LogBack);
                Ok(())
            }
            Step::LogSlow => {
                self.log_path = (self.span(0, 200), self.span(0, 1_500));
                if self.rng.bool() {
                    self.log_path = (Duration::ZERO, Duration::ZERO);
                }
                Ok(())
            }
            Step::TailLost => self.lose_tail(),
            Step::RecordLost => {
                let keys: Vec<_> = self.journal.log.producers().cloned().collect();
                if keys.is_empty() {
                    return Ok(());
                }
                let key = keys[self.rng.usize(..keys.len())].clone();
                self.trace.note(self.now, || format!("record of {key:?} lost"));
                self.journal.log.forget(&key);
                self.excuse_unanswered(&key);
                self.model.losses.push(self.now);
                self.want_sync();
                Ok(())
            }
            Step::ClientCrash => {
                let client = self.any_client();
                self.crash_client(client)?;
                self.start(client)
            }
            Step::StoreFails => {
                let disk = self.rng.usize(..self.disks.len());
                self.disks[disk].failures = self.rng.u32(1..=4);
                Ok(())
            }
            Step::StoreSlow => {
                let disk = self.rng.usize(..self.disks.len());
                self.disks[disk].slow =
                    if self.rng.bool() { self.span(0, 4_000) } else { Duration::ZERO };
                Ok(())
            }
            Step::StoreBackup => {
                let disk = self.rng.usize(..self.disks.len());
                self.disks[disk].back_up();
                Ok(())
            }
            Step::StoreRolledBack | Step::StoreWiped => {
                let client = self.any_client();
                self.restart_with_other_store(client, step == Step::StoreWiped)
            }
            Step::StoreShared => self.share_store(),
            Step::StoreCopied => self.copy_store(),
            Step::BackEndRestored => {
                self.restore_back_end();
                Ok(())
            }
            Step::ProviderFails => {
                let client = self.any_client();
                let process = &mut self.clients[client];
                process.provider_fails = !process.provider_fails;
                Ok(())
            }
            Step::KeysMissing => {
                self.tokens.keys_missing = !self.tokens.keys_missing;
                Ok(())
            }
            Step::SetToken => {
                let client = self.any_client();
                self.set_token(client)
            }
            Step::Reclaim => {
                let client = self.any_client();
                let who = &mut self.clients[client].identity;
                who.organization = match who.organization {
                    Some(_) => None,
                    None => Some("o1".into()),
                };
                self.set_token(client)
            }
            Step::NewOwner => {
                let client = self.any_client();
                let first = &self.clients[client].home;
                let who = &self.clients[client].identity;
                let next = if who.user == "other" {
                    first.clone()
                } else {
                    Identity::new(&first.tenant, "other", Some("o1"))
                };
                self.clients[client].identity = next;
                self.set_token(client)
            }
            Step::Revoke => self.revoke(),
            Step::Suspend => {
                let (client, span) = (self.any_client(), self.span(500, 90_000));
                self.sleep(client, span);
                Ok(())
            }
            Step::ClockJump => {
                let client = self.any_client();
                let jump = self.rng.i64(-3_600_000..3_600_000);
                let process = &mut self.clients[client];
                process.clock.jump(jump);
                process.disturbed = Some(self.now);
                process.pace.excuse();
                Ok(())
            }
            Step::Quiet => {
                let span = self.plan.retention * 2;
                self.pass(span)
            }
            Step::Hostile => self.hostile(),
            _ => Ok(()),
        }
    }

    fn any_link(&mut self) -> Option<LinkId> {
        let links = self.open_links();
        if links.is_empty() { None } else { Some(links[self.rng.usize(..links.len())]) }
    }

    fn crash_server(&mut self, away: Duration) -> Checked {
        let node = self.rng.usize(..self.nodes.len());
        self.server_dies(node, false)?;
        self.schedule.at(self.now + away, Due::ServerUp(node));
        Ok(())
    }

    fn drain(&mut self) -> Checked {
        let node = self.rng.usize(..self.nodes.len());
        if !self.nodes[node].accepts() {
            return Ok(());
        }
        let spread = if self.rng.bool() { [0, 0] } else { [500, 4_000] };
        self.nodes[node].draining = true;
        self.nodes[node].quiet_since = None;
        for process in &mut self.clients {
            process.pace.excuse();
        }
        let end = self.now + Duration::from_millis(spread[1]) + self.span(800, 2_000);
        self.schedule.at(end, Due::ServerDown(node));
        let back = end + self.span(10, 3_000);
        self.schedule.at(back, Due::ServerUp(node));
        self.hub_input(node, hub::Input::Drain { spread, reason: "restart".into() })
    }

    /// The store behind the log fails over and forgets its newest durable changes.
    fn lose_tail(&mut self) -> Checked {
        let most = self.journal.log.loseable().min(12);
        let lost = self.rng.usize(..=most);
        self.lose_changes(lost)
    }

    /// The log forgets some durable changes.
    pub(crate) fn lose_changes(&mut self, lost: usize) -> Checked {
        self.trace.note(self.now, || format!("log loses {lost} durable changes"));
        self.model.losses.push(self.now);
        let said = self.journal.fail_over(lost);
        self.learn_losses();
        self.hear(said)?;
        self.want_sync();
        Ok(())
    }

    fn restart_with_other_store(&mut self, client: usize, wipe: bool) -> Checked {
        let disk = self.clients[client].disk;
        let sharers = self.sharers(disk);
        for sharer in &sharers {
            self.crash_client(*sharer)?;
        }
        let changed = if wipe {
            self.disks[disk].wipe();
            true
        } else {
            self.disks[disk].roll_back()
        };
        if changed {
            let parts = self.disks[disk].parts().flat_map(|part| &part.items);
            let there: BTreeSet<ItemId> = parts.map(|stored| stored.item.id).collect();
            for (id, item) in self.model.items.iter_mut() {
                item.excused |= item.disk == disk || there.contains(id);
            }
        }
        for sharer in sharers {
            self.start(sharer)?;
        }
        Ok(())
    }

    /// A process opens another one's store; they speak for the same user then.
    fn share_store(&mut self) -> Checked {
        if self.clients.len() < 2 {
            return Ok(());
        }
        let client = self.any_client();
        let other = (client + 1) % self.clients.len();
        self.crash_client(client)?;
        self.clients[client].disk = self.clients[other].disk;
        self.become_as(client, other);
        self.start(client)
    }

    /// A process comes back on a copy of another one's store, as after a restored backup.
    fn copy_store(&mut self) -> Checked {
        if self.clients.len() < 2 {
            return Ok(());
        }
        let client = self.any_client();
        self.copy_store_of((client + 1) % self.clients.len(), client)
    }

    /// A process comes back on a copy of another one's store.
    pub(crate) fn copy_store_of(&mut self, other: usize, client: usize) -> Checked {
        let (to, from) = (self.clients[client].disk, self.clients[other].disk);
        if to == from {
            return Ok(());
        }
        // Whoever had the store open finds another one, of another user.
        let sharers = self.sharers(to);
        for sharer in &sharers {
            self.crash_client(*sharer)?;
        }
        self.disks[to] = self.disks[from].clone();
        self.disks[to].disturbed += 1;
        self.disks[from].disturbed += 1;
        let parts = self.disks[from].parts().flat_map(|part| &part.items);
        let there: BTreeSet<ItemId> = parts.map(|stored| stored.item.id).collect();
        for (id, item) in self.model.items.iter_mut() {
            if there.contains(id) || item.disk == from && item.outcomes.is_empty() {
                item.copied = true;
                item.excused = true;
            }
            if item.disk == to {
                item.excused = true;
            }
        }
        for sharer in sharers {
            self.become_as(sharer, other);
            self.start(sharer)?;
        }
        Ok(())
    }

    /// A process speaks for the user another one speaks for.
    fn become_as(&mut self, client: usize, other: usize) {
        self.clients[client].identity = self.clients[other].identity.clone();
        self.clients[client].home = self.clients[other].home.clone();
    }

    /// The processes that open a store.
    fn sharers(&self, disk: usize) -> Vec<usize> {
        (0..self.clients.len()).filter(|client| self.clients[*client].disk == disk).collect()
    }

    fn revoke(&mut self) -> Checked {
        let client = self.any_client();
        let who = self.clients[client].identity.clone();
        let by_token = self.rng.bool();
        let token_id = self.clients[client]
            .token
            .as_ref()
            .and_then(|token| self.tokens.principal(token))
            .and_then(|principal| principal.token_id.clone())
            .filter(|_| by_token);
        let revocation = Revocation {
            tenant: who.tenant.as_str().into(),
            user: Some(who.user.as_str().into()),
            token_id: token_id.clone(),
            not_before: self.wall(),
        };
        let now = self.now;
        let hit = |principal: &Principal| {
            principal.tenant.as_str() == who.tenant
                && principal.user.as_str() == who.user
                && (token_id.is_none() || principal.token_id == token_id)
        };
        if self.nodes.iter().all(|node| node.hub.is_some()) && self.journal_is_up() {
            self.wire.revoked(hit, now);
        }
        for node in 0..self.nodes.len() {
            self.hub_input(node, hub::Input::Revoke(None, revocation.clone()))?;
        }
        Ok(())
    }

    /// Where a record is lost and the log is not, what was accepted but not answered is sent again:
    /// by a client of which nothing was answered, and behind a `hold` (P-S6, `accepted` < `done`).
    /// An answer whose removal is not stored is forgotten by a crash, and another process that loaded
    /// the item does not know of it.
    fn excuse_unanswered(&mut self, key: &ProducerKey) {
        let parts = self.disks.iter().flat_map(Disk::parts);
        let of_key = parts.filter(|part| part.producer == Some(key.producer));
        let stored = of_key.flat_map(|part| &part.items).map(|item| item.item.id);
        let machines = self.clients.iter().filter_map(|client| client.machine.as_ref());
        let held = machines.flat_map(|machine| machine.outbox().list());
        let held: BTreeSet<_> = held.map(|listed| listed.item.id).chain(stored).collect();
        let items = &mut self.model.items;
        for lane in 0..LANES {
            let of_lane = (key.producer, lane, 0)..=(key.producer, lane, u64::MAX);
            let unanswered = |n: u64| !items.answered.contains(&(key.producer, lane, n));
            let numbers = items.numbered.range(of_lane);
            let sent: Vec<_> = numbers
                .filter(|((_, _, n), id)| unanswered(*n) || held.contains(id))
                .map(|(_, id)| *id)
                .collect();
            for id in sent {
                if let Some(item) = items.get_mut(id) {
                    item.copied = true;
                }
            }
        }
    }

    fn journal_is_up(&self) -> bool {
        self.log_path == (Duration::ZERO, Duration::ZERO) && !self.plan.has(Fault::LogAway)
    }

    /// A peer that is no client of ours writes what it likes.
    fn hostile(&mut self) -> Checked {
        let up: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].accepts()).collect();
        if up.is_empty() {
            return Ok(());
        }
        let node = up[self.rng.usize(..up.len())];
        let link = self.connect(node, None, Generation(0))?;
        let wall = self.wall();
        let who = Identity::new("t1", HOSTILE, Some("o1"));
        let token = self.tokens.issue(&who, wall, None);
        let hello = format!(
            r#"{{"type":"hello","token":"{}","producer":"{:032x}","lanes":{{}}}}"#,
            token.expose(),
            self.rng.u128(..)
        );
        let mut frames = Vec::new();
        if self.rng.u8(..4) > 0 {
            frames.push(hello.clone());
        }
        for _ in 0..self.rng.usize(1..6) {
            let at = self.rng.usize(..GARBAGE.len());
            frames.push(GARBAGE[at].to_owned());
        }
        if self.rng.u8(..3) == 0 {
            // One number for two items, as from two outboxes under one name.
            let lane = self.rng.u8(..LANES);
            for _ in 0..2 {
                frames.push(format!(
                    r#"{{"type":"send","lane":{lane},"n":1,"id":"{:032x}","room":"default/investigation:5","event":"x","persist":true,"data":1}}"#,
                    self.rng.u128(..)
                ));
            }
        }
        if self.rng.u8(..4) == 0 {
            frames.push(hello);
        }
        for frame in frames {
            self.write_up(link, Message::Text(frame));
        }
        if self.rng.bool() {
            self.write_up(
                link,
                Message::Binary(bytes::Bytes::from_static(b"\x01\x07\xff\xff junk")),
            );
        }
        let gone = self.now + self.span(100, 40_000);
        self.schedule.at(gone, Due::ServerSees(link));
        Ok(())
    }
}

/// What hostile peers write.
const GARBAGE: &[&str] = &[
    "",
    "\n\n",
    "not json",
    "{}",
    "[]",
    "null",
    r#"{"type":7}"#,
    r#"{"type":"no such thing"}"#,
    r#"{"type":"no such thing","id":{"a":[1]}}"#,
    r#"{"type":"join","id":1,"room":"alerts/tenant:t10"}"#,
    r#"{"type":"join","id":1,"room":"alerts/tenant:t1"}"#,
    r#"{"type":"join","id":1,"room":"alerts/tenant:t1","from":"first"}"#,
    r#"{"type":"join","id":2,"room":"../../etc"}"#,
    r#"{"type":"join","id":3,"room":"alerts/tenant:t1","cursor":{"seq":9007199254740991,"mark":"ffffffffffffffff"}}"#,
    r#"{"type":"join","id":4,"room":"default/investigation:5","cursor":{"seq":0,"mark":"0000000000000000"}}"#,
    r#"{"type":"join","id":5,"room":"default/investigation:5","filter":[{"events":[]},{"types":["x"]}],"present":true,"watch":true}"#,
    r#"{"type":"leave","id":9,"room":"nowhere/at:all"}"#,
    r#"{"type":"leave","id":9,"room":"default/investigation:5"}"#,
    r#"{"type":"credit","room":"default/investigation:5","seq":18446744073709551615}"#,
    r#"{"type":"credit","room":"nowhere","seq":1}"#,
    r#"{"type":"send","lane":0,"n":2,"id":"00000000000000000000000000000001","room":"default/investigation:5","event":"x","persist":true,"data":1}"#,
    r#"{"type":"send","lane":9,"n":1,"id":"00000000000000000000000000000001","room":"default/investigation:5","event":"x","data":1}"#,
    r#"{"type":"send","lane":0,"n":0,"id":"00000000000000000000000000000001","room":"default/investigation:5","event":"x","data":1}"#,
    r#"{"type":"send","lane":0,"n":9007199254740993,"id":"00000000000000000000000000000001","base":18446744073709551615,"room":"default/investigation:5","event":"x","data":1}"#,
    r#"{"type":"send","lane":0,"n":1,"id":"00000000000000000000000000000001","room":"alerts/tenant:t10","event":"x","persist":true,"data":1}"#,
    r#"{"type":"send","lane":0,"n":1,"id":"00000000000000000000000000000001","room":"alerts/public:news","event":"x","persist":true,"data":1}"#,
    r#"{"type":"send","lane":0,"n":1,"id":"00000000000000000000000000000001","room":"default/investigation:5","event":"","data":{"a":1,"a":2}}"#,
    r#"{"type":"skip","lane":3,"n":1,"id":"00000000000000000000000000000001","code":"cancelled"}"#,
    r#"{"type":"skip","lane":3,"n":7,"id":"00000000000000000000000000000001","base":6,"code":"weird"}"#,
    r#"{"type":"cast","room":"alerts/tenant:t10","event":"x","data":{"tenant":"t10"}}"#,
    r#"{"type":"call","id":1,"method":"presence","params":{"room":"alerts/tenant:t10"}}"#,
    r#"{"type":"call","id":1,"method":"history","params":{"room":"alerts/tenant:t10","after":{"seq":0}}}"#,
    r#"{"type":"call","id":1,"method":"results","params":{"ids":["x"]}}"#,
    r#"{"type":"call","id":1,"method":"rooms","params":[[[[]]]]}"#,
    r#"{"type":"status","status":"sleepy"}"#,
    r#"{"type":"status","meta":{"x":"y"}}"#,
    r#"{"type":"answer","room":"video/commands","seq":1,"result":1}"#,
    r#"{"type":"stream","stream":1,"room":"video/camera:3","codec":"jpeg","width":1,"height":1}"#,
    r#"{"type":"seen","stream":65535,"seq":4294967295}"#,
    r#"{"type":"auth","token":"nonsense"}"#,
    r#"{"type":"ping","heads":[{"room":"x","last":1,"seq":1,"mark":"0000000000000000"}]}"#,
    r#"{"type":"pong"}"#,
    "{\"type\":\"ping\"}\n{\"type\":\"ping\"}\n{\"type\":\"nonsense\",\"id\":1}",
];
