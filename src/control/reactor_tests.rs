//! Time-outs of the control listener, with a clock that the test moves.

use std::io::Read;
use std::os::unix::net::UnixStream as Peer;

use mio::Waker;

use super::*;
use crate::base::window::{Bounds, Window};
use crate::conn::config::Config;
use crate::control::peer::{LINGER_MS, REQUEST_TIMEOUT_MS};
use crate::journal::memory::Memory;
use crate::publish::idempotency::Idempotency;
use crate::publish::sequencer::Beginning;
use crate::shard::admission::Admission;

/// A control thread that the test turns by hand, and a connection to it.
fn reactor() -> (Reactor, Peer, Id) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let unix = UnixListener::bind(&path).unwrap();
    let poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), WAKER).unwrap();
    let gate = WakeGate::new(move || waker.wake().unwrap());
    let beginning = Beginning {
        journal: Box::new(Memory::default()),
        recent: Window::new(Bounds { items: 10, bytes: 1 << 20 }, 0),
        idempotency: Idempotency::new(1_000),
    };
    let sequencer = Sequencer::new(Arc::new(Config::sample()), Arc::default(), beginning, vec![], 1_000);
    let sources = Sources { admission: Arc::new(Admission::new(1, 1, 1)), shards: vec![], journal: None };
    let listeners = Listeners { unix, tcp: None };
    let (_, inbox) = crossbeam_channel::bounded(1);
    let clock = Clock::start();
    let mut reactor =
        Reactor::new(poll, listeners, sequencer, None, sources, inbox, gate, clock, 1_024).unwrap();
    let peer = Peer::connect(&path).unwrap();
    reactor.accept(NOW);
    let id = reactor.peers.iter().next().expect("it was accepted").0;
    (reactor, peer, id)
}

const NOW: Now = Now { mono: 1_000_000, wall: 0 };

fn read(peer: &mut Peer) -> String {
    peer.set_nonblocking(true).unwrap();
    let mut text = vec![0; 4_096];
    let n = peer.read(&mut text).unwrap_or(0);
    String::from_utf8(text[..n].to_vec()).unwrap()
}

fn serve(reactor: &mut Reactor, id: Id, now: Now) {
    reactor.serve(id, false, now);
    reactor.flush(now);
}

fn fall_due(reactor: &mut Reactor, now: Now) {
    reactor.check_at = 0;
    reactor.fire_deadlines(now);
    reactor.flush(now);
}

#[test]
fn a_request_that_stalls_is_refused_at_its_deadline_and_the_socket_closed() {
    const HEAD: &[u8] = b"POST /api/events HTTP/1.1\r\nHost: n\r\nContent-Length: 9\r\n\r\n";
    for cut in [1, HEAD.len() - 1, HEAD.len()] {
        let (mut reactor, mut peer, id) = reactor();
        peer.write_all(&HEAD[..cut]).unwrap();
        serve(&mut reactor, id, NOW);
        // A byte now and then does not buy time: the deadline is that of the request.
        fall_due(&mut reactor, NOW.plus(REQUEST_TIMEOUT_MS - 1));
        assert_eq!(read(&mut peer), "", "{cut}");
        fall_due(&mut reactor, NOW.plus(REQUEST_TIMEOUT_MS));
        assert!(read(&mut peer).starts_with("HTTP/1.1 408 "), "{cut}");
        assert_eq!(reactor.peers.len(), 1, "it may read why");
        fall_due(&mut reactor, NOW.plus(REQUEST_TIMEOUT_MS + LINGER_MS));
        assert_eq!(reactor.peers.len(), 0);
        assert_eq!(reactor.sequencer.held(), (1, 0), "nothing was published");
    }
}

#[test]
fn bytes_that_trickle_do_not_move_the_deadline() {
    let (mut reactor, mut peer, id) = reactor();
    for (i, byte) in b"POST /api/events HTTP/1.1\r\n".iter().enumerate() {
        peer.write_all(&[*byte]).unwrap();
        serve(&mut reactor, id, NOW.plus(i as u64 * 1_000));
    }
    fall_due(&mut reactor, NOW.plus(REQUEST_TIMEOUT_MS));
    assert!(read(&mut peer).starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_connection_that_rests_between_requests_stays() {
    let (mut reactor, mut peer, id) = reactor();
    peer.write_all(b"GET /api/ws/info HTTP/1.1\r\nHost: n\r\n\r\n").unwrap();
    serve(&mut reactor, id, NOW);
    assert!(read(&mut peer).starts_with("HTTP/1.1 200 "));
    fall_due(&mut reactor, NOW.plus(10 * REQUEST_TIMEOUT_MS));
    assert_eq!(reactor.peers.len(), 1);
    // Each request has a time of its own.
    let later = NOW.plus(20 * REQUEST_TIMEOUT_MS);
    peer.write_all(b"GET ").unwrap();
    serve(&mut reactor, id, later);
    fall_due(&mut reactor, later.plus(REQUEST_TIMEOUT_MS - 1));
    assert_eq!(read(&mut peer), "");
    fall_due(&mut reactor, later.plus(REQUEST_TIMEOUT_MS));
    assert!(read(&mut peer).starts_with("HTTP/1.1 408 "));
}
