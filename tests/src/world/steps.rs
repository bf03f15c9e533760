//! What applications do, step by step.

use super::{World, process::Call, schedule::Due};
use crate::{
    app::Sub,
    model::{data, items::Item},
    plan::LATEST_ROOM,
    step::Step,
    violation::Checked,
    wire::may_read,
};
use std::time::Duration;
use wardline::{
    machine::{Command, Input, NewItem, Owner, Signal, SubId, Subscribe},
    model::{ids::ItemId, presence::Status},
    protocol::{
        Address, Clause, Filter, Json,
        address::PUBLIC_TENANT,
        frames::{Cast, Start},
    },
};
use wardline_server::{hub::Principal, log::RoomKey};

impl World {
    /// Takes one step.
    ///
    /// # Errors
    /// The first violation met.
    pub fn apply(&mut self, step: Step) -> Checked {
        self.steps += 1;
        self.trace.note(self.now, || format!("— {step:?}"));
        match step {
            Step::Idle => Ok(()),
            Step::Submit => {
                let client = self.any_client();
                let count = self.rng.usize(1..=4);
                let lane = if self.rng.bool() { 3 } else { self.rng.u8(..8) };
                for _ in 0..count {
                    self.submit(client, lane, 0)?;
                }
                Ok(())
            }
            Step::SubmitLarge => {
                let (client, size) = (self.any_client(), self.rng.usize(50_000..1_000_000));
                let lane = self.rng.u8(5..8);
                self.submit(client, lane, size)
            }
            Step::Cancel => self.cancel(),
            Step::Subscribe => self.subscribe_some(),
            Step::Unsubscribe => self.unsubscribe(),
            Step::Cast => self.cast(),
            Step::Query => self.query(),
            Step::Presence => self.presence(),
            Step::Disconnect => {
                let client = self.any_client();
                self.command(client, Call::Disconnect, Command::Disconnect)
            }
            Step::Connect => {
                let client = self.any_client();
                self.command(client, Call::Connect, Command::Connect)
            }
            Step::Command => self.submit_command(),
            Step::Publish => self.publish(),
            Step::Appetite => {
                let client = self.any_client();
                self.clients[client].appetite = match self.rng.u8(..4) {
                    0 => self.span(100, 20_000),
                    _ => self.span(0, 50),
                };
                Ok(())
            }
            Step::Signal => {
                let client = self.any_client();
                let signals = [
                    Signal::Online,
                    Signal::Offline,
                    Signal::NetworkChanged,
                    Signal::Visible,
                    Signal::Hidden,
                    Signal::Suspending,
                ];
                let signal = signals[self.rng.usize(..signals.len())];
                self.signal(client, signal)
            }
            fault => self.apply_fault(fault),
        }
    }

    pub(crate) fn any_client(&mut self) -> usize {
        self.rng.usize(..self.clients.len())
    }

    pub(super) fn any_room(&mut self) -> Option<Address> {
        let name = self.plan.rooms[self.rng.usize(..self.plan.rooms.len())];
        name.parse().ok()
    }

    /// Submits an item with `padding` bytes of filling.
    ///
    /// # Errors
    /// The first violation met.
    pub fn submit(&mut self, client: usize, lane: u8, padding: usize) -> Checked {
        let Some(room) = self.any_room() else { return Ok(()) };
        let persist = self.rng.u8(..8) > 0;
        let ttl = (self.rng.u8(..10) == 0).then(|| self.span(100, 20_000));
        self.submit_to(client, lane, room, persist, ttl, padding).map(drop)
    }

    /// Submits an item to a room.
    ///
    /// # Errors
    /// The first violation met.
    pub fn submit_to(
        &mut self,
        client: usize,
        lane: u8,
        room: Address,
        persist: bool,
        ttl: Option<Duration>,
        padding: usize,
    ) -> Checked<ItemId> {
        let severity = ["low", "high"][self.rng.usize(..2)];
        let event = ["alert:created", "note"][self.rng.usize(..2)];
        let key = (room.as_str() == LATEST_ROOM).then(|| format!("k{}", self.rng.u8(..4)));
        self.next_item += 1;
        let id = ItemId(u128::from(self.rng.u64(..)) << 64 | u128::from(self.next_item));
        let tenant = self.clients[client].identity.tenant.clone();
        let item = NewItem {
            id,
            lane,
            room,
            event: event.into(),
            data: data(self.next_item, &tenant, severity, padding),
            key,
            persist,
            ttl,
            command: false,
        };
        self.submit_item(client, item)?;
        Ok(id)
    }

