//! The built-in handler of alerts: create, acknowledge, resolve (C7, P-S8).
//!
//! What the alerts are is a fold: the internal room [`STATE`] keeps the newest state of each alert
//! under its id. A command's effects (the event in the alert's room, the state, the answer) are one
//! step of the log, so all nodes agree and nothing happens twice.

mod decide;
#[cfg(test)]
mod tests;

use super::{
    commands::derived_id,
    fold::{Entries, Folded},
    ledger::Ledger,
};
use crate::log::{Entry, NewEntry, Reply, Request, RoomKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use wardline::{
    model::{
        alert::{
            ACKNOWLEDGE, Alert, AlertAction, AlertEvent, AlertStatus, CREATE, NewAlert, RESOLVE,
        },
        ids::{AlertId, ItemId, TenantId, UserId},
    },
    protocol::{Address, Code, Json, frames::ErrorBody},
    time::{Instant, Now},
};

/// The namespace of alerts.
pub const NAMESPACE: &str = "alerts";
/// The room that keeps the state of each alert of a tenant.
pub const STATE: &str = "alerts/~alerts";
/// The part's number in tickets.
pub(super) const PART: u8 = 3;
/// The event of a state's entry.
const EVENT: &str = "alert";
/// Resolved alerts forgotten in one step.
const FORGET: usize = 64;

/// What alerts may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// Alerts of a tenant that are not resolved. Default: 10,000.
    pub open: usize,
    /// Resolved alerts of a tenant that are remembered. Default: 10,000.
    pub resolved: usize,
    /// How long resolved alerts are remembered. Default: 24 h.
    pub resolved_life: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { open: 10_000, resolved: 10_000, resolved_life: Duration::from_secs(24 * 3600) }
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Handled {
    /// The command's answer.
    pub answer: Result<Json, ErrorBody>,
    /// To be appended with it, in one step.
    pub effects: Vec<NewEntry>,
}

/// The alerts of the tenants this hub serves.
#[derive(Debug)]
pub struct Alerts {
    config: Config,
    state: Option<Address>,
    tenants: BTreeMap<TenantId, Tenant>,
    /// When a tenant's oldest resolved alert is forgotten.
    deadlines: BTreeSet<(Instant, TenantId)>,
    ledger: Ledger,
}

#[derive(Debug, Default)]
struct Tenant {
    alerts: BTreeMap<AlertId, State>,
    /// By the time they were resolved, ms since 1970.
    resolved: BTreeSet<(u64, AlertId)>,
    /// Resolved alerts whose end is on its way to the log.
    forgetting: BTreeSet<AlertId>,
}

/// The data of a state's entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    room: Address,
    alert: Alert,
}

impl State {
    /// The moment it was resolved, where it is.
    fn resolved(&self) -> Option<u64> {
        let is = self.alert.status == AlertStatus::Resolved;
        is.then_some(self.alert.resolved_at.or(self.alert.updated_at).unwrap_or(0))
    }
}

impl Tenant {
    fn open(&self) -> usize {
        self.alerts.len() - self.resolved.len()
    }

    fn put(&mut self, state: State) {
        let id = state.alert.id.clone();
        self.remove(&id);
        if let Some(at) = state.resolved() {
            self.resolved.insert((at, id.clone()));
        }
        self.alerts.insert(id, state);
    }

    fn remove(&mut self, id: &AlertId) {
        self.forgetting.remove(id);
        if let Some(at) = self.alerts.remove(id).and_then(|state| state.resolved()) {
            self.resolved.remove(&(at, id.clone()));
        }
    }
}

fn refusal(code: Code, message: impl Into<String>) -> ErrorBody {
    ErrorBody { code, message: message.into() }
}

fn params<T: DeserializeOwned>(data: &Json) -> Result<T, ErrorBody> {
    data.to().map_err(|error| refusal(Code::BAD_PARAMS, error.to_string()))
}

