//! All subscribers, in one thread that does little else than read.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, SockRef, Socket, Type};

use crate::client::{Client, Entry, Phase, Tally};
use crate::process;

/// Connections on their way at a time.
const IN_FLIGHT: usize = 256;

/// A crowd looks again for so long before it sleeps: on loopback it is the server that pays for waking
/// a thread on a processor that idles, and only where it is slower than the reader.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// From so many subscribers on; a few must not take a processor from those who publish.
const CROWD: usize = 100;

/// Loopback addresses that clients come from, 127.0.0.2 and on.
const SOURCES: usize = 8;

/// Nothing that is waited for may stand still longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// `EINPROGRESS` of Linux.
const IN_PROGRESS: i32 = 115;

const READ_BYTES: usize = 256 << 10;
const WAKER: Token = Token(usize::MAX);

/// What subscribers and publisher share while events flow.
#[derive(Debug)]
pub struct Progress {
    /// Deliveries of this phase.
    pub delivered: AtomicU64,
    /// How many the publisher waits for.
    pub target: AtomicU64,
}

/// What the thread is asked.
enum Order {
    Connect,
    /// Give the tally, and begin a new one with this event.
    Report(u64),
}

/// What it answers.
enum Reply {
    Connected(Result<Duration, String>),
    Report(Box<Report>),
}

/// What happened since the last report.
#[derive(Debug)]
pub struct Report {
    /// What came.
    pub tally: Tally,
    /// Connections that ended.
    pub ended: u64,
    /// Why the first of them did.
    pub reason: Option<String>,
    /// What the thread has used of the processor so far.
    pub cpu_ns: u64,
}

/// The thread, seen from outside. It ends with the process.
pub struct Crowd {
    orders: Sender<Order>,
    replies: Receiver<Reply>,
    waker: Waker,
    /// How far they are.
    pub progress: Arc<Progress>,
}

impl Crowd {
    /// Starts the thread. `reached` is woken when the target is.
    ///
    /// # Errors
    /// Those of polling.
    pub fn start(
        address: SocketAddr,
        n: usize,
        entry: Entry,
        clock: Instant,
        reached: Waker,
    ) -> io::Result<Crowd> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (orders, orders_in) = channel();
        let (replies_out, replies) = channel();
        let progress = Arc::new(Progress { delivered: AtomicU64::new(0), target: AtomicU64::new(u64::MAX) });
        let mut worker = Worker {
            poll,
            slots: (0..n).map(|i| Slot { client: Client::new(i), socket: None, rest: Vec::new() }).collect(),
            address,
            entry,
            clock,
            buffer: vec![0; READ_BYTES],
            out: Vec::new(),
            tally: Tally::new(0),
            ended: 0,
            reason: None,
            arrived: 0,
            waiting: VecDeque::new(),
            set_out: None,
            in_vain: Duration::ZERO,
            progress: progress.clone(),
            reached,
            replies: replies_out,
        };
        std::thread::Builder::new().name("crowd".into()).spawn(move || worker.work(&orders_in))?;
        Ok(Crowd { orders, replies, waker, progress })
    }

    /// Connects everybody; how long it took until the last one was ready.
    ///
    /// # Errors
    /// Why they are not all there.
    pub fn connect(&self) -> Result<Duration, String> {
        match self.ask(Order::Connect)? {
            Reply::Connected(took) => took,
            Reply::Report(_) => Err("the crowd answered another question".into()),
        }
    }

    /// What came since the last report; the next one counts events from `from_seq` on.
    ///
    /// # Errors
    /// The thread is gone.
    pub fn report(&self, from_seq: u64) -> Result<Report, String> {
        match self.ask(Order::Report(from_seq))? {
            Reply::Report(report) => Ok(*report),
            Reply::Connected(_) => Err("the crowd answered another question".into()),
        }
    }

    fn ask(&self, order: Order) -> Result<Reply, String> {
        let gone = |_| "the crowd is gone".to_owned();
        self.orders.send(order).map_err(|_| "the crowd is gone".to_owned())?;
        self.waker.wake().map_err(|e| e.to_string())?;
        self.replies.recv().map_err(gone)
    }
}

struct Slot {
    client: Client,
    socket: Option<TcpStream>,
    /// The start of a frame whose end has not come.
    rest: Vec<u8>,
}

struct Worker {
    poll: Poll,
    slots: Vec<Slot>,
    address: SocketAddr,
    entry: Entry,
    clock: Instant,
    buffer: Vec<u8>,
    out: Vec<u8>,
    tally: Tally,
    ended: u64,
    reason: Option<String>,
    arrived: usize,
    waiting: VecDeque<usize>,
    /// When they set out, and when the last one arrived.
    set_out: Option<(Instant, Instant)>,
    /// Time spent looking again, which is no work.
    in_vain: Duration,
    progress: Arc<Progress>,
    reached: Waker,
    replies: Sender<Reply>,
}

