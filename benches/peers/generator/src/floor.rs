//! The floor: the least that any server must do. Whoever comes is upgraded; whatever comes over `/publish` goes out to
//! everybody else, with one bare `write` for each socket. No rights, no heartbeat, no limits.
//!
//! It writes each frame by itself, or gathers: then it first takes all frames that have arrived, and writes them as one.

use std::io::{ErrorKind, Read, Write};

use base64::Engine;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use sha1::{Digest, Sha1};

use crate::frames::{first, head_end, server_frame};

const LISTENER: Token = Token(usize::MAX);

struct Peer {
    socket: TcpStream,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asks,
    Listens,
    Publishes,
    Gone,
}

/// Serves on a port of 127.0.0.1 until it is killed.
pub fn run(port: u16, gather: bool) -> ! {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    socket.listen(4096).unwrap();
    let mut listener = TcpListener::from_std(socket.into());
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(1024);
    let mut peers: Vec<Peer> = Vec::new();
    let mut inbox: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut frames = Vec::new();
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() != LISTENER {
                read(&mut peers[event.token().0], &mut buffer, &mut inbox);
                continue;
            }
            while let Ok((mut socket, _)) = listener.accept() {
                poll.registry().register(&mut socket, Token(peers.len()), Interest::READABLE).unwrap();
                peers.push(Peer { socket, stage: Stage::Asks });
            }
        }
        frames.clear();
        let mut at = 0;
        while let Some(frame) = first(&inbox[at..]) {
            let payload = &mut inbox[at + frame.start..at + frame.end];
            payload.iter_mut().zip(frame.mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            server_frame(1, payload, &mut frames);
            at += frame.end;
            if !gather {
                send(&mut peers, &frames);
                frames.clear();
            }
        }
        inbox.drain(..at);
        if !frames.is_empty() {
            send(&mut peers, &frames);
        }
    }
}

fn read(peer: &mut Peer, buffer: &mut [u8], inbox: &mut Vec<u8>) {
    while peer.stage != Stage::Gone {
        match peer.socket.read(buffer) {
            Ok(0) => peer.stage = Stage::Gone,
            Ok(n) if peer.stage == Stage::Publishes => inbox.extend_from_slice(&buffer[..n]),
            Ok(n) if peer.stage == Stage::Asks => upgrade(peer, &buffer[..n]),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(_) => peer.stage = Stage::Gone,
        }
    }
}

fn upgrade(peer: &mut Peer, bytes: &[u8]) {
    let end = head_end(bytes).expect("the generator sends a head in one piece");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let key = head.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let hash = Sha1::new_with_prefix(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        base64::engine::general_purpose::STANDARD.encode(hash)
    );
    peer.socket.write_all(answer.as_bytes()).unwrap();
    peer.stage = if head.starts_with("GET /publish") { Stage::Publishes } else { Stage::Listens };
}

fn send(peers: &mut [Peer], frames: &[u8]) {
    for peer in peers.iter_mut().filter(|peer| peer.stage == Stage::Listens) {
        let mut rest = frames;
        while !rest.is_empty() {
            // The receiver is told to be fast enough: the floor does not queue.
            match peer.socket.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => {
                    peer.stage = Stage::Gone;
                    break;
                }
            }
        }
    }
}
