//! The application of one process: what it subscribed, what it was handed, what it is done with.

use crate::{
    hold,
    model::{Model, passes, rooms::Span},
    violation::Checked,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wardline::{
    machine::{ApiEvent, PresenceChange, SubId},
    protocol::{Address, Code, Cursor, Filter, Mark, frames::Event, frames::RoomMode},
};
use wardline_server::log::RoomKey;

/// One subscription.
#[derive(Debug)]
pub struct Sub {
    /// The room.
    pub room: Address,
    /// Its log, once the tenant is known.
    pub key: Option<RoomKey>,
    /// What it wants.
    pub filter: Filter,
    /// The name its position is stored under.
    pub durable: Option<String>,
    /// It has a snapshot hook.
    pub hook: bool,
    /// It appears in presence.
    pub present: bool,
    /// It receives presence.
    pub watch: bool,
    /// The application still wants it.
    pub wanted: bool,
    /// The subscribe was answered with a membership.
    pub joined: bool,
    /// The last `left`, until events come again.
    pub left: Option<Code>,
    /// How the room keeps its events.
    pub mode: RoomMode,
    /// Everything up to here was handed over, or told lost.
    position: Option<(u64, Option<Mark>)>,
    /// Handed over, not yet done.
    pub undone: VecDeque<(u64, Mark)>,
    /// Done up to here, in this life.
    pub done: u64,
    /// Everything it is done with.
    done_marks: BTreeSet<Mark>,
    /// The last it was done with in this life.
    pub done_at: Option<Cursor>,
    /// The start of this life: before it everything is done.
    begin: Option<u64>,
    /// `latest` rooms: last number of each key.
    keys: BTreeMap<String, (u64, Mark)>,
    /// Events handed over.
    pub handed: u64,
    /// Gaps told.
    pub gaps: u32,
    /// Where a durable position stood when the subscription began.
    stored: Option<Cursor>,
    members: Option<BTreeSet<String>>,
}

/// All subscriptions of one life of a process.
#[derive(Debug, Default)]
pub struct App {
    /// By id.
    pub subs: BTreeMap<SubId, Sub>,
}

impl App {
    /// A subscription begins.
    pub fn subscribe(&mut self, id: SubId, sub: Sub) {
        self.subs.insert(id, sub);
    }

    /// The tenant is known: each room has its log, and keeps it once it was joined.
    pub fn established(&mut self, key_of: impl Fn(&Address) -> Option<RoomKey>) {
        for sub in self.subs.values_mut().filter(|sub| sub.key.is_none() || !sub.joined) {
            sub.key = key_of(&sub.room);
        }
    }

    /// The subscribe was answered.
    ///
    /// # Errors
    /// It begins behind its stored position.
    pub fn joined(&mut self, id: SubId, cursor: Cursor, mode: RoomMode, model: &Model) -> Checked {
        let Some(sub) = self.subs.get_mut(&id) else { return Ok(()) };
        sub.joined = true;
        sub.left = None;
        sub.mode = mode;
        if sub.begin.is_none() {
            sub.begin = Some(cursor.seq);
            sub.done = cursor.seq;
            sub.done_marks.insert(cursor.mark);
        }
        if mode == RoomMode::Latest {
            return Ok(());
        }
        sub.reaches(id, cursor.seq, Some(cursor.mark), model)?;
        sub.position = Some((cursor.seq, Some(cursor.mark)));
        Ok(())
    }

    /// The application is told something about a subscription.
    ///
    /// # Errors
    /// Whatever the event breaks.
    pub fn event(&mut self, event: &ApiEvent, model: &Model) -> Checked {
        match event {
            ApiEvent::Event(id, event) => {
                let Some(sub) = self.subs.get_mut(id) else {
                    hold!(false, Membership, "{id:?} unknown gets {event:?}");
                    return Ok(());
                };
                hold!(sub.wanted, AfterClose, "{id:?} ended gets {event:?}");
                sub.event(*id, event, model)
            }
            ApiEvent::Gap { sub: id, from, to } => {
                let Some(sub) = self.subs.get_mut(id) else { return Ok(()) };
                sub.gap(*id, *from, *to, model)
            }
            ApiEvent::Left(id, code) => {
                if let Some(sub) = self.subs.get_mut(id) {
                    sub.left = Some(code.clone());
                }
                Ok(())
            }
            ApiEvent::Live(id) => {
                if let Some(sub) = self.subs.get_mut(id) {
                    sub.left = None;
                }
                Ok(())
            }
            ApiEvent::Presence(id, change) => match self.subs.get_mut(id) {
                Some(sub) => sub.presence(*id, change),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The hook's answer moves a subscription.
    pub fn restart_at(&mut self, id: SubId, cursor: Cursor) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.position = Some((cursor.seq, Some(cursor.mark)));
            sub.undone.clear();
            sub.done = cursor.seq;
            sub.done_marks.insert(cursor.mark);
        }
    }

    /// A durable position is about to be stored.
    ///
    /// # Errors
    /// It runs ahead of what the application is done with.
    pub fn storing(&self, name: &str, room: &Address, cursor: Cursor, model: &Model) -> Checked {
        let subs = self.subs.iter().filter(|(_, sub)| {
            let named = sub.durable.as_deref() == Some(name) && sub.room == *room;
            sub.wanted && sub.joined && named
        });
        for (id, sub) in subs {
            let (Some(key), RoomMode::Log) = (&sub.key, sub.mode) else { continue };
            if sub.done_marks.contains(&cursor.mark) {
                continue;
            }
            let undone = sub.undone.front().is_some_and(|(first, _)| cursor.seq >= *first);
            hold!(!undone, CursorAheadOfDone, "{id:?} stores {cursor:?}, done {}", sub.done);
            let Some(truth) = model.rooms.get(key) else { continue };
            let from = sub.position.map_or(sub.done, |(seq, _)| seq);
            if let Span::Follows(between) = truth.between(from, None, cursor.mark, &sub.filter) {
                let own = model.rooms.ever(key, cursor.mark);
                let ahead = !between.is_empty()
                    || (cursor.seq > from && own.is_some_and(|own| passes(&sub.filter, own)));
                hold!(!ahead, CursorAheadOfDone, "{id:?} stores {cursor:?}, handed {from}");
            }
        }
        Ok(())
    }
}

impl Sub {
    /// A subscription as the application asks for it; `stored` is its durable position.
    #[must_use]
    pub fn new(
        room: Address,
        filter: Filter,
        durable: Option<String>,
        hook: bool,
        stored: Option<Cursor>,
    ) -> Self {
        Self {
            room,
            key: None,
            filter,
            durable,
            hook,
            present: false,
            watch: false,
            wanted: true,
            joined: false,
            left: None,
            mode: RoomMode::Log,
            position: stored.map(|cursor| (cursor.seq, Some(cursor.mark))),
            undone: VecDeque::new(),
            done: stored.map_or(0, |cursor| cursor.seq),
            done_marks: stored.map(|cursor| cursor.mark).into_iter().collect(),
            done_at: None,
            begin: stored.map(|cursor| cursor.seq),
            keys: BTreeMap::new(),
            handed: 0,
            gaps: 0,
            stored,
            members: None,
        }
    }

    /// Another store than was thought: nothing was handed over yet.
    pub fn restore(&mut self, stored: Option<Cursor>) {
        if self.stored == stored || self.handed > 0 || self.gaps > 0 {
            return;
        }
        self.stored = stored;
        self.position = stored.map(|cursor| (cursor.seq, Some(cursor.mark)));
        self.begin = stored.map(|cursor| cursor.seq);
        self.done = stored.map_or(0, |cursor| cursor.seq);
        self.done_marks = stored.map(|cursor| cursor.mark).into_iter().collect();
    }

    /// Where it stands: all before was handed over or told lost.
    #[must_use]
    pub fn position(&self) -> Option<(u64, Option<Mark>)> {
        self.position
    }

    /// The application is done with everything up to an event. Returns false where that event is
    /// not under way any more: a gap came between.
    pub fn finish(&mut self, seq: u64, mark: Mark) -> bool {
        if self.mode == RoomMode::Latest {
            return true;
        }
        if !self.undone.contains(&(seq, mark)) {
            return false;
        }
        while let Some((first, mark)) = self.undone.front().copied().filter(|(s, _)| *s <= seq) {
            self.undone.pop_front();
            self.done_marks.insert(mark);
            self.done = first;
            self.done_at = Some(Cursor { seq: first, mark });
        }
        true
    }

    /// Last number handed over by key, in a `latest` room.
    #[must_use]
    pub fn keys(&self) -> &BTreeMap<String, (u64, Mark)> {
        &self.keys
    }

    /// Where its durable position stood at first.
    #[must_use]
    pub fn stored(&self) -> Option<Cursor> {
        self.stored
    }

    /// Everything between the position and `seq` is outside the view.
    fn reaches(&self, id: SubId, seq: u64, mark: Option<Mark>, model: &Model) -> Checked {
        let (Some((from, from_mark)), Some(key), Some(mark)) = (self.position, &self.key, mark)
        else {
            return Ok(());
        };
        let Some(room) = model.rooms.get(key) else { return Ok(()) };
        let span = room.between(from, from_mark, mark, &self.filter);
        hold!(
            span == Span::Follows(Vec::new()),
            SilentGap,
            "{id:?} of {key:?} goes from {from} to {seq}: {span:?}"
        );
        Ok(())
    }

    fn event(&mut self, id: SubId, event: &Event, model: &Model) -> Checked {
        let (Some(seq), Some(mark), Some(key)) = (event.seq, event.mark, self.key.clone()) else {
            return Ok(());
        };
        let Some(entry) = model.rooms.ever(&key, mark) else {
            hold!(false, Invention, "{id:?} of {key:?} is handed {event:?}");
            return Ok(());
        };
        let same = entry.seq == seq
            && Some(entry.id) == event.id
            && *entry.event == *event.event
            && *entry.from == *event.from
            && entry.data == event.data;
        hold!(same, Invention, "{id:?} is handed {event:?}, the log has {entry:?}");
        hold!(
            passes(&self.filter, entry),
            Invention,
            "{id:?} is handed {event:?} against its filter"
        );
        self.handed += 1;
        self.left = None;
        if let (RoomMode::Latest, Some(name)) = (self.mode, &event.key) {
            let before = self.keys.insert(name.clone(), (seq, mark));
            // A lower number follows only where the value before is lost.
            let lost = model.rooms.get(&key).is_some_and(|room| room.tails_lost > 0);
            let newer = before.is_none_or(|(last, known)| seq > last || lost && mark != known);
            hold!(newer, Double, "{id:?}: key {name} {seq} behind {before:?}");
            return Ok(());
        }
        if let Some((last, _)) = self.position {
            hold!(seq > last, Double, "{id:?} of {key:?} is handed {seq} behind {last}");
        }
        self.reaches(id, seq, Some(mark), model)?;
        self.position = Some((seq, Some(mark)));
        if self.begin.is_none() {
            self.begin = Some(seq - 1);
        }
        self.undone.push_back((seq, mark));
        Ok(())
    }

    fn gap(&mut self, id: SubId, from: Cursor, to: Option<Cursor>, model: &Model) -> Checked {
        self.gaps += 1;
        if let Some(key) = self.key.clone()
            && self.mode == RoomMode::Log
        {
            self.reaches(id, from.seq, Some(from.mark), model)?;
            if let Some(room) = model.rooms.get(&key) {
                let there = room.stands(from) && from.seq >= room.first();
                hold!(
                    !there || room.tails_lost > 0,
                    FalseGap,
                    "{id:?} of {key:?}: gap from {from:?}, which stands"
                );
            }
        }
        self.position = to.map(|cursor| (cursor.seq, Some(cursor.mark)));
        // What was handed over before the gap is of the past: the application lets it go.
        self.done_marks.extend(self.undone.drain(..).map(|(_, mark)| mark));
        if self.mode == RoomMode::Latest {
            self.keys.clear();
        }
        Ok(())
    }

    fn presence(&mut self, id: SubId, change: &PresenceChange) -> Checked {
        match change {
            PresenceChange::Snapshot(members) => {
                let mut names = BTreeSet::new();
                for member in members {
                    let fresh = names.insert(member.user.as_str().to_owned());
                    hold!(fresh, PresenceFlap, "{id:?}: {} twice", member.user);
                }
                self.members = Some(names);
            }
            PresenceChange::Joined(member) => {
                if let Some(members) = &mut self.members {
                    let fresh = members.insert(member.user.as_str().to_owned());
                    hold!(fresh, PresenceFlap, "{id:?}: {} joined while there", member.user);
                }
            }
            PresenceChange::Updated(_) => {}
            PresenceChange::Left(user) => {
                if let Some(members) = &mut self.members {
                    let was = members.remove(user.as_str());
                    hold!(was, PresenceFlap, "{id:?}: {user} left, was not there");
                }
            }
        }
        Ok(())
    }
}
