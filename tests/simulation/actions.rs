//! What happens to a shard: clients come, speak, err and go; services post; operators kick.

use std::net::{IpAddr, Ipv4Addr};

use omnicast::policy::{Claims, mint_hs256};
use omnicast::shard::mail::{Order, Who};
use serde_json::json;

use crate::client::{Client, Manner, Say, Since};
use crate::net::Wire;
use crate::oracle::{KEYS, NAMESPACES, ROLES, SESSIONS, USERS, invent};
use crate::world::{ADDRESSES, MESSAGES_PER_MINUTE, SECRET, World};

/// What a client offers that would have its events compressed.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

impl World {
    pub fn act(&mut self) {
        match self.rng.weighted(&[25, 40, 70, 3, 3, 4, 2, 10, 1, 2, 2, 12, 2, 2]) {
            0 => self.connect_some(),
            1 => self.someone_speaks(),
            2 => self.post_some(),
            3 => self.someone_leaves(),
            4 => self.someone_offends(),
            5 => self.kick(),
            6 => self.storm_out(),
            7 => self.someone_pauses(),
            8 => self.flood(),
            9 => self.count(),
            10 => self.reuse_token(),
            11 => self.go_on_with_saga(),
            12 => self.forget_some(),
            _ if self.drained_at.is_none() && self.rng.percent(2) => self.drain(),
            _ => {}
        }
    }

    fn connect_some(&mut self) {
        let here = self.core.len();
        let n = match self.rng.below(20) {
            0 => self.population,
            _ if here < self.population => 1 + self.rng.below(3),
            _ => 0,
        };
        for _ in 0..n.min((self.population * 2).saturating_sub(here)) {
            self.connect();
        }
    }

    fn connect(&mut self) {
        let manner = [Manner::Prompt, Manner::Sluggish, Manner::Silent, Manner::Mute, Manner::Plain]
            [self.rng.weighted(&[60, 30, 4, 2, 4])];
        let at = self.connect_as(manner);
        if matches!(manner, Manner::Prompt | Manner::Sluggish | Manner::Silent) {
            if self.rng.percent(10) {
                self.subscribe(at); // Too early: not authenticated.
            }
            self.auth(at, None);
            for _ in 0..1 + self.rng.below(3) {
                self.subscribe(at);
            }
        }
    }

    /// A new client; returns its index.
    pub fn connect_as(&mut self, manner: Manner) -> usize {
        assert!(self.admission.take_socket());
        let peer = IpAddr::from(Ipv4Addr::new(192, 0, 2, self.rng.below(usize::from(ADDRESSES)) as u8));
        let id = self.core.welcome(peer, self.now);
        self.reader.note_begin(id.slot);
        let mut client = Client::new(format!("0-{}-{} {manner:?}", id.slot, id.generation), manner);
        client.slot = Some(id.slot);
        client.last_heard = self.now.mono;
        let sluggish = manner == Manner::Sluggish;
        self.net.put(
            id.slot,
            Wire {
                client: self.clients.len(),
                capacity: if sluggish { 200 + self.rng.below(6_000) } else { usize::MAX },
                unread: 0,
                moody: sluggish,
                owes_edge: false,
                broken: false,
                shut: false,
                fresh: Vec::new(),
            },
        );
        if manner == Manner::Plain {
            let text =
                ["GET /api/ws/info HTTP/1.1\r\nHost: x\r\n\r\n", "GET /api/ws HTTP/1.1\r\nHo", "?\r\n\r\n"];
            client.request(self.rng.pick(&text), Say::Noise);
        } else {
            const UPGRADE: &str = "GET /api/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            // Every third: one more choice on the tape would give all seeds another meaning.
            let offer = if self.clients.len().is_multiple_of(3) { OFFER } else { "" };
            client.request(&format!("{UPGRADE}{offer}\r\n"), Say::Upgrade);
        }
        self.clients.push(client);
        self.clients.len() - 1
    }

    fn auth(&mut self, at: usize, user: Option<&'static str>) {
        let user = user.unwrap_or(USERS[self.rng.below(USERS.len())]);
        let (session, role) = (self.rng.pick(&SESSIONS), self.rng.pick(&ROLES));
        let seconds = match self.rng.below(40) {
            0 => self.now.wall / 1000 - 5,
            1..8 => self.now.wall / 1000 + self.rng.within(1, 70),
            _ => self.now.wall / 1000 + 7_300,
        };
        let forged = self.rng.percent(1);
        self.auth_as(at, user, session, role, seconds, forged);
    }

