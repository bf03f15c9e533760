//! What a command makes of an alert: the new state, the event, the answer (C7).

use super::*;
use wardline::protocol::limits::RESULT_BYTES;

/// The largest alert that a command may create: with what acting on it adds it is still a result.
const CREATED_BYTES: usize = RESULT_BYTES - 1024;

impl Alerts {
    pub(super) fn decide(
        &self,
        tenant: &TenantId,
        command: &Entry,
    ) -> Result<(AlertEvent, State), ErrorBody> {
        let held = self.tenants.get(tenant);
        let alerts = held.map(|held| &held.alerts);
        let by = Some(UserId::from(&*command.from)).filter(|user| !user.as_str().is_empty());
        if &*command.event == CREATE {
            let new: NewAlert = params(&command.data)?;
            let room = room_of(tenant, new.room.as_deref())?;
            if new.kind.is_empty() || new.title.is_empty() {
                return Err(refusal(Code::BAD_PARAMS, "type and title must not be empty"));
            }
            let id = AlertId::from(command.id.to_string());
            if alerts.is_some_and(|alerts| alerts.contains_key(&id)) {
                return Err(refusal(Code::CONFLICT, "an alert has this id"));
            }
            if held.is_some_and(|held| held.open() >= self.config.open) {
                return Err(refusal(Code::RATE, "too many alerts are open: resolve some"));
            }
            let alert = Alert {
                id,
                kind: new.kind,
                severity: new.severity,
                status: AlertStatus::Active,
                title: new.title,
                description: new.description,
                source: new.source,
                metadata: new.metadata,
                created_at: Some(command.time),
                created_by: by,
                updated_at: None,
                acknowledged_at: None,
                acknowledged_by: None,
                resolved_at: None,
                resolved_by: None,
                note: None,
            };
            return Ok((AlertEvent::Created(alert.clone()), State { room, alert }));
        }
        let action: AlertAction = params(&command.data)?;
        let State { room, mut alert } = alerts
            .and_then(|alerts| alerts.get(&action.alert_id))
            .cloned()
            .ok_or_else(|| refusal(Code::NOT_FOUND, "no such alert"))?;
        alert.updated_at = Some(command.time);
        alert.note = action.note.or(alert.note);
        let event = match (&*command.event, alert.status) {
            (ACKNOWLEDGE, AlertStatus::Active) => {
                alert.status = AlertStatus::Acknowledged;
                alert.acknowledged_at = Some(command.time);
                alert.acknowledged_by = by;
                AlertEvent::Acknowledged(alert.clone())
            }
            (RESOLVE, AlertStatus::Active | AlertStatus::Acknowledged) => {
                alert.status = AlertStatus::Resolved;
                alert.resolved_at = Some(command.time);
                alert.resolved_by = by;
                AlertEvent::Resolved(alert.clone())
            }
            (ACKNOWLEDGE, AlertStatus::Acknowledged) => {
                return Err(refusal(Code::CONFLICT, "the alert is acknowledged already"));
            }
            (ACKNOWLEDGE | RESOLVE, AlertStatus::Resolved) => {
                return Err(refusal(Code::CONFLICT, "the alert is resolved already"));
            }
            _ => return Err(refusal(Code::BAD_EVENT, "no command of alerts")),
        };
        Ok((event, State { room, alert }))
    }

    pub(super) fn handled(
        &self,
        tenant: &TenantId,
        command: &Entry,
        event: &AlertEvent,
        state: State,
    ) -> Handled {
        let made = event.encode().map_err(|error| refusal(Code::BAD_DATA, error.to_string()));
        let (name, data) = match made {
            Ok(made) => made,
            Err(error) => return Handled { answer: Err(error), effects: Vec::new() },
        };
        if &*command.event == CREATE && data.get().len() > CREATED_BYTES {
            let words = format!("the alert is larger than {CREATED_BYTES} bytes");
            let error = refusal(Code::TOO_LARGE, words);
            return Handled { answer: Err(error), effects: Vec::new() };
        }
        // What a back end raised may be larger; its event tells all of it.
        let answer = if data.get().len() > RESULT_BYTES {
            let brief = Alert { description: None, metadata: None, ..state.alert.clone() };
            Json::of(&brief).unwrap_or_else(|_| data.clone())
        } else {
            data.clone()
        };
        let told = NewEntry {
            room: RoomKey { tenant: tenant.clone(), room: state.room.clone() },
            id: derived_id(command, 2),
            from: Arc::clone(&command.from),
            event: name.into(),
            key: None,
            gone: false,
            data,
        };
        match self.state_entry(tenant, derived_id(command, 3), &state) {
            Some(kept) => Handled { answer: Ok(answer), effects: vec![told, kept] },
            // The state nests the alert one level deeper than its event does.
            None => {
                let error = refusal(Code::BAD_DATA, "metadata nests too deep");
                Handled { answer: Err(error), effects: Vec::new() }
            }
        }
    }

    pub(super) fn state_entry(
        &self,
        tenant: &TenantId,
        id: ItemId,
        state: &State,
    ) -> Option<NewEntry> {
        Some(NewEntry {
            room: self.key(tenant)?,
            id,
            from: "".into(),
            event: EVENT.into(),
            key: Some(state.alert.id.as_str().into()),
            gone: false,
            data: Json::of(state).ok()?,
        })
    }
}
