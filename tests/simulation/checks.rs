//! What must hold between turns and at the end.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use omnicast::conn::machine::Door;
use omnicast::shard::census::Census;
use omnicast::shard::mail::{Order, Report};

use crate::client::{Client, Manner};
use crate::world::{
    ADDRESSES, AUTH_TIMEOUT_MS, DRAIN_TIMEOUT_MS, PER_ADDRESS_MAX, PING_INTERVAL_MS, PONG_TIMEOUT_MS, World,
};

/// What a run was.
#[derive(Default)]
pub struct Outcome {
    pub clients: u64,
    pub events: u64,
    /// Events from beyond the window.
    pub old_events: u64,
    pub saga_events: u64,
    /// Clients that were closed since what they needed was not to be had.
    pub overrun: u64,
    pub reached: BTreeMap<&'static str, u64>,
}

impl Outcome {
    pub fn add(&mut self, other: Outcome) {
        self.clients += other.clients;
        self.events += other.events;
        self.old_events += other.old_events;
        self.saga_events += other.saga_events;
        self.overrun += other.overrun;
        for (path, n) in other.reached {
            *self.reached.entry(path).or_default() += n;
        }
    }
}

impl World {
    /// Whether no question is open.
    pub fn is_answered(&mut self) -> bool {
        self.reader.is_idle() && self.core.asks().is_empty()
    }

    /// The clients that the shard counts, after comparing what it says of them.
    pub fn listed(&mut self) -> Vec<usize> {
        let order = Order::List { ticket: 0, from_slot: 0, limit: usize::MAX };
        self.core.handle_order(order, self.now);
        let Some(Report::Listed { rows, .. }) = self.core.reports().pop_back() else { panic!("no list") };
        let mut listed = Vec::new();
        for row in rows {
            let at = self.net.at(row.slot).client;
            let client = &self.clients[at];
            assert!(client.name.starts_with(&format!("{} ", row.id)), "{} is {}", row.id, client.name);
            assert!(client.upgraded, "{}: listed before its upgrade", client.name);
            assert_eq!(row.phase == "live", client.truth.is_some(), "{}", client.name);
            if let Some(truth) = &client.truth {
                assert_eq!(row.user_id.as_deref(), Some(&*truth.user));
                assert_eq!(row.session_id.as_deref(), Some(&*truth.session));
                assert_eq!(row.role.as_deref(), Some(truth.role));
                assert_eq!(row.expires_at, Some(truth.expires_at));
                let mut names = row.namespaces.clone();
                names.sort_unstable();
                assert_eq!(names, truth.asked.keys().cloned().collect::<Vec<_>>(), "{}", client.name);
                let keys: usize = truth.asked.values().flatten().map(|keys| keys.len()).sum();
                assert_eq!(row.keys, keys, "{}", client.name);
            }
            listed.push(at);
        }
        listed
    }

    pub fn check_census(&mut self) {
        let listed = self.listed();
        let policy = &self.config.policy;
        let mut census = Census::empty(policy);
        census.total = listed.len();
        let mut users = std::collections::BTreeSet::new();
        for truth in listed.iter().filter_map(|at| self.clients[*at].truth.as_ref()) {
            census.authenticated += 1;
            census.by_role[usize::from(policy.role(truth.role).unwrap().0)] += 1;
            for namespace in truth.asked.keys() {
                census.by_namespace[usize::from(policy.namespace(namespace).unwrap().0)] += 1;
            }
            users.insert(truth.user.clone());
        }
        census.users = users.len();
        let count = self.core.count();
        census.backlog_bytes = count.backlog_bytes;
        assert_eq!(count, census, "the count is true at the moment of asking");
    }

