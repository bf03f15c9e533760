//! When a room's watchers are told, and what: pages of a snapshot, then changes in batches (P-P1).

use super::*;

impl Presence {
    /// Names the moment to tell the room's changes: at once after quiet, else a batch after the last.
    pub(super) fn schedule(&mut self, key: &RoomKey, now: Instant) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if room.tell_at.is_none() {
            let at = room.told_at.map_or(now, |told| (told + self.config.batch).max(now));
            room.tell_at = Some(at);
            self.deadlines.insert((at, key.clone(), None));
        }
    }

    pub(super) fn settle(&mut self, now: Instant) {
        if let Partial::For(span) = self.partial {
            self.partial = Partial::Until(now + span);
        }
        while let Some((at, key, user)) = self.deadlines.pop_first() {
            if at > now {
                self.deadlines.insert((at, key, user));
                return;
            }
            match user {
                Some(user) => self.remove_due(&key, user, now),
                None => self.tell(&key, now),
            }
        }
    }

    pub(super) fn remove_due(&mut self, key: &RoomKey, user: UserId, now: Instant) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if let Some(member) = room.members.remove(&user) {
            room.dirty.entry(user).or_insert(Some(member.shown));
            self.schedule(key, now);
        }
    }

    pub(super) fn tell(&mut self, key: &RoomKey, now: Instant) {
        let partial = self.is_partial();
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.tell_at = None;
        let changes = room.take_changes();
        if !changes.is_empty() {
            room.version += 1;
        }
        let fresh = mem::take(&mut room.fresh);
        let old: Vec<_> = room.watchers.difference(&fresh).copied().collect();
        if !fresh.is_empty() || (!changes.is_empty() && !old.is_empty()) {
            room.told_at = Some(now);
        }
        let address = key.room.as_str();
        let version = room.version;
        if !changes.is_empty() && !old.is_empty() {
            let frame = frames::Presence {
                room: address.to_owned(),
                version,
                changes,
                ..Default::default()
            };
            self.out.push_back(Told { to: Arc::new(old), frame });
        }
        if !fresh.is_empty() {
            let to = Arc::new(fresh.into_iter().collect::<Vec<_>>());
            let mut pages = room.pages(self.config.page.max(1)).into_iter().peekable();
            while let Some(members) = pages.next() {
                let frame = frames::Presence {
                    room: address.to_owned(),
                    version,
                    members: Some(members),
                    more: pages.peek().is_some(),
                    partial,
                    changes: Vec::new(),
                };
                self.out.push_back(Told { to: Arc::clone(&to), frame });
            }
        }
        self.forget_room(key);
    }
}

impl Room {
    pub(super) fn snapshot(&self) -> impl Iterator<Item = Member> + '_ {
        self.members.iter().map(|(user, present)| Member {
            user: user.clone(),
            status: present.shown.status,
            meta: present.shown.meta.clone(),
        })
    }

    /// At least one page, the last of which may be short.
    pub(super) fn pages(&self, most: usize) -> Vec<Vec<Member>> {
        let mut pages = vec![Vec::new()];
        let mut bytes = 0;
        for member in self.snapshot() {
            let size =
                member.user.as_str().len() + member.meta.as_ref().map_or(0, |m| m.get().len());
            if let Some(page) = pages.last_mut().filter(|page: &&mut Vec<Member>| {
                page.is_empty() || (page.len() < most && bytes + size <= PAGE_BYTES)
            }) {
                bytes += size;
                page.push(member);
            } else {
                bytes = size;
                pages.push(vec![member]);
            }
        }
        pages
    }

    /// The differences between what was told and what is; what changed there and back is none.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let changed = |(user, told): (UserId, Option<Shown>)| {
            let is = self.members.get(&user).map(|member| &member.shown);
            match (told, is) {
                (Some(_), None) => Some(Change { user, status: None, meta: None, gone: true }),
                (None, Some(is)) => Some(Change {
                    user,
                    status: Some(is.status),
                    meta: is.meta.clone(),
                    gone: false,
                }),
                (Some(told), Some(is)) if told != *is => Some(Change {
                    user,
                    status: Some(is.status),
                    meta: is.meta.clone().filter(|_| told.meta != is.meta),
                    gone: false,
                }),
                _ => None,
            }
        };
        mem::take(&mut self.dirty).into_iter().filter_map(changed).collect()
    }
}
