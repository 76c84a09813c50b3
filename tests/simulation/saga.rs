//! One user over many connections: drops, comes back, resumes from the last event it saw. Over all
//! of it, every event that is for it comes once.

use serde_json::json;

use crate::client::{Manner, Say, Since};
use crate::oracle::{KEYS, NAMESPACES, Person, ROLES, SESSIONS, USERS, cell};
use crate::rng::Rng;
use crate::world::World;

pub struct Saga {
    person: Person,
    keys: Option<Vec<&'static str>>,
    namespaces: Vec<&'static str>,
    /// Index of its client.
    client: Option<usize>,
    /// The chain: it began here, these events came, the last position seen.
    start: Option<u64>,
    got: Vec<u64>,
    position: u64,
}

impl Saga {
    pub fn new(rng: &mut Rng) -> Saga {
        let role = ROLES[rng.below(ROLES.len())];
        let mut namespaces = rng.some_of(&NAMESPACES, 6);
        namespaces.retain(|n| cell(role, n) != "-");
        if namespaces.is_empty() {
            namespaces.push("products");
        }
        let keys = rng.percent(30).then(|| rng.some_of(&KEYS, 4));
        let wanted = keys.as_ref().map(|keys| keys.iter().map(|k| (*k).to_owned()).collect());
        let person = Person {
            user: rng.pick(&USERS).into(),
            session: rng.pick(&SESSIONS).into(),
            role,
            expires_at: 0,
            asked: namespaces.iter().map(|n| ((*n).to_owned(), wanted.clone())).collect(),
        };
        Saga { person, keys, namespaces, client: None, start: None, got: Vec::new(), position: 0 }
    }
}

impl World {
    pub fn go_on_with_saga(&mut self) {
        let at = self.rng.below(self.sagas.len());
        match self.sagas[at].client {
            Some(client) if self.clients[client].slot.is_some() => {
                if self.rng.percent(60) {
                    self.leave(client);
                }
            }
            _ => {
                self.end_chapter(at);
                self.begin_chapter(at);
            }
        }
    }

    fn begin_chapter(&mut self, at: usize) {
        let manner = if self.rng.percent(50) { Manner::Prompt } else { Manner::Sluggish };
        let client = self.connect_as(manner);
        let saga = &mut self.sagas[at];
        saga.client = Some(client);
        let (namespaces, keys) = (saga.namespaces.clone(), saga.keys.clone());
        let id = match saga.start {
            Some(_) => saga.position.to_string(),
            None => "none yet".to_owned(),
        };
        let person = saga.person.clone();
        self.clients[client].is_saga = true;
        let user = USERS.iter().find(|u| **u == person.user).copied().expect("a user of the simulation");
        let session = SESSIONS.iter().find(|s| **s == person.session).copied().expect("one of its sessions");
        let seconds = self.now.wall / 1000 + 7_300;
        self.auth_as(client, user, session, person.role, seconds, false);
        let mut data = json!({"namespaces": namespaces, "since": {"epoch": "epoch", "id": id}});
        if let Some(keys) = &keys {
            data["keys"] = json!(keys);
        }
        let say = Say::Subscribe { namespaces, keys, since: Some(Since::At(id)) };
        self.clients[client].command(&mut self.rng, "subscribe", Some(data), say);
    }

    /// Adds what the saga's last connection brought to its chain, and checks it.
    pub fn end_chapter(&mut self, at: usize) {
        let saga = &mut self.sagas[at];
        let Some(client) = saga.client.take() else { return };
        let stream = &self.clients[client].stream;
        match stream.resumed {
            None => return,
            Some(Ok(after)) => assert_eq!((saga.start.is_some(), after), (true, saga.position)),
            Some(Err(position)) => {
                saga.start = Some(position);
                saga.position = position;
                saga.got.clear();
            }
        }
        saga.got.extend(&stream.got);
        let start = saga.start.expect("set above");
        saga.position = stream.got.last().copied().unwrap_or(saga.position);
        let is_due = |position: &u64| saga.person.is_due(self.log.at(*position));
        let due: Vec<u64> = (start + 1..=saga.position).filter(is_due).collect();
        assert_eq!(saga.got, due, "{}: a chain of {:?}", self.clients[client].name, saga.person);
        self.saga_events += stream.got.len() as u64;
    }
}
