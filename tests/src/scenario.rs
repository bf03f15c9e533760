//! One story at a time: a calm world in which a test says what happens, under all the invariants.
//!
//! ```
//! use wardline_tests::scenario::Scenario;
//! use wardline::protocol::frames::Start;
//!
//! # fn main() -> Result<(), wardline_tests::violation::Violation> {
//! let mut story = Scenario::new(1, &[("acme", "ann")]);
//! story.connect()?;
//! let sub = story.join(0, "default/desk", Start::Live)?.unwrap();
//! story.publish("acme", "default/desk")?;
//! story.pass(1)?;
//! assert_eq!(story.events(0, sub), [1]);
//! # Ok(()) }
//! ```

use crate::{
    hold,
    link::Path,
    plan::Plan,
    tokens::Identity,
    violation::{Checked, Invariant, Violation},
    wire::LinkId,
    world::{
        World,
        process::{Call, Heard},
        schedule::Due,
    },
};
use std::{collections::BTreeSet, time::Duration};
use wardline::{
    machine::{
        ApiEvent, Close, Command, Outcome, PresenceChange, ReplyValue, Status, SubId, Subscribe,
    },
    model::ids::ItemId,
    protocol::{Address, Code, Cursor, Filter, Json, frames::Start},
};

/// How long anything may take in a calm world.
const PATIENCE: Duration = Duration::from_secs(60);

/// A world and what its applications were told.
pub struct Scenario {
    /// The world.
    pub world: World,
}

impl Scenario {
    /// A calm world of some (tenant, user), each with a process and a store of its own.
    #[must_use]
    pub fn new(seed: u64, people: &[(&str, &str)]) -> Self {
        Self::with(seed, people, |_| {})
    }

    /// The same, with changes to the plan.
    #[must_use]
    pub fn with(seed: u64, people: &[(&str, &str)], change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan {
            seed,
            clients: people.iter().map(|(t, u)| Identity::new(t, u, None)).collect(),
            nodes: 1,
            embedded: true,
            steps: 0,
            faults: BTreeSet::new(),
            path: Path { jitter: Duration::from_millis(5), ..Path::default() },
            fsync: Duration::from_millis(5),
            retention: Duration::from_secs(3600),
            token_ttl: None,
            rooms: Vec::new(),
            search_secrets: true,
        };
        change(&mut plan);
        let mut world = World::new(plan, true);
        world.listens = true;
        Self { world }
    }

    /// Starts everyone and waits until all are connected.
    ///
    /// # Errors
    /// A violation.
    pub fn connect(&mut self) -> Checked {
        for client in 0..self.world.clients.len() {
            self.world.clients[client].wants_connection = true;
            self.world.start(client)?;
        }
        self.connected()
    }

    /// Waits until everyone is connected.
    ///
    /// # Errors
    /// A violation.
    pub fn connected(&mut self) -> Checked {
        let all = self.world.run_until(PATIENCE, |world| {
            world.clients.iter().all(crate::world::process::Process::is_connected)
        })?;
        hold!(all, NotHealed, "not everyone is connected");
        Ok(())
    }

    /// Lets seconds pass.
    ///
    /// # Errors
    /// A violation.
    pub fn pass(&mut self, seconds: u64) -> Checked {
        self.world.pass(Duration::from_secs(seconds))
    }

    /// Subscribes to a room and waits for the answer.
    ///
    /// # Errors
    /// A violation.
    pub fn join(&mut self, client: usize, room: &str, from: Start) -> Checked<Result<SubId, Code>> {
        let plain = Subscribe {
            filter: Filter::default(),
            from,
            cursor: None,
            durable: None,
            meta: None,
            present: false,
            watch: false,
            hook: false,
        };
        self.join_as(client, room, plain)
    }

