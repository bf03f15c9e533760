//! What the logs tell becomes the groups' state, and whose turn it is is fed (P-S8).

use super::*;

impl Commands {
    pub(super) fn take(&mut self, room: &RoomKey, folded: Vec<Folded>, now: Now) {
        if folded.is_empty() {
            return;
        }
        let key = self.by_answers.get(room).cloned().unwrap_or_else(|| room.clone());
        let of_answers = key != *room;
        let Some(group) = self.groups.get_mut(&key) else { return };
        for change in folded {
            match change {
                Folded::Reset => {
                    // One log is another than it was: what was made of both is made anew.
                    let other = if of_answers { key.clone() } else { group.answers.clone() };
                    group.reset();
                    self.ledger.restart(&other);
                }
                Folded::Entry(entry) if of_answers && &*entry.event == TTL => {
                    let seq = group.note(&entry, &self.config, now);
                    if let Some(seq) = seq.filter(|_| group.ready) {
                        arm(&mut self.deadlines, &self.config, &key, group, seq);
                    }
                }
                Folded::Entry(entry) if of_answers => {
                    let ready = group.ready;
                    if let Some((user, result)) = group.answer(&entry, &self.config, now)
                        && ready
                    {
                        let user = UserId::from(&*user);
                        self.out.push_back(Output::Result(key.tenant.clone(), user, result));
                    }
                }
                Folded::Entry(entry) => {
                    group.command(&entry, &self.config, now);
                    if group.ready {
                        arm(&mut self.deadlines, &self.config, &key, group, entry.seq);
                    }
                }
                Folded::Live => {}
            }
        }
        self.pump(&key, now);
    }

    /// Answers joins and feeds whose turn it is.
    pub(super) fn pump(&mut self, key: &RoomKey, now: Now) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let live = self.ledger.is_live(key) && self.ledger.is_live(&group.answers);
        let Some(head) = self.ledger.head(key).filter(|_| live) else { return };
        if !group.ready {
            group.ready = true;
            for seq in group.pending.keys().copied().collect::<Vec<_>>() {
                arm(&mut self.deadlines, &self.config, key, group, seq);
            }
            self.drop_lost(key, head);
            self.tell_results(&key.tenant);
        }
        self.answer_joins(key, head);
        let Some(group) = self.groups.get_mut(key) else { return };
        let Some(handler) = group.active() else { return };
        let has = |p: &&group::Pending| p.with == Some(handler);
        let mut free = group.spec.window.saturating_sub(group.pending.values().filter(has).count());
        for (seq, pending) in &mut group.pending {
            if free == 0 {
                break;
            }
            let overdue = pending.deadline(self.config.timeout) <= now.mono;
            if pending.answering || overdue || pending.with == Some(handler) {
                continue;
            }
            pending.take(handler, now.mono);
            let deadline = pending.deadline(self.config.timeout);
            self.deadlines.insert((deadline, key.clone(), *seq));
            free -= 1;
            let entry = Arc::clone(&pending.entry);
            match handler {
                Handler::InProcess => self.out.push_back(Output::Handle(key.clone(), entry)),
                Handler::Conn(conn) => {
                    let member = group.members.iter_mut().find(|member| member.conn == conn);
                    let prev = member.map(|member| std::mem::replace(&mut member.last, *seq));
                    let frame = event(&key.room, &entry, prev).into();
                    self.out.push_back(Output::Frame(conn, frame));
                }
            }
        }
    }

    pub(super) fn answer_joins(&mut self, key: &RoomKey, head: Cursor) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let cursor = position(group, head);
        let mut joined = false;
        for member in &mut group.members {
            let Some(id) = member.join.take() else { continue };
            joined = true;
            // A member that holds on to a position of its own must meet no hole behind it.
            member.last = member.last.min(cursor.seq);
            let room = key.room.as_str().to_owned();
            let Cursor { seq, mark } = cursor;
            let live = Live { room: room.clone(), seq, mark };
            let answer =
                Joined { id, room, cursor, head: cursor, mode: RoomMode::Log, full: false };
            self.out.push_back(Output::Frame(member.conn, answer.into()));
            self.out.push_back(Output::Frame(member.conn, live.into()));
        }
        if joined && !group.registered {
            group.registered = true;
            let id = ItemId(self.rng.u128(..));
            let entry = internal(&group.answers, id, REGISTERED, Json::null());
            self.ledger.append(&key.tenant, id, vec![entry]);
        }
    }

    /// Members that joined before the log became another have to join again (P-R6).
    pub(super) fn drop_lost(&mut self, key: &RoomKey, head: Cursor) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let first = position(group, head);
        let lost: Vec<_> =
            group.members.iter().filter(|m| m.join.is_none()).map(|m| m.conn).collect();
        group.members.retain(|member| member.join.is_some());
        for conn in lost {
            let frame = Lost { id: None, room: key.room.as_str().to_owned(), first, head };
            self.out.push_back(Output::Frame(conn, frame.into()));
            if let Some(rooms) = self.conns.get_mut(&conn) {
                rooms.remove(key);
                if rooms.is_empty() {
                    self.conns.remove(&conn);
                }
            }
        }
    }

    pub(super) fn tell_results(&mut self, id: &TenantId) {
        let Some(tenant) = self.tenants.get_mut(id) else { return };
        let groups: Vec<_> = tenant.groups.iter().filter_map(|key| self.groups.get(key)).collect();
        if !groups.iter().all(|group| group.ready) {
            return;
        }
        for (conn, call, user, ids) in tenant.asked.drain(..) {
            let of = |id: &ItemId| groups.iter().find_map(|g| g.results.of(user.as_str(), *id));
            let found = ids.iter().filter_map(of).cloned().collect();
            self.out.push_back(Output::Results(conn, call, found));
        }
    }
}

pub(super) fn arm(
    deadlines: &mut BTreeSet<(Instant, RoomKey, u64)>,
    config: &Config,
    key: &RoomKey,
    group: &Group,
    seq: u64,
) {
    if let Some(pending) = group.pending.get(&seq) {
        deadlines.insert((pending.deadline(config.timeout), key.clone(), seq));
    }
}

/// All below is answered.
pub(super) fn position(group: &Group, head: Cursor) -> Cursor {
    group.pending.values().next().map_or(head, |first| first.entry.before())
}

pub(super) fn internal(room: &RoomKey, id: ItemId, event: &str, data: Json) -> NewEntry {
    NewEntry {
        room: room.clone(),
        id,
        from: "".into(),
        event: event.into(),
        key: None,
        gone: false,
        data,
    }
}

pub(super) fn event(room: &Address, entry: &Entry, prev: Option<u64>) -> Event {
    Event {
        room: room.as_str().to_owned(),
        seq: Some(entry.seq),
        prev: prev.filter(|prev| prev + 1 != entry.seq),
        mark: Some(entry.mark),
        id: Some(entry.id),
        time: entry.time,
        from: (*entry.from).to_owned(),
        event: (*entry.event).to_owned(),
        key: None,
        gone: false,
        data: entry.data.clone(),
    }
}