impl Worker {
    fn work(&mut self, orders: &Receiver<Order>) {
        let mut events = Events::with_capacity(1024);
        let is_crowd = self.slots.len() >= CROWD;
        let (mut busy_until, mut looked) = (Instant::now(), Instant::now());
        loop {
            let looks_again = is_crowd && looked - busy_until < LOOK_AGAIN;
            let patience = if looks_again { Duration::ZERO } else { Duration::from_secs(1) };
            match self.poll.poll(&mut events, Some(patience)) {
                Err(e) if e.kind() != ErrorKind::Interrupted => panic!("can't poll: {e}"),
                _ => {}
            }
            let now = Instant::now();
            if !events.is_empty() {
                busy_until = now;
            } else if looks_again {
                self.in_vain += now - looked;
            }
            looked = now;
            for event in events.iter().filter(|event| event.token() != WAKER) {
                self.turn(event.token().0, event.is_writable());
            }
            self.see_arrivals();
            loop {
                match orders.try_recv() {
                    Ok(order) => self.obey(&order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    fn obey(&mut self, order: &Order) {
        match order {
            Order::Connect => {
                let now = Instant::now();
                self.set_out = Some((now, now));
                self.waiting = (0..self.slots.len()).collect();
                for _ in 0..IN_FLIGHT {
                    self.connect_next();
                }
            }
            Order::Report(from_seq) => {
                let report = Report {
                    tally: std::mem::replace(&mut self.tally, Tally::new(*from_seq)),
                    ended: std::mem::take(&mut self.ended),
                    reason: self.reason.take(),
                    cpu_ns: process::own_thread_ns().saturating_sub(self.in_vain.as_nanos() as u64),
                };
                self.progress.delivered.store(0, Ordering::SeqCst);
                let _ = self.replies.send(Reply::Report(Box::new(report)));
            }
        }
    }

    fn see_arrivals(&mut self) {
        let Some((began, last)) = self.set_out else { return };
        let outcome = if self.arrived == self.slots.len() {
            Ok(last - began)
        } else if let Some(reason) = &self.reason {
            Err(format!("{} of {} arrived, then: {reason}", self.arrived, self.slots.len()))
        } else if last.elapsed() > PATIENCE {
            Err(format!("only {} of {} arrived", self.arrived, self.slots.len()))
        } else {
            return;
        };
        self.set_out = None;
        let _ = self.replies.send(Reply::Connected(outcome));
    }

    fn connect_next(&mut self) {
        let Some(index) = self.waiting.pop_front() else { return };
        match self.connect(index) {
            Ok(socket) => self.slots[index].socket = Some(socket),
            Err(e) => self.end(index, format!("can't connect: {e}")),
        }
    }

    fn connect(&self, index: usize) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let source = Ipv4Addr::new(127, 0, 0, 2 + (index % SOURCES) as u8);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        match socket.connect(&self.address.into()) {
            Err(e) if e.raw_os_error() != Some(IN_PROGRESS) => return Err(e),
            _ => {}
        }
        // A reset when the process ends: nobody waits, and no port stays behind.
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        let mut socket = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(socket)
    }

    fn turn(&mut self, index: usize, writable: bool) {
        let slot = &mut self.slots[index];
        let Some(socket) = slot.socket.as_mut() else { return };
        if slot.client.phase == Phase::Connecting {
            if let Ok(Some(e)) = socket.take_error() {
                self.end(index, format!("can't connect: {e}"));
                return;
            }
            if !writable {
                return;
            }
            self.out.clear();
            slot.client.connected(&self.entry, &mut self.out);
            if let Err(e) = socket.write_all(&self.out) {
                self.end(index, format!("can't ask for the upgrade: {e}"));
                return;
            }
        }
        let before = slot.client.phase;
        let delivered = self.tally.delivered;
        let outcome = self.read(index);
        self.tell(self.tally.delivered - delivered);
        if let Err(reason) = outcome {
            self.end(index, reason);
        } else if before != Phase::Ready && self.slots[index].client.phase == Phase::Ready {
            self.arrived += 1;
            if let Some((_, last)) = &mut self.set_out {
                *last = Instant::now();
            }
            self.connect_next();
        }
    }

    /// Reads all that is there.
    fn read(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let Some(socket) = slot.socket.as_mut() else { return Ok(()) };
        loop {
            let kept = slot.rest.len();
            self.buffer[..kept].copy_from_slice(&slot.rest);
            match socket.read(&mut self.buffer[kept..]) {
                Ok(0) => return Err("cut off".into()),
                Ok(n) => {
                    let bytes = &self.buffer[..kept + n];
                    let now_ns = self.clock.elapsed().as_nanos() as u64;
                    self.out.clear();
                    self.tally.bytes += n as u64;
                    let used =
                        slot.client.take(bytes, &self.entry, now_ns, &mut self.tally, &mut self.out)?;
                    slot.rest.clear();
                    slot.rest.extend_from_slice(&bytes[used..]);
                    if !self.out.is_empty() {
                        // A few bytes to a socket on which little was ever sent.
                        socket.write_all(&self.out).map_err(|e| format!("can't answer: {e}"))?;
                    }
                    if kept + n < self.buffer.len() {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("cut off: {e}")),
            }
        }
    }

    fn tell(&self, delivered: u64) {
        if delivered == 0 {
            return;
        }
        let before = self.progress.delivered.fetch_add(delivered, Ordering::SeqCst);
        let target = self.progress.target.load(Ordering::SeqCst);
        if before < target && before + delivered >= target {
            self.reached.wake().expect("an eventfd that is read can be written");
        }
    }

    fn end(&mut self, index: usize, reason: String) {
        self.slots[index].socket = None;
        self.ended += 1;
        self.reason.get_or_insert(reason);
    }
}