    /// After a turn that is done: who is there must be, who is not had a reason; nobody waits
    /// for what was due.
    pub fn check_connections(&mut self, no_mail: bool) {
        let listed = self.listed();
        let beat_ms = PING_INTERVAL_MS / 128 + 1;
        let late_ms = 2 * self.step_ms_max.max(3_000);
        let silence_ms = PING_INTERVAL_MS + beat_ms + PONG_TIMEOUT_MS + late_ms;
        let mut is_listed = vec![false; self.clients.len()];
        let order = Order::List { ticket: 0, from_slot: 0, limit: usize::MAX };
        self.core.handle_order(order, self.now);
        let Some(Report::Listed { rows, .. }) = self.core.reports().pop_back() else { panic!("no list") };
        for (at, row) in listed.into_iter().zip(rows) {
            is_listed[at] = true;
            let client = &mut self.clients[at];
            assert!(!client.over, "{}: still there: {:?}", client.name, client.causes);
            assert!(row.backlog_bytes <= self.config.backlog_bytes_max, "{}: backlog", client.name);
            if no_mail && row.backlog_bytes == 0 {
                let silence = self.now.mono - client.last_heard;
                let unmuted = client.truth.is_some() || silence <= AUTH_TIMEOUT_MS + late_ms;
                assert!(unmuted, "{}: never said who it is", client.name);
                // One whose queue still moves is slow, not dead.
                let slow = client.manner == Manner::Sluggish;
                assert!(slow || silence <= silence_ms, "{}: silent for {silence} ms", client.name);
                assert!(client.awaiting.is_empty(), "{}: no answer to {:?}", client.name, client.awaiting);
                assert_eq!(client.person, client.truth, "{}", client.name);
                client.check_level(&self.log);
            }
        }
        for wire in self.net.wires.iter().flatten() {
            let client = &self.clients[wire.client];
            if client.upgraded && !client.over && client.causes.is_empty() {
                assert!(is_listed[wire.client], "{}: ended for no reason", client.name);
            }
        }
        if let Some(at) = self.drained_at
            && self.now.mono > at + DRAIN_TIMEOUT_MS
        {
            assert!(!is_listed.contains(&true), "somebody survives the drain");
        }
    }

    /// Everybody reads everything, then leaves; nothing may be left behind.
    pub fn finish(mut self) -> Outcome {
        for wire in self.net.wires.iter_mut().flatten() {
            (wire.capacity, wire.moody) = (usize::MAX, false);
        }
        self.now = self.now.plus(self.config.batch_window_ms);
        for _ in 0..3 {
            self.read_all();
            while self.turn() || !self.is_answered() {}
        }
        self.check_connections(true);
        self.check_census();
        let clients: Vec<usize> = self.net.wires.iter().flatten().map(|w| w.client).collect();
        for at in clients {
            self.leave(at);
        }
        for _ in 0..40 {
            self.now = self.now.plus(500);
            self.read_all();
            while self.turn() || !self.is_answered() {}
        }
        for at in 0..self.sagas.len() {
            self.end_chapter(at);
        }
        assert_eq!(self.core.is_drained(), self.drained_at.is_some());
        assert!(self.core.is_empty(), "{} lives are left", self.core.len());
        assert_eq!(self.core.count(), Census::empty(&self.config.policy));
        let archive = self.core.archive();
        assert_eq!((archive.waiting(), archive.open(), archive.held()), (0, 0, 0), "of the log");
        assert_eq!((self.admission.counts().0, self.admission.counts().1), (0, 0), "seats, sockets");
        assert!(self.online.values().all(|n| *n == 0), "{:?} are still online", self.online);
        for host in 0..ADDRESSES {
            let address = IpAddr::from(Ipv4Addr::new(192, 0, 2, host));
            let mut entered = 0;
            while self.admission.enter(address, self.now).is_ok() {
                entered += 1;
            }
            assert_eq!(entered, PER_ADDRESS_MAX, "connections of an address are given back");
        }
        let endings: u64 = self.counters.endings.iter().map(|c| c.read()).sum();
        assert_eq!(endings, self.counters.accepted.read(), "every life ends for one reason");
        let is_overrun = |c: &&Client| c.closing == Some(4103) && c.only_overrun;
        Outcome {
            events: self.clients.iter().map(|c| c.events).sum(),
            old_events: self.clients.iter().map(|c| c.old_events).sum(),
            saga_events: self.saga_events,
            overrun: self.clients.iter().filter(is_overrun).count() as u64,
            clients: self.clients.len() as u64,
            reached: self.reader.reached,
        }
    }
}