    /// Says who the client is, until so many seconds of the epoch.
    pub fn auth_as(
        &mut self,
        at: usize,
        user: &'static str,
        session: &'static str,
        role: &'static str,
        seconds: u64,
        forged: bool,
    ) {
        let claims =
            Claims { sub: user.into(), role: role.into(), sid: session.into(), exp: seconds, nbf: None };
        let secret = if forged { "another secret, which is long enough too" } else { SECRET };
        let token = mint_hs256(secret, &claims);
        let say = Say::Auth { user, session, role, exp_ms: seconds * 1000, forged };
        self.clients[at].command(&mut self.rng, "auth", Some(json!({"token": token})), say);
    }

    fn subscribe(&mut self, at: usize) {
        let mut namespaces = self.rng.some_of(&NAMESPACES, 2);
        if self.rng.percent(60) {
            // Something that most may see.
            namespaces = vec![["products", "orders"][self.rng.below(2)]];
        }
        if self.rng.percent(2) {
            namespaces.push("nope");
        }
        let keys = self.rng.percent(30).then(|| self.rng.some_of(&KEYS, 3));
        let mut data = json!({"namespaces": namespaces});
        if let Some(keys) = &keys {
            data["keys"] = json!(keys);
        }
        let since = self.rng.percent(45).then(|| self.since(at));
        match &since {
            Some(Since::At(id)) => data["since"] = json!({"epoch": "epoch", "id": id}),
            Some(Since::Elsewhere(id)) => data["since"] = json!({"epoch": "before", "id": id}),
            Some(Since::Mistyped) => data["since"] = json!({"epoch": "epoch", "id": 5}),
            None => {}
        }
        let say = Say::Subscribe { namespaces, keys, since };
        self.clients[at].command(&mut self.rng, "subscribe", Some(data), say);
    }

    /// A position, as clients come to have one: seen, or made up.
    fn since(&mut self, at: usize) -> Since {
        let (last, first) = (self.log.last(), self.log.first());
        let id = match self.rng.weighted(&[20, 20, 10, 20, 15, 10, 4, 10, 5, 4]) {
            0 => self.clients[at].upto,
            1 => self.clients[self.rng.below(self.clients.len())].upto,
            2 => last,
            3 => last.saturating_sub(self.rng.within(0, 10)),
            4 => last.saturating_sub(self.rng.within(0, 300)),
            5 => (first + self.rng.within(0, 2)).saturating_sub(2),
            6 => self.placed + self.rng.within(0, 3),
            7 => self.rng.within(self.log.base, last),
            8 => (self.log.oldest() + self.rng.within(0, 2)).saturating_sub(2),
            _ => {
                let ids = ["", "x", "-1", "+5", "007", "1.0", "18446744073709551616", "18446744073709551615"];
                return Since::At(self.rng.pick(&ids).into());
            }
        };
        match self.rng.weighted(&[94, 4, 2]) {
            0 => Since::At(id.to_string()),
            1 => Since::Elsewhere(id.to_string()),
            _ => Since::Mistyped,
        }
    }

    fn unsubscribe(&mut self, at: usize) {
        let namespaces = self.rng.some_of(&NAMESPACES, 2);
        let keys = self.rng.percent(40).then(|| self.rng.some_of(&KEYS, 3));
        let mut data = json!({"namespaces": namespaces});
        if let Some(keys) = &keys {
            data["keys"] = json!(keys);
        }
        let say = Say::Unsubscribe { namespaces, keys };
        self.clients[at].command(&mut self.rng, "unsubscribe", Some(data), say);
    }

    /// A client that is connected and speaks.
    fn someone(&mut self) -> Option<usize> {
        let wires: Vec<usize> = self.net.wires.iter().flatten().map(|w| w.client).collect();
        if wires.is_empty() {
            return None;
        }
        let at = wires[self.rng.below(wires.len())];
        let client = &self.clients[at];
        let speaks = matches!(client.manner, Manner::Prompt | Manner::Sluggish);
        (speaks && !client.fin && !client.peer_closed && client.status == Some(101)).then_some(at)
    }

