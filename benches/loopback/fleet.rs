//! Very many clients in one process of their own (a process may not open descriptors without
//! end): they connect, and then they count what comes.
//!
//! The bench talks to that process by lines: `receive N` waits for N deliveries and answers how
//! many came and how many were out of order; `latency` answers percentiles since the last time.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

/// What clients received.
struct Tally {
    deliveries: u64,
    /// Events whose id was not the next one.
    disordered: u64,
    latency_us: Histogram<u64>,
}

impl Tally {
    fn new() -> Tally {
        Tally { deliveries: 0, disordered: 0, latency_us: Histogram::new(3).unwrap() }
    }

    fn latency(&self) -> String {
        let ms = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", ms(0.5), ms(0.99), ms(1.0))
    }
}

/// The clients of one server, seen from the bench.
pub struct Fleet {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    clients: usize,
}

impl Fleet {
    /// Connects `clients` clients, from several loopback addresses. Where the server speaks the
    /// protocol they authenticate and subscribe, all in one write.
    pub fn connect(address: SocketAddr, clients: usize, speaks_protocol: bool) -> Fleet {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--fleet", &address.to_string(), &clients.to_string(), &speaks_protocol.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut fleet = Fleet { child, orders, answers, clients };
        assert_eq!(fleet.answer(), "connected");
        fleet
    }

    pub fn len(&self) -> usize {
        self.clients
    }

    /// Begins to wait for so many deliveries.
    pub fn expect(&mut self, deliveries: u64) {
        writeln!(self.orders, "receive {deliveries}").unwrap();
    }

    /// Ends the wait: how many came, and how many of them out of order.
    pub fn received(&mut self) -> (u64, u64) {
        let answer = self.answer();
        let (deliveries, disordered) = answer.split_once(' ').unwrap();
        (deliveries.parse().unwrap(), disordered.parse().unwrap())
    }

    /// Percentiles of everything received since the last time.
    pub fn latency(&mut self) -> String {
        writeln!(self.orders, "latency").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client {
    socket: TcpStream,
    /// The start of a frame whose end has not come.
    partial: Vec<u8>,
    last_id: u64,
}

/// The process of the clients: `ADDRESS CLIENTS SPEAKS_PROTOCOL`. Ends with its standard input.
/// Its clients live on between orders: they answer pings.
pub fn run(arguments: &[String]) -> ! {
    let [address, n, speaks_protocol] = arguments else { panic!("ADDRESS CLIENTS SPEAKS_PROTOCOL") };
    let mut crowd = Crowd::connect(address.parse().unwrap(), n.parse().unwrap(), speaks_protocol == "true");
    let waker = Waker::new(crowd.poll.registry(), WAKER).unwrap();
    let (orders_in, orders) = crossbeam_channel::unbounded();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            orders_in.send(line.unwrap()).unwrap();
            waker.wake().unwrap();
        }
        std::process::exit(0)
    });
    println!("connected");
    let mut tally = Tally::new();
    let mut wanted: Option<u64> = None;
    let mut deadline = Instant::now();
    loop {
        crowd.poll_once(&mut tally);
        if let Some(deliveries) = wanted.filter(|wanted| tally.deliveries >= *wanted) {
            println!("{} {}", tally.deliveries, tally.disordered);
            tally.deliveries -= deliveries;
            tally.disordered = 0;
            wanted = None;
        }
        assert!(wanted.is_none() || Instant::now() < deadline, "only {} deliveries came", tally.deliveries);
        while let Ok(order) = orders.try_recv() {
            if let Some(deliveries) = order.strip_prefix("receive ") {
                wanted = Some(deliveries.parse().unwrap());
                deadline = Instant::now() + PATIENCE;
            } else {
                println!("{}", tally.latency());
                tally.latency_us.reset();
            }
        }
    }
}

/// A pong without payload; a mask may be zero.
const PONG: &[u8] = &[0x8a, 0x80, 0, 0, 0, 0];

const WAKER: Token = Token(usize::MAX);

