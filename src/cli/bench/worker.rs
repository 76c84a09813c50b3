//! A thread with very many clients: it moves their bytes and does what it is ordered to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::cli::bench::client::{Client, Counts, Desk, Ended, Phase};
use crate::cli::bench::crowd::Pace;
use crate::cli::bench::dial::{dial, widen};
use crate::cli::bench::frames::Rest;
use crate::cli::bench::orders::{Arrived, Audit, Lines, Order, Progress, Published, Reply, Report, Run};
use crate::cli::bench::process::own_thread;
use crate::cli::bench::schedule::latencies;
use crate::cli::output::now_ms;

/// The token of the thread's own waker.
pub const WAKER: Token = Token(usize::MAX);
/// Bytes taken from a socket at once.
const READ_BYTES: usize = 256 << 10;
/// What a slow client reads each [`SLOW_TICK`]: 10 kB a second.
const SLOW_BYTES: usize = 1024;
const SLOW_TICK: Duration = Duration::from_millis(100);
/// A thread with a crowd looks again for so long before it sleeps. On loopback it is the server that
/// pays for waking a thread on a processor that idles, with every delivery where the reader is the
/// faster one: 4 us of 9, against none where it is a little slower. A real client is never woken so.
const LOOK_AGAIN: Duration = Duration::from_micros(500);
/// From so many clients on. Fewer must not take a processor from those who publish.
const CROWD: usize = 100;

/// How long a socket is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// One read.
    Once,
    /// Until there is no more.
    Empty,
    /// Until its end, which was announced.
    End,
}

struct Slot {
    client: Client,
    socket: Option<TcpStream>,
    rest: Rest,
    began_ns: u64,
    /// Whether it counts among those that are under way.
    flying: bool,
    ended: Option<Ended>,
}

/// The thread.
pub struct Worker {
    run: Run,
    poll: Poll,
    slots: Vec<Slot>,
    orders: Receiver<Order>,
    replies: Sender<Reply>,
    progress: Arc<Progress>,
    reached: Sender<()>,
    counts: Counts,
    failures: BTreeMap<String, u64>,
    hint: usize,
    buffer: Vec<u8>,
    out: Vec<u8>,
    /// Clients that are still to set out, by slot.
    waiting: VecDeque<usize>,
    flying: usize,
    in_flight: usize,
    /// Clients that have set out, or are to, and have neither arrived nor failed.
    expected: usize,
    arrived: Option<Arrived>,
    slow_tick: Instant,
    /// Time spent looking again, which is no work.
    in_vain: Duration,
    released: bool,
}

impl Worker {
    /// With the clients of a range.
    pub fn new(run: Run, clients: Range<u32>, poll: Poll, lines: Lines, progress: Arc<Progress>) -> Worker {
        let slots = clients.map(|index| Slot {
            client: Client::new(index, run.crowd.pace(index)),
            socket: None,
            rest: Rest::default(),
            began_ns: 0,
            flying: false,
            ended: None,
        });
        Worker {
            slots: slots.collect(),
            run,
            poll,
            orders: lines.orders,
            replies: lines.replies,
            reached: lines.reached,
            progress,
            counts: Counts::new(),
            failures: BTreeMap::new(),
            hint: 0,
            buffer: vec![0; READ_BYTES],
            out: Vec::new(),
            waiting: VecDeque::new(),
            flying: 0,
            in_flight: 1,
            expected: 0,
            arrived: None,
            slow_tick: Instant::now(),
            in_vain: Duration::ZERO,
            released: false,
        }
    }