    fn someone_speaks(&mut self) {
        let Some(at) = self.someone().filter(|at| !self.clients[*at].is_saga) else { return };
        for _ in 0..1 + self.rng.below(3) {
            match self.rng.weighted(&[30, 15, 12, 10, 5, 20, 5]) {
                0 => self.subscribe(at),
                1 => self.unsubscribe(at),
                2 => {
                    let same = self.clients[at].truth.as_ref().map(|t| t.user.clone());
                    let same = USERS.iter().find(|u| same.as_deref() == Some(**u)).copied();
                    let user = if self.rng.percent(97) { same } else { None };
                    self.auth(at, user);
                }
                3 => self.clients[at].command(&mut self.rng, "ping", None, Say::Ping),
                4 => self.clients[at].command(&mut self.rng, "presence", None, Say::Presence),
                5 => {
                    let data = json!({"productId": "k1", "productName": "p", "customerId": "somebody"});
                    let data = json!({"type": "customer:viewing_product", "data": data});
                    self.clients[at].command(&mut self.rng, "publish", Some(data), Say::Publish);
                }
                _ => self.clients[at].control(&mut self.rng, 9, b"are you there", Say::Noise),
            }
        }
    }

    /// Refreshes with the same credential over and over.
    fn reuse_token(&mut self) {
        let Some(at) = self.someone().filter(|at| !self.clients[*at].is_saga) else { return };
        let Some(truth) = self.clients[at].truth.clone() else { return };
        let user = USERS.iter().find(|u| ***u == *truth.user).copied();
        for _ in 0..5 {
            self.auth(at, user);
        }
    }

    fn post_some(&mut self) {
        let n = match self.rng.below(60) {
            0 => 300,
            1..4 => 20,
            _ => 1 + self.rng.below(3),
        };
        for _ in 0..n {
            let (fact, posted) = invent(&mut self.rng, self.padding);
            let draft = self.config.policy.draft_posted(&posted.to_string(), &self.config.rules);
            self.place(fact, draft.unwrap_or_else(|e| panic!("{posted}: {e:?}")));
        }
    }

    fn someone_leaves(&mut self) {
        let Some(at) = self.someone() else { return };
        self.leave(at);
    }

    pub fn leave(&mut self, at: usize) {
        let Some(slot) = self.clients[at].slot else { return };
        match self.rng.below(3) {
            0 => {
                self.clients[at].control(&mut self.rng, 8, &1000u16.to_be_bytes(), Say::Close);
                self.clients[at].fin = self.rng.percent(50);
            }
            1 => self.clients[at].fin = true,
            _ => self.net.at(slot).broken = true,
        }
    }

    fn storm_out(&mut self) {
        if !self.rng.percent(15) {
            return;
        }
        let wires: Vec<usize> = self.net.wires.iter().flatten().map(|w| w.client).collect();
        for at in wires {
            if self.rng.percent(70) {
                self.leave(at);
            }
        }
    }

    fn someone_offends(&mut self) {
        let Some(at) = self.someone() else { return };
        let client = &mut self.clients[at];
        let rng = &mut self.rng;
        match rng.below(4) {
            0 => client.control(rng, 2, b"binary", Say::Offend(1003)),
            1 => client.control(rng, 1, b"\xff\xfe", Say::Offend(1007)),
            2 => client.raw(&[0x81, 0x05, b'h', b'e', b'l', b'l', b'o'], Say::Offend(1002)),
            _ => client.control(rng, 1, &[b' '; 9000], Say::Offend(1009)),
        }
        client.causes.extend([1003, 1007, 1002, 1009]); // Whichever is noticed.
    }

    fn kick(&mut self) {
        let who = match self.rng.below(2) {
            0 => Who::Session(self.rng.pick(&SESSIONS).into()),
            _ => Who::User(self.rng.pick(&USERS).into()),
        };
        self.tickets += 1;
        if self.rng.percent(30) {
            self.orders.push_back(Order::Kick { ticket: self.tickets, who });
        }
    }

    fn someone_pauses(&mut self) {
        let Some(at) = self.someone() else { return };
        let slot = self.clients[at].slot.expect("someone is connected");
        let wire = self.net.at(slot);
        if wire.moody {
            wire.capacity = if wire.capacity < 50 { 3_000 } else { wire.unread.max(40) };
        }
    }

    fn flood(&mut self) {
        let Some(at) = self.someone() else { return };
        if self.clients[at].manner != Manner::Prompt {
            return; // In bits, it would be slow enough to be let pass.
        }
        let mut bytes = Vec::new();
        for _ in 0..MESSAGES_PER_MINUTE + 30 {
            crate::frames::frame(&mut self.rng, &mut bytes, true, 1, br#"{"type":"ping"}"#);
        }
        self.clients[at].raw(&bytes, Say::Offend(4102));
        self.clients[at].causes.extend([4102, 4103]);
        self.clients[at].only_overrun = false;
    }

    fn count(&mut self) {
        self.tickets += 1;
        self.orders.push_back(Order::Count { ticket: self.tickets });
    }

    fn drain(&mut self) {
        self.orders.push_back(Order::Drain);
    }
}