/// The room of a new alert: the one named, else the tenant's own.
fn room_of(tenant: &TenantId, named: Option<&str>) -> Result<Address, ErrorBody> {
    let own = format!("tenant:{tenant}");
    let name = named.map_or(own.as_str(), |name| name.strip_prefix("alerts/").unwrap_or(name));
    Address::new(NAMESPACE, name)
        .ok()
        .filter(|room| !super::fold::is_internal(room) && room.room() != "commands")
        .ok_or_else(|| refusal(Code::BAD_ROOM, "no room for alerts"))
}

impl Alerts {
    /// Knows of no tenant yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: STATE.parse().ok(),
            tenants: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ledger: Ledger::new(PART),
        }
    }

    /// Someone of a tenant is here: its alerts are read.
    pub fn open(&mut self, tenant: &TenantId) {
        if let Some(key) = self.key(tenant).filter(|_| !self.tenants.contains_key(tenant)) {
            self.tenants.insert(tenant.clone(), Tenant::default());
            self.ledger.open(&key, Entries::Latest);
        }
    }

    /// Whether a tenant's alerts are known, so that its commands can be handled.
    #[must_use]
    pub fn is_ready(&self, tenant: &TenantId) -> bool {
        self.key(tenant).is_some_and(|key| self.ledger.is_live(&key))
    }

    /// The room a command is about, which its sender must be allowed to send to: the one it names,
    /// or the one where the alert it names lives. None: the handler will refuse it.
    #[must_use]
    pub fn concerns(&self, tenant: &TenantId, event: &str, data: &Json) -> Option<Address> {
        if event == CREATE {
            let new = data.to::<NewAlert>().ok()?;
            return room_of(tenant, new.room.as_deref()).ok();
        }
        let action = data.to::<AlertAction>().ok()?;
        let state = self.tenants.get(tenant)?.alerts.get(&action.alert_id)?;
        Some(state.room.clone())
    }

    /// The alerts of a tenant, in order of their ids.
    pub fn alerts(&self, tenant: &TenantId) -> impl Iterator<Item = (&Address, &Alert)> {
        let alerts = self.tenants.get(tenant).into_iter().flat_map(|tenant| tenant.alerts.values());
        alerts.map(|state| (&state.room, &state.alert))
    }

    /// Decides a command on the state that the one before it left.
    #[must_use]
    pub fn handle(&self, tenant: &TenantId, command: &Entry) -> Handled {
        match self.decide(tenant, command) {
            Ok((event, state)) => self.handled(tenant, command, &event, state),
            Err(error) => Handled { answer: Err(error), effects: Vec::new() },
        }
    }

    /// The state to append with an event that a back end publishes in a room of alerts, so that it
    /// can be acknowledged and resolved like any other.
    #[must_use]
    pub fn companion(&self, event: &NewEntry) -> Option<NewEntry> {
        if event.room.room.namespace() != NAMESPACE || super::fold::is_internal(&event.room.room) {
            return None;
        }
        let decoded = AlertEvent::decode(&event.event, &event.data);
        let mut alert = decoded.alert()?.clone();
        match decoded {
            AlertEvent::Acknowledged(_) => alert.status = AlertStatus::Acknowledged,
            AlertEvent::Resolved(_) => alert.status = AlertStatus::Resolved,
            _ => {}
        }
        let full = self
            .tenants
            .get(&event.room.tenant)
            .is_some_and(|t| t.open() >= self.config.open && !t.alerts.contains_key(&alert.id));
        if full || alert.id.as_str().is_empty() {
            return None;
        }
        let state = State { room: event.room.room.clone(), alert };
        self.state_entry(&event.room.tenant, ItemId(event.id.0 ^ 1), &state)
    }

    /// Reads everything anew: after an outage of the store (P-K2).
    pub fn refresh(&mut self) {
        self.ledger.refresh();
    }

    /// The log told an entry of any room.
    pub fn handle_entry(&mut self, key: &RoomKey, entry: &Arc<Entry>, now: Now) {
        if Some(&key.room) == self.state.as_ref() {
            let folded = self.ledger.handle_entry(key, entry);
            self.take(&key.tenant, folded, now);
        }
    }

    /// The log's answer to one of this part's tickets.
    pub fn handle_reply(&mut self, reply: &Reply, now: Now) {
        if let Some((key, folded)) = self.ledger.handle_reply(reply, now) {
            self.take(&key.tenant, folded, now);
        }
    }

    /// Forgets what is due, and tries again.
    pub fn handle_timeout(&mut self, now: Now) {
        self.ledger.handle_timeout(now);
        while self.deadlines.first().is_some_and(|(at, _)| *at <= now.mono) {
            if let Some((_, tenant)) = self.deadlines.pop_first() {
                self.forget_resolved(&tenant, now);
            }
        }
    }

    /// The next moment for [`Alerts::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        self.ledger.poll_timeout().into_iter().chain(deadline).min()
    }

    /// The next question to the log.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.ledger.poll_request()
    }

    fn key(&self, tenant: &TenantId) -> Option<RoomKey> {
        Some(RoomKey { tenant: tenant.clone(), room: self.state.clone()? })
    }

    fn take(&mut self, id: &TenantId, folded: Vec<Folded>, now: Now) {
        let Some(tenant) = self.tenants.get_mut(id) else { return };
        for change in folded {
            match change {
                Folded::Reset => *tenant = Tenant::default(),
                Folded::Live => {}
                Folded::Entry(entry) => {
                    let Some(key) = &entry.key else { continue };
                    match entry.data.to::<State>() {
                        Ok(state) if !entry.gone => tenant.put(state),
                        _ => tenant.remove(&AlertId::from(&**key)),
                    }
                }
            }
        }
        if self.is_ready(id) {
            self.forget_resolved(id, now);
        }
    }

    /// Ends the state of alerts that were resolved long ago, or are too many; names the moment for
    /// the next.
    fn forget_resolved(&mut self, id: &TenantId, now: Now) {
        let Some(room) = self.key(id) else { return };
        let Some(tenant) = self.tenants.get_mut(id) else { return };
        let life = u64::try_from(self.config.resolved_life.as_millis()).unwrap_or(u64::MAX);
        let waiting = tenant.resolved.iter().filter(|(_, a)| !tenant.forgetting.contains(a));
        let known = tenant.resolved.len() - tenant.forgetting.len();
        let mut surplus = known.saturating_sub(self.config.resolved);
        let mut due = Vec::new();
        let mut next = None;
        for (at, alert) in waiting {
            let until = at.saturating_add(life);
            if due.len() == FORGET {
                next = Some(now.mono + super::fold::RETRY);
                break;
            }
            if until > now.wall.0 && surplus == 0 {
                next = Some(now.mono + Duration::from_millis(until - now.wall.0));
                break;
            }
            surplus = surplus.saturating_sub(1);
            due.push((*at, alert.clone()));
        }
        if let Some(at) = next {
            self.deadlines.retain(|(_, tenant)| tenant != id);
            self.deadlines.insert((at, id.clone()));
        }
        let gone = |(at, alert): &(u64, AlertId)| NewEntry {
            room: room.clone(),
            // The same on every node: whoever comes first ends it.
            id: ItemId(u128::from_be_bytes(digest(&format!("{alert}@{at}")))),
            from: "".into(),
            event: EVENT.into(),
            key: Some(alert.as_str().into()),
            gone: true,
            data: Json::null(),
        };
        let entries: Vec<_> = due.iter().map(gone).collect();
        tenant.forgetting.extend(due.into_iter().map(|(_, alert)| alert));
        if let Some(first) = entries.first() {
            self.ledger.append(id, first.id, entries);
        }
    }
}

/// 128 bits of a name.
fn digest(name: &str) -> [u8; 16] {
    use sha1::{Digest, Sha1};
    let whole = Sha1::digest(name.as_bytes());
    let mut out = [0; 16];
    out.copy_from_slice(&whole[..16]);
    out
}