    /// Works until nobody is left to give orders.
    ///
    /// # Errors
    /// Those of polling.
    pub fn work(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(4096);
        let is_crowd = self.slots.len() >= CROWD;
        let (mut busy_until, mut looked) = (Instant::now(), Instant::now());
        loop {
            let looks_again = is_crowd && looked - busy_until < LOOK_AGAIN;
            match self.poll.poll(&mut events, Some(if looks_again { Duration::ZERO } else { SLOW_TICK })) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let now = Instant::now();
            if !events.is_empty() {
                busy_until = now;
            } else if looks_again {
                self.in_vain += now - looked;
            }
            looked = now;
            let received = self.counts.received;
            for event in events.iter().filter(|event| event.token() != WAKER) {
                self.turn(event);
            }
            if self.slow_tick.elapsed() >= SLOW_TICK {
                self.slow_tick = Instant::now();
                self.read_slowly();
            }
            self.set_out();
            self.tell_progress(self.counts.received - received);
            loop {
                match self.orders.try_recv() {
                    Ok(order) => self.obey(order),
                    Err(crossbeam_channel::TryRecvError::Empty) => break,
                    Err(crossbeam_channel::TryRecvError::Disconnected) => return Ok(()),
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Connect { goal, lanes, in_flight } => {
                self.in_flight = in_flight;
                self.arrived = Some(Arrived { ready: 0, at_ns: 0, took: latencies() });
                for (slot, state) in self.slots.iter_mut().enumerate().filter(|(_, s)| s.socket.is_none()) {
                    state.client.set_out(goal, &lanes);
                    state.ended = None;
                    self.waiting.push_back(slot);
                }
                self.expected = self.waiting.len();
                self.set_out();
            }
            Order::Cut => {
                for state in &mut self.slots {
                    if let Some(socket) = state.socket.take() {
                        // A reset: nobody waits, and no port stays behind.
                        let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                    }
                    state.client.phase = Phase::Away;
                    state.flying = false;
                    state.rest.clear();
                }
                self.waiting.clear();
                (self.flying, self.expected) = (0, 0);
                self.answer(Reply::Cut);
            }
            Order::Report => {
                let report = Report {
                    counts: std::mem::replace(&mut self.counts, Counts::new()),
                    failures: std::mem::take(&mut self.failures),
                    usage: own_thread().without(self.in_vain),
                };
                self.answer(Reply::Report(Box::new(report)));
            }
            Order::Release => self.release(),
            Order::Audit(published) => {
                let audit = self.audit(&published);
                self.answer(Reply::Audit(audit));
            }
        }
    }

    fn answer(&self, reply: Reply) {
        // Without a reader the run is over, which the next look for orders shows.
        let _ = self.replies.send(reply);
    }

    fn tell_progress(&self, received: u64) {
        if received == 0 {
            return;
        }
        let before = self.progress.delivered.fetch_add(received, Ordering::SeqCst);
        let target = self.progress.target.load(Ordering::SeqCst);
        if before < target && before + received >= target {
            let _ = self.reached.try_send(()); // One that waits already is enough.
        }
    }

    /// Starts as many connections as may be under way.
    fn set_out(&mut self) {
        while self.flying < self.in_flight
            && let Some(slot) = self.waiting.pop_front()
        {
            self.flying += 1;
            self.slots[slot].flying = true;
            self.slots[slot].began_ns = self.run.clock.now_ns();
            let client = &self.slots[slot].client;
            match dial(
                self.run.address,
                client.index(),
                client.pace() != Pace::Prompt,
                Token(slot),
                &self.poll,
            ) {
                Ok(socket) => self.slots[slot].socket = Some(socket),
                Err(e) => self.fail(slot, Ended(format!("can't connect: {e}"))),
            }
        }
        if self.expected == 0
            && let Some(arrived) = self.arrived.take()
        {
            self.answer(Reply::Connected(arrived));
        }
    }

    /// A socket has something to do.
    fn turn(&mut self, event: &Event) {
        let slot = event.token().0;
        let Some(state) = self.slots.get(slot).filter(|state| state.socket.is_some()) else { return };
        if state.client.phase == Phase::Connecting {
            let broken = state.socket.as_ref().and_then(|socket| socket.take_error().ok().flatten());
            if let Some(e) = broken {
                self.fail(slot, Ended(format!("can't connect: {e}")));
                return;
            }
            if !event.is_writable() {
                return;
            }
            self.converse(slot, |client, _, desk| {
                client.connected(desk);
                Ok(())
            });
        }
        if event.is_read_closed() {
            self.read(slot, READ_BYTES, Until::End);
        } else if event.is_readable() {
            self.read(slot, READ_BYTES, Until::Empty);
        }
    }

    /// Reads what is there, at most `limit` bytes at once.
    fn read(&mut self, slot: usize, limit: usize, until: Until) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(socket) = self.slots[slot].socket.as_mut() {
            match socket.read(&mut buffer[..limit]) {
                Ok(0) => {
                    let ended = self.slots[slot].client.cut();
                    self.fail(slot, ended);
                    break;
                }
                Ok(n) => {
                    self.converse(slot, |client, rest, desk| {
                        rest.feed(&buffer[..n], |b| client.take(b, desk))
                    });
                    // With a buffer that is not full the socket is empty, and an edge tells of more.
                    if until == Until::Once || until == Until::Empty && n < limit {
                        break;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    let ended = match self.slots[slot].client.cut() {
                        Ended(words) if words.starts_with("cut off") => {
                            Ended(format!("cut off: {}", e.kind()))
                        }
                        announced => announced,
                    };
                    self.fail(slot, ended);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Lets a client act, sends what it wants to say, and sees whether it has arrived.
    fn converse(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Client, &mut Rest, &mut Desk<'_>) -> Result<(), Ended>,
    ) {
        let state = &mut self.slots[slot];
        let before = state.client.phase;
        self.out.clear();
        let entering = before != Phase::Live;
        let mut desk = Desk {
            crowd: &self.run.crowd,
            entry: &self.run.entry,
            run: self.run.id,
            now_ns: self.run.clock.now_ns(),
            wall_ms: if entering { now_ms() } else { 0 },
            hint: &mut self.hint,
            counts: &mut self.counts,
            out: &mut self.out,
        };
        let acted = act(&mut state.client, &mut state.rest, &mut desk);
        if !self.out.is_empty()
            && let Some(socket) = state.socket.as_mut()
        {
            // A few hundred bytes to a socket that nothing was sent on: it takes them, or it is broken, and then the next
            // read says why.
            let _ = socket.write(&self.out);
        }
        match acted {
            Err(ended) => self.fail(slot, ended),
            Ok(()) if entering && self.slots[slot].client.phase == Phase::Live => self.arrive(slot),
            // What one missed is no part of connecting: all are to be behind at the same time.
            Ok(()) if self.slots[slot].client.is_back_in() => self.land(slot),
            Ok(()) => {}
        }
    }

    /// One less is under way.
    fn land(&mut self, slot: usize) {
        if std::mem::take(&mut self.slots[slot].flying) {
            self.flying -= 1;
        }
    }

    fn arrive(&mut self, slot: usize) {
        self.land(slot);
        self.expected = self.expected.saturating_sub(1);
        let now_ns = self.run.clock.now_ns();
        let state = &mut self.slots[slot];
        if let Some(arrived) = &mut self.arrived {
            arrived.ready += 1;
            self.progress.arrived.fetch_add(1, Ordering::Relaxed);
            arrived.at_ns = now_ns;
            arrived.took.saturating_record(now_ns.saturating_sub(state.began_ns) / 1000);
        }
        if state.client.pace() != Pace::Prompt
            && !self.released
            && let Some(socket) = state.socket.as_mut()
        {
            // Nobody tells it that there is something to read.
            let _ = self.poll.registry().deregister(socket);
        }
    }

    fn fail(&mut self, slot: usize, ended: Ended) {
        self.land(slot);
        let state = &mut self.slots[slot];
        if !matches!(state.client.phase, Phase::Away | Phase::Live) {
            self.expected = self.expected.saturating_sub(1);
        }
        if state.client.pace() == Pace::Prompt || state.client.phase != Phase::Live {
            *self.failures.entry(ended.0.clone()).or_default() += 1;
        }
        state.ended = Some(ended);
        state.client.phase = Phase::Away;
        state.socket = None;
        state.rest.clear();
    }

    fn read_slowly(&mut self) {
        if self.released || self.run.crowd.plan().slow <= 0.0 {
            return;
        }
        for slot in 0..self.slots.len() {
            let client = &self.slots[slot].client;
            if client.pace() == Pace::Slow && client.phase == Phase::Live {
                self.read(slot, SLOW_BYTES, Until::Once);
            }
        }
    }

    fn release(&mut self) {
        self.released = true;
        for slot in 0..self.slots.len() {
            let state = &mut self.slots[slot];
            if state.client.pace() == Pace::Prompt {
                continue;
            }
            if let Some(socket) = state.socket.as_mut() {
                widen(socket);
                let interest = Interest::READABLE | Interest::WRITABLE;
                if self.poll.registry().register(socket, Token(slot), interest).is_ok() {
                    self.read(slot, READ_BYTES, Until::Empty);
                }
            }
        }
    }

    fn audit(&self, published: &Published) -> Audit {
        let mut audit = Audit::default();
        let refused =
            |lane: usize, seq: u64| published.refused.get(lane).is_some_and(|set| set.contains(&seq));
        for state in &self.slots {
            let lost = state.client.lost(&self.run.crowd, &published.ends, refused);
            match (&state.ended, state.client.pace()) {
                (_, Pace::Prompt) => audit.lost += lost,
                (Some(ended), _) => *audit.ended.entry(ended.0.clone()).or_default() += 1,
                (None, _) if lost == 0 => audit.complete += 1,
                (None, _) => audit.incomplete += 1,
            }
        }
        audit
    }
}
