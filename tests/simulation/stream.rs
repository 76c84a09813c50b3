//! What a client makes of the events and answers that it gets, in stream order.
//!
//! While it is not behind, every answer says up to which event it speaks, so that a missing,
//! doubled, foreign or misplaced event is found at the first frame that shows it. While it is
//! behind, answers overtake events. What waits was decided when it was queued, so an event that
//! comes must be admitted by the person that the answers before it have made; one that is missing
//! was passed over somewhere between the events around it, so some person of that time did not
//! admit it.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::client::{Awaited, Client, Event, Expect};
use crate::log::Log;
use crate::oracle::{Fact, Person};

/// What a client has asked for again and waits for.
struct Replay {
    /// Up to here it came, or was not due.
    upto: u64,
    until: u64,
    namespaces: Vec<&'static str>,
    /// Of the events that need no subscription: up to where they must come with it, and may.
    unasked: (u64, u64),
    sent: u64,
    /// Who the client was since the last event of it, apart from who it is.
    persons: Vec<Person>,
}

impl Replay {
    fn brings(&self, position: u64, fact: &Fact, unasked_until: u64) -> bool {
        if fact.is_unasked() {
            position <= unasked_until
        } else {
            self.namespaces.contains(&&*fact.namespace)
        }
    }

    /// None of its events up to `position` that did not come was due.
    fn skip_to(&mut self, position: u64, person: &Person, log: &Log, name: &str) {
        for missed in self.upto + 1..=position {
            let fact = log.at(missed);
            let due = self.brings(missed, fact, self.unasked.0)
                && self.persons.iter().chain([person]).all(|p| p.is_due(fact));
            assert!(!due, "{name}: {missed} {fact:?} is missing in a replay for {person:?}");
        }
        self.upto = position;
        self.persons.clear();
    }
}

/// How far a client is behind.
#[derive(Default)]
pub struct Stream {
    /// The node may not have brought it everything up to its answers.
    behind: bool,
    replays: VecDeque<Replay>,
    /// Who it was since the last event outside of replays, apart from who it is.
    persons: Vec<Person>,
    /// Up to where events of a namespace come by a replay or not at all.
    floors: BTreeMap<&'static str, u64>,
    /// After this position, everything that needs no subscription was brought to it or will be;
    /// known from and to.
    reach: (u64, u64),
    /// How its first subscription with a position was answered: with that position, or anew from
    /// another one.
    pub resumed: Option<Result<u64, u64>>,
    /// Events since then.
    pub got: Vec<u64>,
}

impl Client {
    pub fn hear_event(&mut self, event: &Event<'_>, log: &Log) {
        let position: u64 = event.id.parse().expect("a position");
        assert!(position <= log.last(), "an event that was not published");
        let fact = log.at(position);
        let name = &self.name;
        let person = self.person.as_ref().unwrap_or_else(|| panic!("{name}: event before auth"));
        assert!(person.is_due(fact), "{name}: {position} {fact:?} is not for {person:?}");
        assert_eq!((&*fact.event, &*fact.namespace), (event.event, event.namespace));
        if let Some(replay) = self.stream.replays.front_mut() {
            let (upto, until) = (replay.upto, replay.until);
            assert!(upto < position && position <= until, "{name}: {position} in ({upto}, {until}]");
            assert!(replay.brings(position, fact, replay.unasked.1), "{name}: {position} {fact:?} replayed");
            replay.skip_to(position - 1, person, log, name);
            replay.upto = position;
            replay.sent += 1;
        } else {
            assert!(position > self.upto, "{name}: event {position} again or late, at {}", self.upto);
            assert!(self.is_above_floor(position, fact), "{name}: {position} {fact:?} is too old");
            self.skip_to(position - 1, log, "an event");
            self.upto = position;
        }
        if self.stream.resumed.is_some() {
            self.stream.got.push(position);
        }
        self.events += 1;
        self.old_events += u64::from(position < log.first());
    }

    fn is_above_floor(&self, position: u64, fact: &Fact) -> bool {
        let floor = self.stream.floors.get(&*fact.namespace).copied().unwrap_or_default();
        fact.is_unasked() || position > floor
    }

    /// None of the events up to `position` that it has not got was due to it, outside of replays.
    pub fn skip_to(&mut self, position: u64, log: &Log, what: &str) {
        for missed in self.upto + 1..=position {
            let Some(person) = &self.person else { continue };
            let fact = log.at(missed);
            let due = self.is_above_floor(missed, fact)
                && self.stream.persons.iter().chain([person]).all(|p| p.is_due(fact));
            assert!(!due, "{}: {what} came, but {missed} {fact:?} is missing for {person:?}", self.name);
        }
        self.upto = self.upto.max(position);
        self.stream.persons.clear();
    }

    /// The node has nothing more to do for it, and nothing of its waits.
    pub fn check_level(&mut self, log: &Log) {
        assert!(self.stream.replays.is_empty(), "{}: a replay never ends", self.name);
        self.skip_to(log.last(), log, "the end of a turn");
        self.stream.behind = false;
    }

    pub fn hear_caught_up(&mut self, data: &Value, log: &Log) {
        let name = &self.name;
        let mut replay = self.stream.replays.pop_front().unwrap_or_else(|| panic!("{name}: caught up?"));
        let person = self.person.as_ref().expect("who subscribes has authenticated");
        replay.skip_to(replay.until, person, log, name);
        assert_eq!(*data, json!({"namespaces": replay.namespaces, "replayed": replay.sent}), "{name}");
    }