    fn submit_command(&mut self) -> Checked {
        let client = self.any_client();
        let Ok(room) = "video/commands".parse::<Address>() else { return Ok(()) };
        self.next_item += 1;
        let id = ItemId(u128::from(self.rng.u64(..)) << 64 | u128::from(self.next_item));
        let tenant = self.clients[client].identity.tenant.clone();
        let item = NewItem {
            id,
            lane: 1,
            room,
            event: "stream:start".into(),
            data: data(self.next_item, &tenant, "low", 0),
            key: None,
            persist: true,
            ttl: Some(Duration::from_secs(30)),
            command: true,
        };
        self.submit_item(client, item)
    }

    fn submit_item(&mut self, client: usize, item: NewItem) -> Checked {
        if self.clients[client].machine.is_none() || self.clients[client].asleep.is_some() {
            return Ok(());
        }
        self.orders += 1;
        let id = item.id;
        let known = Item {
            client,
            disk: self.clients[client].disk,
            owner: None,
            lane: item.lane,
            room: item.room.clone(),
            persist: item.persist,
            command: item.command,
            order: self.orders,
            data: item.data.clone(),
            queued: false,
            failed: false,
            was_sent: false,
            cancelled: false,
            ttl: item.ttl.is_some(),
            outcomes: Vec::new(),
            standing: Vec::new(),
            lost_by_log: false,
            excused: false,
            copied: false,
        };
        self.note_submit(id, known);
        let process = &mut self.clients[client];
        process.recent.push_back(id);
        if process.recent.len() > 24 {
            process.recent.pop_front();
        }
        self.command(client, Call::Submit(id), |call| Command::Submit(call, item))
    }

    fn cancel(&mut self) -> Checked {
        let client = self.any_client();
        let recent = &self.clients[client].recent;
        if recent.is_empty() {
            return Ok(());
        }
        let id = recent[self.rng.usize(..recent.len())];
        if let Some(item) = self.model.items.get_mut(id) {
            item.cancelled = true;
        }
        self.command(client, Call::Cancel(id), |call| Command::Cancel(call, id))
    }

    fn subscribe_some(&mut self) -> Checked {
        let client = self.any_client();
        let Some(room) = self.any_room() else { return Ok(()) };
        let wanted = self.clients[client].app.subs.values().filter(|sub| sub.wanted).count();
        if wanted >= 6 {
            return Ok(());
        }
        let filter = match self.rng.u8(..4) {
            0 => Filter(vec![Clause { severities: vec!["high".into()], ..Clause::default() }]),
            1 => Filter(vec![Clause { events: vec!["note".into()], ..Clause::default() }]),
            _ => Filter::default(),
        };
        let log = room.as_str() != LATEST_ROOM;
        let named = (self.rng.u8(..3) == 0 && log).then(|| "d".to_owned());
        // One holder of a durable position at a time.
        let durable = named.filter(|name| {
            let mut subs = self.clients[client].app.subs.values();
            !subs.any(|sub| sub.wanted && sub.room == room && sub.durable.as_ref() == Some(name))
        });
        let subscribe = Subscribe {
            filter,
            from: if self.rng.bool() { Start::First } else { Start::Live },
            cursor: None,
            durable,
            meta: None,
            present: self.rng.u8(..3) == 0,
            watch: self.rng.u8(..3) == 0,
            hook: self.rng.u8(..4) == 0 && log,
        };
        self.subscribe(client, room, subscribe).map(drop)
    }

