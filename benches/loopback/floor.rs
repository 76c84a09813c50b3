//! The floor: upgrade whoever comes, then write every frame to every socket with one bare call
//! each. No rights, no heartbeat, no limits.
//!
//! The first connection to send a line `PUBLISH` becomes the publisher: what follows are frames,
//! each behind its length in four bytes.

use std::io::{ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);

/// Serves until it is killed.
pub fn run() -> ! {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(4096).unwrap();
    let mut listener = TcpListener::from_std(socket.into());
    println!("{}", listener.local_addr().unwrap());
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(1024);
    let mut sockets: Vec<(TcpStream, bool)> = Vec::new();
    let mut publisher = None;
    let mut inbox: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    poll.registry().register(&mut socket, Token(sockets.len()), Interest::READABLE).unwrap();
                    sockets.push((socket, false));
                }
                continue;
            }
            let index = event.token().0;
            loop {
                let (socket, upgraded) = &mut sockets[index];
                match socket.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) if publisher == Some(index) => inbox.extend_from_slice(&buffer[..n]),
                    Ok(n) if buffer[..n].starts_with(b"PUBLISH\n") => {
                        publisher = Some(index);
                        inbox.extend_from_slice(&buffer[8..n]);
                    }
                    Ok(n) if !*upgraded => {
                        let head = std::str::from_utf8(&buffer[..n]).unwrap();
                        let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().lines().next().unwrap();
                        let answer = format!(
                            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                             Sec-WebSocket-Accept: {}\r\n\r\n",
                            derive_accept_key(key.as_bytes())
                        );
                        socket.write_all(answer.as_bytes()).unwrap();
                        *upgraded = true;
                    }
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => panic!("{e}"),
                }
            }
        }
        let mut at = 0;
        while let Some(length) = inbox.get(at..at + 4) {
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            let Some(frame) = inbox.get(at + 4..at + 4 + length) else { break };
            for (socket, upgraded) in &mut sockets {
                if *upgraded {
                    // The receiver is told to be fast enough: the floor does not queue.
                    assert_eq!(socket.write(frame).unwrap(), frame.len());
                }
            }
            at += 4 + length;
        }
        inbox.drain(..at);
    }
}
