//! The floor: upgrade whoever comes, then write every message to every socket with one bare call each. No rights, no
//! heartbeat, no limits, no queue.
//!
//! Who upgrades at `/publish` is the publisher: what it sends, as messages of a WebSocket, goes to all others, or
//! where that is asked for to one after the other, by the number that each says in a pong.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use omnicast::wire::frame::frame_header;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// How frames are written.
#[derive(Clone, Copy)]
enum Gather {
    /// So many in one write, as soon as they are there.
    Each(usize),
    /// All that have arrived, in one write.
    Arrived,
    /// Not at all: each frame goes to the next client, and nobody else.
    ToOne,
}

/// Serves until it is killed: `THREADS GATHER`, where `GATHER` is a number of frames, 0 for all that have arrived,
/// or `one` for each to one client.
pub fn serve(arguments: &[String]) -> ! {
    let [threads, gather] = arguments else { panic!("THREADS GATHER") };
    let gather = match gather.as_str() {
        "one" => Gather::ToOne,
        "0" => Gather::Arrived,
        n => Gather::Each(n.parse().expect("a number")),
    };
    let mut lines = Vec::new();
    let mut parts = Vec::new();
    let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for _ in 0..threads.parse().expect("a number") {
        let listener = listen(address);
        address = listener.local_addr().unwrap();
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let (sender, receiver) = unbounded();
        lines.push((sender, waker));
        parts.push((listener, poll, receiver));
    }
    println!("ws://{address}/");
    for (index, (listener, poll, inbox)) in parts.into_iter().enumerate() {
        let mut others = lines.clone();
        others.remove(index);
        let (peers, free, numbers) = (Vec::new(), Vec::new(), Vec::new());
        let floor = Floor { poll, peers, free, numbers, next: 0, others, inbox, gather };
        std::thread::spawn(move || floor.run(listener));
    }
    loop {
        std::thread::park();
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(4096).unwrap();
    TcpListener::from_std(socket.into())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    New,
    Reader,
    Publisher,
}

/// The way to another thread: what is to be written there, and its wake.
type Line = (Sender<Arc<[u8]>>, Arc<Waker>);

struct Peer {
    socket: TcpStream,
    role: Role,
}

struct Floor {
    poll: Poll,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    /// Where in `peers` each client is, by its number.
    numbers: Vec<usize>,
    /// Whose turn it is, where each frame goes to one.
    next: usize,
    others: Vec<Line>,
    inbox: Receiver<Arc<[u8]>>,
    gather: Gather,
}

impl Floor {
    fn run(mut self, mut listener: TcpListener) {
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 << 10];
        let mut published = Vec::new();
        let (mut batch, mut count) = (Vec::new(), 0);
        loop {
            self.poll.poll(&mut events, None).unwrap();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    LISTENER => self.accept(&listener),
                    Token(index) => self.read(index, &mut buffer, &mut published),
                }
            }
            let mut at = 0;
            while let Some(used) = take_frame(&mut published[at..], &mut batch) {
                at += used;
                count += 1;
                match self.gather {
                    Gather::Each(n) if n == count => {
                        self.send(&batch);
                        (batch, count) = (Vec::new(), 0);
                    }
                    Gather::ToOne => {
                        self.send_next(&batch);
                        batch.clear();
                    }
                    _ => {}
                }
            }
            published.drain(..at);
            let mut handed = std::mem::take(&mut batch);
            match self.gather {
                Gather::Arrived => {
                    if !handed.is_empty() {
                        self.hand_on(&handed);
                    }
                    while let Ok(more) = self.inbox.try_recv() {
                        handed.extend_from_slice(&more);
                    }
                    if !handed.is_empty() {
                        self.write(&handed);
                    }
                }
                Gather::Each(_) | Gather::ToOne => {
                    batch = handed;
                    while let Ok(more) = self.inbox.try_recv() {
                        self.write(&more);
                    }
                }
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) {
        while let Ok((mut socket, _)) = listener.accept() {
            let index = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            self.poll.registry().register(&mut socket, Token(index), Interest::READABLE).unwrap();
            self.peers[index] = Some(Peer { socket, role: Role::New });
        }
    }

    fn read(&mut self, index: usize, buffer: &mut [u8], published: &mut Vec<u8>) {
        while let Some(peer) = self.peers[index].as_mut() {
            match peer.socket.read(buffer) {
                Ok(n @ 1..) => {
                    match peer.role {
                        Role::New => upgrade(peer, &buffer[..n]),
                        Role::Publisher => published.extend_from_slice(&buffer[..n]),
                        Role::Reader if matches!(self.gather, Gather::ToOne) => {
                            let mut pong = Vec::new();
                            take_frame(&mut buffer[..n], &mut pong).expect("a reader says its number");
                            let number = pong.last_chunk().copied().map_or(0, u32::from_be_bytes) as usize;
                            self.numbers.resize(self.numbers.len().max(number + 1), usize::MAX);
                            self.numbers[number] = index;
                        }
                        Role::Reader => {}
                    }
                    if n < buffer.len() {
                        return;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => {
                    self.peers[index] = None;
                    self.free.push(index);
                }
            }
        }
    }

    /// To everybody, on all threads.
    fn send(&self, bytes: &[u8]) {
        self.hand_on(bytes);
        self.write(bytes);
    }

    fn hand_on(&self, bytes: &[u8]) {
        if self.others.is_empty() {
            return;
        }
        let shared: Arc<[u8]> = bytes.into();
        for (line, waker) in &self.others {
            line.send(shared.clone()).unwrap();
            waker.wake().unwrap();
        }
    }

    fn write(&self, bytes: &[u8]) {
        for peer in self.peers.iter().flatten().filter(|peer| peer.role == Role::Reader) {
            write_one(peer, bytes);
        }
    }

    fn send_next(&mut self, bytes: &[u8]) {
        let index = self.numbers[self.next];
        self.next = (self.next + 1) % self.numbers.len();
        if let Some(peer) = &self.peers[index] {
            write_one(peer, bytes);
        }
    }
}

fn write_one(peer: &Peer, bytes: &[u8]) {
    match (&peer.socket).write(bytes) {
        Ok(n) => assert_eq!(n, bytes.len(), "the floor does not queue: its readers must be fast enough"),
        Err(e) => assert_ne!(e.kind(), ErrorKind::WouldBlock, "the floor does not queue"),
    }
}

fn upgrade(peer: &mut Peer, request: &[u8]) {
    let head = std::str::from_utf8(request).expect("the generator sends a head in one piece");
    let key = head.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.lines().next()).expect("a key");
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    peer.role = if head.starts_with("GET /publish ") { Role::Publisher } else { Role::Reader };
    peer.socket.write_all(answer.as_bytes()).unwrap();
}

/// Turns the first frame of a client into one of a server, at the end of `out`; returns how long it was.
fn take_frame(bytes: &mut [u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut cursor = std::io::Cursor::new(&*bytes);
    let (header, length) = FrameHeader::parse(&mut cursor).expect("the generator sends frames")?;
    let start = cursor.position() as usize;
    let end = start + length as usize;
    let payload = bytes.get_mut(start..end)?;
    if let Some(mask) = header.mask {
        payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= mask[i % 4]);
    }
    out.extend_from_slice(frame_header(payload.len()).as_ref());
    out.extend_from_slice(payload);
    Some(end)
}