    /// Subscribes a client to a room.
    ///
    /// # Errors
    /// The first violation met.
    pub fn subscribe(
        &mut self,
        client: usize,
        room: Address,
        subscribe: Subscribe,
    ) -> Checked<Option<SubId>> {
        let process = &self.clients[client];
        if process.machine.is_none() || process.asleep.is_some() {
            return Ok(None);
        }
        self.next_sub += 1;
        let id = SubId(self.next_sub);
        let stored = subscribe.durable.as_ref().and_then(|name| {
            let known = process.cursors.as_ref()?;
            known.at.get(&(name.clone(), room.clone())).copied()
        });
        let mut sub = Sub::new(
            room.clone(),
            subscribe.filter.clone(),
            subscribe.durable.clone(),
            subscribe.hook,
            stored,
        );
        sub.present = subscribe.present;
        sub.watch = subscribe.watch;
        if let Some(Owner { tenant, .. }) = &process.bound {
            let public = room.parts().next() == Some("public");
            let tenant = if public { PUBLIC_TENANT.into() } else { tenant.clone() };
            sub.key = Some(RoomKey { tenant, room: room.clone() });
        }
        self.clients[client].app.subscribe(id, sub);
        self.command(client, Call::Subscribe(id), |call| {
            Command::Subscribe(call, id, room, subscribe)
        })?;
        Ok(Some(id))
    }

    fn unsubscribe(&mut self) -> Checked {
        let client = self.any_client();
        let subs: Vec<SubId> = self.clients[client]
            .app
            .subs
            .iter()
            .filter(|(_, sub)| sub.wanted && sub.joined)
            .map(|(id, _)| *id)
            .collect();
        if subs.is_empty() || self.clients[client].asleep.is_some() {
            return Ok(());
        }
        let id = subs[self.rng.usize(..subs.len())];
        let process = &mut self.clients[client];
        if let Some(sub) = process.app.subs.get_mut(&id) {
            sub.wanted = false;
            // Its machine knows this position, also while it is still to be stored.
            // One that had ended belonged to the owner before, perhaps.
            if let (Some(name), Some(done)) = (&sub.durable, sub.done_at)
                && sub.left.is_none()
                && let Some(known) = &mut process.cursors
            {
                let at = known.at.entry((name.clone(), sub.room.clone())).or_insert(done);
                if at.seq < done.seq {
                    *at = done;
                }
            }
        }
        self.command(client, Call::Other, |call| Command::Unsubscribe(call, id))
    }

    fn cast(&mut self) -> Checked {
        let client = self.any_client();
        let Some(room) = self.any_room() else { return Ok(()) };
        let tenant = self.clients[client].identity.tenant.clone();
        self.next_item += 1;
        let data = data(self.next_item, &tenant, "low", 0);
        let cast = Cast { room: room.as_str().into(), event: "typing".into(), data };
        self.command(client, Call::Other, |call| Command::Cast(call, cast))
    }

    fn query(&mut self) -> Checked {
        let client = self.any_client();
        let Some(room) = self.any_room() else { return Ok(()) };
        let method = ["rooms", "presence", "history", "nonsense"][self.rng.usize(..4)];
        let params =
            Json::parse(&format!(r#"{{"room":"{room}"}}"#)).unwrap_or_else(|_| Json::null());
        self.command(client, Call::Other, |call| Command::Query(call, method.into(), params))
    }

    fn presence(&mut self) -> Checked {
        let client = self.any_client();
        let status = [None, Some(Status::Busy), Some(Status::Away), Some(Status::Online)]
            [self.rng.usize(..4)];
        self.command(client, Call::Other, |call| Command::SetStatus(call, status, None))
    }

    /// Another token for the same user, or another one.
    pub(crate) fn set_token(&mut self, client: usize) -> Checked {
        let token = self.issue(client);
        let process = &mut self.clients[client];
        process.token = Some(token.clone());
        let who = process.who();
        self.schedule
            .at(self.now, Due::Tell(who, Box::new(Input::Command(Command::SetToken(token)))));
        Ok(())
    }

    /// Whether a process's user may read a room.
    pub(crate) fn may_join(&self, client: usize, room: &str) -> bool {
        let who = &self.clients[client].identity;
        let principal = Principal {
            tenant: who.tenant.as_str().into(),
            user: who.user.as_str().into(),
            organization: who.organization.as_deref().map(Into::into),
            roles: Vec::new(),
            token_id: None,
            issued: 0,
            expires: None,
        };
        may_read(&principal, room)
    }
}