    /// One that is closed as too slow although it takes everything was left behind by the window.
    pub fn check_overrun(&self, code: u16, log: &Log) {
        if code == 4103 && self.only_overrun {
            // What it got of one replay may be forfeited when the next one cannot begin, and the
            // answers too.
            let under_way = self.stream.replays.iter().map(|replay| replay.upto);
            let unanswered = self.awaiting.iter().filter_map(|awaited| match awaited.expect {
                Expect::Subscribed { recovery: Some(Ok(after)), .. } => Some(after),
                _ => None,
            });
            let at = under_way.chain(unanswered).fold(self.upto, u64::min);
            assert!(
                log.may_lose(at),
                "{}: too slow at {at}, and the window begins at {}, the log at {}, without {:?}",
                self.name,
                log.first(),
                log.archive_first,
                log.lost
            );
        }
    }

    pub fn hear_answer(&mut self, id: u64, kind: &str, message: &Value, log: &Log) {
        let code = &message["data"]["code"];
        if kind == "error" && (code == "auth_failed" || code == "token_expired") {
            // What waited before it may be forfeited.
            while self.awaiting.front().is_some_and(|a| a.id != id) {
                self.awaiting.pop_front();
            }
        }
        let awaited = self.awaiting.pop_front();
        let awaited = awaited.unwrap_or_else(|| panic!("{}: not asked for {message}", self.name));
        let Awaited { id: asked, position, expect, person } = awaited;
        assert_eq!(asked, id, "{}: answers come in order: {message}", self.name);
        assert!(self.upto <= position, "{}: {message} after later events", self.name);
        if !self.stream.behind && !matches!(expect, Expect::Error("auth_failed" | "token_expired")) {
            self.skip_to(position, log, "an answer");
        }
        self.check_answer(position, &expect, person.as_ref(), kind, message);
        self.note_person(person.as_ref());
        match expect {
            Expect::Welcome => self.hear_welcome(position, person.as_ref()),
            Expect::Subscribed { namespaces, recovery } => {
                self.hear_subscribed(position, namespaces, recovery)
            }
            _ => {}
        }
        self.person = person;
    }

    fn check_answer(
        &self,
        position: u64,
        expect: &Expect,
        person: Option<&Person>,
        kind: &str,
        message: &Value,
    ) {
        let data = &message["data"];
        match expect {
            Expect::Welcome => {
                assert_eq!(data["message"], "Authentication successful", "{}: {message}", self.name);
                let person = person.expect("a welcome has a person");
                assert_eq!(data["role"], person.role);
                assert_eq!(data["userId"], *person.user);
                assert_eq!(data["expiresAt"], person.expires_at);
                assert_eq!(data["lastEventId"], self.last_event_id(position, data));
            }
            Expect::Kind(expected) => assert_eq!(kind, *expected, "{}: {message}", self.name),
            Expect::Subscribed { namespaces, recovery } => {
                assert_eq!(kind, "subscribed", "{}: {message}", self.name);
                let mut due = json!({
                    "namespaces": namespaces, "epoch": "epoch", "lastEventId": self.last_event_id(position, data),
                });
                if let Some(recovery) = recovery {
                    due["recovered"] = json!(recovery.is_ok());
                }
                if let Some(Err(reason)) = recovery {
                    due["reason"] = json!(reason);
                }
                assert_eq!(*data, due, "{}", self.name);
            }
            Expect::Error(code) => {
                assert_eq!((kind, &data["code"]), ("error", &json!(code)), "{}", self.name);
            }
        }
    }

    /// What an answer at `position` must say: that position; to one who is behind, as little as
    /// it has been sent.
    fn last_event_id(&self, position: u64, data: &Value) -> String {
        let said = data["lastEventId"].as_str().and_then(|id| id.parse::<u64>().ok());
        let less = said.filter(|said| self.stream.behind && *said <= position);
        less.unwrap_or(position).to_string()
    }

    /// While it is behind, what is missing may have been passed over as the one it was.
    fn note_person(&mut self, new: Option<&Person>) {
        let Some(old) = self.person.as_ref().filter(|old| new != Some(*old)) else { return };
        let stream = &mut self.stream;
        if let Some(replay) = stream.replays.front_mut() {
            replay.persons.push(old.clone());
        }
        // Also under a replay: what that does not bring was passed over before it, or is behind it.
        if stream.behind {
            stream.persons.push(old.clone());
        }
    }

    fn hear_welcome(&mut self, position: u64, new: Option<&Person>) {
        let is_same =
            |old: &Person| new.is_some_and(|new| (old.role, &old.session) == (new.role, &new.session));
        if !self.person.as_ref().is_some_and(is_same) {
            let from = if self.stream.behind { self.upto } else { position };
            self.stream.reach = (from, position);
        }
    }

    fn hear_subscribed(
        &mut self,
        position: u64,
        namespaces: Vec<&'static str>,
        recovery: Option<Result<u64, &'static str>>,
    ) {
        let stream = &mut self.stream;
        if stream.resumed.is_none() && recovery.is_some() {
            stream.resumed = recovery.map(|r| r.map_err(|_| position));
        }
        let Some(Ok(after)) = recovery else {
            // Of what is new, nothing older than the answer comes.
            let asked = self.person.as_ref().map(|person| &person.asked);
            let newly = namespaces.iter().filter(|n| asked.is_none_or(|asked| !asked.contains_key(**n)));
            return stream.floors.extend(newly.map(|n| (*n, position)));
        };
        stream.floors.extend(namespaces.iter().map(|n| (*n, position)));
        stream.behind |= after < position;
        let (from, to) = stream.reach;
        stream.reach = (from.min(after), to.min(after));
        stream.replays.push_back(Replay {
            upto: after,
            until: position,
            namespaces,
            unasked: (from.min(position), to.min(position)),
            sent: 0,
            persons: Vec::new(),
        });
    }
}
