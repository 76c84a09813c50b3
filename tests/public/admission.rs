//! Who is too many.

use std::io::Read;
use std::net::TcpStream;

use crate::support::{Client, Node, PATIENCE, Response, read_response, wait_until};

/// Comes in through a proxy that forwards this.
fn forwarded(node: &Node, by: &str) -> Result<Client, Response> {
    Client::connect_with(node, &format!("X-Forwarded-For: {by}\r\n"))
}

fn assert_429(outcome: Result<Client, Response>, who: &str) {
    let Err(response) = outcome else { panic!("{who} came in") };
    assert_eq!((response.status, response.code().as_str()), (429, "too_many_connections"), "{who}");
    let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{who}: {wait}");
}

#[test]
fn a_full_node_says_when_to_come_back() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards), ("WS_MAX_CONNECTIONS", "3")]);
        let mut held: Vec<Client> = (0..3).map(|_| Client::connect(&node)).collect();
        let response = Client::connect_with(&node, "").err().expect("the node is full");
        assert_eq!((response.status, response.code().as_str()), (503, "node_full"));
        assert!(response.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(node.get("/readyz").status, 200, "plain requests are answered all the same");
        drop(held.pop());
        wait_until("a seat is free", || Client::connect_with(&node, "").is_ok());
    }
}

#[test]
fn sockets_beyond_all_bounds_are_answered_too() {
    let node = Node::start(&[("WS_MAX_CONNECTIONS", "1"), ("WS_SHARDS", "1")]);
    wait_until("readiness requests are gone", || node.metric("sockets") == 0.0);
    // One seat and 64 to spare.
    let idle: Vec<TcpStream> = (0..65).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    wait_until("all are accepted", || node.metric("sockets") == 65.0);
    let mut extra = TcpStream::connect(node.address).unwrap();
    extra.set_read_timeout(Some(PATIENCE)).unwrap();
    let response = read_response(&mut extra);
    assert_eq!((response.status, response.code().as_str()), (503, "node_full"));
    assert!(response.header("retry-after").is_some());
    assert_eq!(extra.read(&mut [0; 8]).unwrap(), 0, "the length fits the body");
    drop(idle);
    wait_until("the node serves again", || node.metric("sockets") == 0.0);
    Client::live(&node, "u", "admin", &["orders"]).sync();
}

#[test]
fn an_address_has_so_many_connections() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards), ("WS_MAX_CONNECTIONS_PER_IP", "2")]);
        let one = forwarded(&node, "203.0.113.7").unwrap();
        let _two = forwarded(&node, "203.0.113.7").unwrap();
        assert_429(forwarded(&node, "203.0.113.7"), "the third");
        let _other = forwarded(&node, "203.0.113.8").unwrap();
        for _ in 0..4 {
            Client::connect(&node); // The proxy itself is not limited.
        }
        one.reset();
        wait_until("its place is free", || forwarded(&node, "203.0.113.7").is_ok());
    }
}

#[test]
fn an_address_is_the_rightmost_that_no_trusted_proxy_has() {
    let node =
        Node::start(&[("WS_MAX_CONNECTIONS_PER_IP", "1"), ("WS_TRUSTED_PROXIES", "loopback,10.0.0.0/8")]);
    let _held = forwarded(&node, "203.0.113.7").unwrap();
    for same in [
        "203.0.113.7",
        "1.2.3.4, 203.0.113.7",
        "nonsense, 203.0.113.7",
        "203.0.113.7, 10.1.2.3",
        "203.0.113.7,10.1.2.3 , 127.0.0.1",
        "1.2.3.4\r\nX-Forwarded-For: 203.0.113.7",
        "203.0.113.7:4711",
        "::ffff:203.0.113.7",
    ] {
        assert_429(forwarded(&node, same), same);
    }
    let _other = forwarded(&node, "203.0.113.7, 203.0.113.9").unwrap();
    // Garbage is counted for the proxy, and is so no way around the limit.
    let _garbage = forwarded(&node, "203.0.113.7, garbage").unwrap();
    assert_429(forwarded(&node, "other garbage"), "garbage");
}

#[test]
fn an_ipv6_network_is_one_address() {
    let node = Node::start(&[("WS_MAX_CONNECTIONS_PER_IP", "2")]);
    let _one = forwarded(&node, "2001:db8:1:2::1").unwrap();
    let _two = forwarded(&node, "2001:db8:1:2:ffff::2").unwrap();
    assert_429(forwarded(&node, "2001:db8:1:2:abcd:1:2:3"), "the same /64");
    assert_429(forwarded(&node, "[2001:db8:1:2::9]:443"), "the same /64 with a port");
    let _other = forwarded(&node, "2001:db8:1:3::1").unwrap();
}

#[test]
fn an_address_connects_so_often() {
    let node = Node::start(&[("WS_CONNECT_RATE_PER_IP", "3")]);
    for _ in 0..3 {
        forwarded(&node, "203.0.113.7").unwrap();
    }
    assert_429(forwarded(&node, "203.0.113.7"), "the fourth within a minute, though none is open");
    forwarded(&node, "203.0.113.8").unwrap();
    forwarded(&node, "2001:db8::1").unwrap();
}

#[test]
fn an_address_gets_its_permits_back_at_the_rate() {
    // One every 200 ms.
    let node = Node::start(&[("WS_CONNECT_RATE_PER_IP", "300"), ("WS_SHARDS", "1")]);
    wait_until("the burst is used up", || forwarded(&node, "203.0.113.7").is_err());
    wait_until("one comes back", || forwarded(&node, "203.0.113.7").is_ok());
    assert_429(forwarded(&node, "203.0.113.7"), "one, not more");
}

#[test]
fn nobody_but_a_trusted_proxy_speaks_for_others() {
    for proxies in ["", "10.0.0.0/8, 2001:db8::/32"] {
        let node = Node::start(&[("WS_MAX_CONNECTIONS_PER_IP", "2"), ("WS_TRUSTED_PROXIES", proxies)]);
        wait_until("readiness requests are gone", || node.metric("sockets") == 0.0);
        let _one = forwarded(&node, "203.0.113.1").unwrap();
        let _two = forwarded(&node, "203.0.113.2").unwrap();
        assert_429(forwarded(&node, "203.0.113.3"), "the third of 127.0.0.1, whatever it says");
    }
}