    /// Subscribes as told and waits for the answer.
    ///
    /// # Errors
    /// A violation.
    pub fn join_as(
        &mut self,
        client: usize,
        room: &str,
        subscribe: Subscribe,
    ) -> Checked<Result<SubId, Code>> {
        let room = address(room)?;
        let Some(sub) = self.world.subscribe(client, room, subscribe)? else {
            return Err(Violation::new(Invariant::NotHealed, "the client does not run"));
        };
        let answer = move |world: &World| {
            world.clients[client].heard.iter().find_map(|heard| match heard {
                Heard::Reply(Call::Subscribe(id), result) if *id == sub => {
                    Some(result.as_ref().map(|_| sub).map_err(|error| error.code.clone()))
                }
                _ => None,
            })
        };
        self.world.run_until(PATIENCE, |world| answer(world).is_some())?;
        let waits = || Violation::new(Invariant::NotHealed, format!("{sub:?} has no answer"));
        answer(&self.world).ok_or_else(waits)
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// A violation.
    pub fn leave(&mut self, client: usize, sub: SubId) -> Checked {
        if let Some(known) = self.world.clients[client].app.subs.get_mut(&sub) {
            known.wanted = false;
        }
        self.world.command(client, Call::Other, |call| Command::Unsubscribe(call, sub))
    }

    /// Submits an event that is kept.
    ///
    /// # Errors
    /// A violation.
    pub fn send(&mut self, client: usize, room: &str) -> Checked<ItemId> {
        self.world.submit_to(client, 3, address(room)?, true, None, 0)
    }

    /// The server's own code publishes an event.
    ///
    /// # Errors
    /// A violation.
    pub fn publish(&mut self, tenant: &str, room: &str) -> Checked {
        self.world.publish_to(tenant, address(room)?)
    }

    /// Asks something and waits for the answer.
    ///
    /// # Errors
    /// A violation.
    pub fn query(
        &mut self,
        client: usize,
        method: &str,
        params: &str,
    ) -> Checked<Result<Json, Code>> {
        let params = Json::parse(params).unwrap_or_else(|_| Json::null());
        let before = self.world.clients[client].heard.len();
        self.world
            .command(client, Call::Other, |call| Command::Query(call, method.into(), params))?;
        let answer = |world: &World| {
            world.clients[client].heard.iter().skip(before).find_map(|heard| match heard {
                Heard::Reply(Call::Other, Ok(ReplyValue::Json(json))) => Some(Ok(json.clone())),
                Heard::Reply(Call::Other, Err(error)) => Some(Err(error.code.clone())),
                _ => None,
            })
        };
        self.world.run_until(PATIENCE, |world| answer(world).is_some())?;
        let waits = || Violation::new(Invariant::NotHealed, format!("{method} has no answer"));
        answer(&self.world).ok_or_else(waits)
    }

    /// Disconnects.
    ///
    /// # Errors
    /// A violation.
    pub fn disconnect(&mut self, client: usize) -> Checked {
        self.world.command(client, Call::Disconnect, Command::Disconnect)?;
        self.pass(2)
    }

    /// Connects again.
    ///
    /// # Errors
    /// A violation.
    pub fn reconnect(&mut self, client: usize) -> Checked {
        self.world.command(client, Call::Connect, Command::Connect)?;
        let there = self.world.run_until(PATIENCE, |world| world.clients[client].is_connected())?;
        hold!(there, NotHealed, "client {client} is not connected");
        Ok(())
    }

    /// The open transport of a client.
    #[must_use]
    pub fn link(&self, client: usize) -> Option<LinkId> {
        let transports = &self.world.clients[client].transports;
        transports.values().filter(|transport| !transport.ended).find_map(|t| t.link)
    }

    /// Cuts a client's transport: `up` and `down` bytes under way still arrive. Both ends learn of it
    /// soon.
    pub fn cut(&mut self, client: usize, up: usize, down: usize) {
        let world = &mut self.world;
        let transports = &world.clients[client].transports;
        let open = transports.values().filter(|transport| !transport.ended);
        let Some(id) = open.filter_map(|transport| transport.link).next() else { return };
        let Some(link) = world.links.get_mut(&id) else { return };
        link.impaired = true;
        link.up.cut(up, world.now, &mut world.rng);
        link.down.cut(down, world.now, &mut world.rng);
        let close = Close { code: 1006, reason: String::new() };
        let at = link.down.last_arrival().max(world.now) + Duration::from_millis(100);
        world.schedule.at(at, Due::ClientSees(id, close));
        let at = link.up.last_arrival().max(world.now) + Duration::from_millis(100);
        world.schedule.at(at, Due::ServerSees(id));
    }

    /// The server's process dies, with what was not durable, and comes back after a while.
    ///
    /// # Errors
    /// A violation.
    pub fn kill_server(&mut self, away: Duration) -> Checked {
        self.world.server_dies(0, false)?;
        let at = self.world.now + away;
        self.world.schedule.at(at, Due::ServerUp(0));
        Ok(())
    }

    /// A client's process dies and starts again on its store.
    ///
    /// # Errors
    /// A violation.
    pub fn restart_client(&mut self, client: usize) -> Checked {
        self.world.crash_client(client)?;
        self.world.start(client)
    }

    /// The token provider of a client gives nothing from now on.
    pub fn end_tokens(&mut self, client: usize) {
        self.world.clients[client].provider_fails = true;
    }

    /// From now on the log takes so long to make anything durable.
    pub fn slow_sync(&mut self, span: Duration) {
        self.world.log_path.1 = span;
    }

    /// The next operations of a client's store fail.
    pub fn fail_store(&mut self, client: usize, operations: u32) {
        let disk = self.world.clients[client].disk;
        self.world.disks[disk].failures = operations;
    }

    /// The log loses its newest durable changes under the living server.
    ///
    /// # Errors
    /// A violation.
    pub fn lose_tail(&mut self, changes: usize) -> Checked {
        self.world.lose_changes(changes)
    }

    /// A process starts anew, on a copy of another one's store.
    ///
    /// # Errors
    /// A violation.
    pub fn copy_store(&mut self, from: usize, to: usize) -> Checked {
        self.world.copy_store_of(from, to)
    }

    /// The numbers of the events a subscription was handed, in order.
    #[must_use]
    pub fn events(&self, client: usize, sub: SubId) -> Vec<u64> {
        let heard = self.world.clients[client].heard.iter();
        heard
            .filter_map(|heard| match heard {
                Heard::Event(ApiEvent::Event(id, event)) if *id == sub => event.seq,
                _ => None,
            })
            .collect()
    }

    /// The gaps a subscription was told, each with the number of events handed over before it.
    #[must_use]
    pub fn gaps(&self, client: usize, sub: SubId) -> Vec<(usize, Cursor)> {
        let mut handed = 0;
        let mut gaps = Vec::new();
        for heard in &self.world.clients[client].heard {
            match heard {
                Heard::Event(ApiEvent::Event(id, _)) if *id == sub => handed += 1,
                Heard::Event(ApiEvent::Gap { sub: id, from, .. }) if *id == sub => {
                    gaps.push((handed, *from));
                }
                _ => {}
            }
        }
        gaps
    }

    /// What a subscription was told of presence.
    #[must_use]
    pub fn presence(&self, client: usize, sub: SubId) -> Vec<PresenceChange> {
        let heard = self.world.clients[client].heard.iter();
        heard
            .filter_map(|heard| match heard {
                Heard::Event(ApiEvent::Presence(id, change)) if *id == sub => Some(change.clone()),
                _ => None,
            })
            .collect()
    }

    /// What the application was told of an item.
    #[must_use]
    pub fn outcomes(&self, client: usize, item: ItemId) -> Vec<Outcome> {
        let heard = self.world.clients[client].heard.iter();
        heard
            .filter_map(|heard| match heard {
                Heard::Event(ApiEvent::Settled(id, outcome)) if *id == item => {
                    Some(outcome.clone())
                }
                _ => None,
            })
            .collect()
    }

    /// The states a client went through, with the code of each.
    #[must_use]
    pub fn statuses(&self, client: usize) -> Vec<(Status, u16)> {
        let heard = self.world.clients[client].heard.iter();
        heard
            .filter_map(|heard| match heard {
                Heard::Event(ApiEvent::Status { status, reason, .. }) => {
                    Some((*status, reason.code))
                }
                _ => None,
            })
            .collect()
    }

    /// How often a client dialled.
    #[must_use]
    pub fn dials(&self, client: usize) -> usize {
        let heard = self.world.clients[client].heard.iter();
        heard.filter(|heard| matches!(heard, Heard::Dial)).count()
    }
}

fn address(room: &str) -> Checked<Address> {
    room.parse().map_err(|_| Violation::new(Invariant::BadFrame, format!("{room} is no address")))
}