struct Crowd {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

/// Nothing that is awaited takes longer.
const PATIENCE: Duration = Duration::from_secs(180);

impl Crowd {
    fn connect(address: SocketAddr, n: usize, speaks_protocol: bool) -> Crowd {
        let poll = Poll::new().unwrap();
        let mut sockets = Vec::with_capacity(n);
        for i in 0..n {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2 + (i % 8) as u8), 0));
            socket.bind(&source.into()).unwrap();
            socket.connect(&address.into()).unwrap();
            let mut socket: std::net::TcpStream = socket.into();
            socket.write_all(&hello(i, speaks_protocol)).unwrap();
            sockets.push(socket);
        }
        let mut clients = Vec::with_capacity(n);
        for (i, mut socket) in sockets.into_iter().enumerate() {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let last = if speaks_protocol { "\"subscribed\"" } else { "\r\n\r\n" };
            let mut heard = Vec::new();
            let mut chunk = [0; 4096];
            while !String::from_utf8_lossy(&heard).contains(last) {
                let n = socket.read(&mut chunk).unwrap();
                assert!(n > 0, "refused: {}", String::from_utf8_lossy(&heard));
                heard.extend_from_slice(&chunk[..n]);
            }
            // A ping may have come among what was read.
            socket.write_all(PONG).unwrap();
            socket.set_nonblocking(true).unwrap();
            let mut socket = TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(i), Interest::READABLE).unwrap();
            clients.push(Client { socket, partial: Vec::new(), last_id: 0 });
        }
        Crowd { poll, events: Events::with_capacity(4096), clients, buffer: vec![0; 256 << 10] }
    }

    /// Takes what comes.
    fn poll_once(&mut self, tally: &mut Tally) {
        self.poll.poll(&mut self.events, Some(Duration::from_millis(100))).unwrap();
        for event in self.events.iter().filter(|event| event.token() != WAKER) {
            self.clients[event.token().0].read(&mut self.buffer, tally);
        }
    }
}

impl Client {
    fn read(&mut self, buffer: &mut [u8], tally: &mut Tally) {
        loop {
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            self.partial.clear();
            match self.socket.read(&mut buffer[kept..]) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(n) => {
                    let end = kept + n;
                    let used = self.take_frames(&buffer[..end], now_ns(), tally);
                    self.partial.extend_from_slice(&buffer[used..end]);
                    if end < buffer.len() {
                        return;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.partial.extend_from_slice(&buffer[..kept]);
                    return;
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Counts the whole frames in `bytes`; returns how many bytes they have.
    fn take_frames(&mut self, bytes: &[u8], now_ns: u64, tally: &mut Tally) -> usize {
        let mut at = 0;
        while let Some(&[first, second]) = bytes.get(at..at + 2) {
            let (head, length) = match second {
                126 => match bytes.get(at + 2..at + 4) {
                    Some(l) => (4, usize::from(u16::from_be_bytes([l[0], l[1]]))),
                    None => break,
                },
                n => (2, usize::from(n)),
            };
            let Some(payload) = bytes.get(at + head..at + head + length) else { break };
            at += head + length;
            match first & 15 {
                1 => self.count(payload, now_ns, tally),
                9 => assert_eq!(self.socket.write(PONG).unwrap(), PONG.len()),
                other => panic!("opcode {other}"),
            }
        }
        at
    }

    fn count(&mut self, payload: &[u8], now_ns: u64, tally: &mut Tally) {
        tally.deliveries += 1;
        let id = number_after(payload, b"\"id\":\"");
        if id != self.last_id + 1 && self.last_id != 0 {
            tally.disordered += 1;
        }
        self.last_id = id;
        let sent = number_after(payload, b"\"sentAtNs\":\"");
        tally.latency_us.record(now_ns.saturating_sub(sent) / 1000).unwrap();
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// The decimal number behind the last `mark`.
fn number_after(payload: &[u8], mark: &[u8]) -> u64 {
    let start = payload
        .windows(mark.len())
        .rposition(|w| w == mark)
        .unwrap_or_else(|| panic!("no event of this bench: {}", String::from_utf8_lossy(payload)))
        + mark.len();
    payload[start..].iter().take_while(|b| b.is_ascii_digit()).fold(0, |n, b| n * 10 + u64::from(b - b'0'))
}

/// An upgrade request; behind it `auth` and `subscribe`, where they are understood.
fn hello(i: usize, speaks_protocol: bool) -> Vec<u8> {
    let mut out = b"GET /api/ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    if speaks_protocol {
        let expires =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() + 86_400_000;
        let auth = format!(
            r#"{{"type":"auth","data":{{"userId":"user_{i:06}","role":"staff","sessionId":"session_{i:06}","expiresAt":{expires}}}}}"#
        );
        for text in [&auth, r#"{"type":"subscribe","data":{"namespaces":["inventory"]}}"#] {
            out.push(0x81);
            match text.len() {
                n @ 0..126 => out.push(0x80 | n as u8),
                n => {
                    out.push(0x80 | 126);
                    out.extend_from_slice(&(n as u16).to_be_bytes());
                }
            }
            out.extend_from_slice(&[0; 4]); // A mask of zeros leaves the payload as it is.
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}
