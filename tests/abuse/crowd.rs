//! Very many at once: they come together, and a fifth of them goes together.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::company::{Company, WITNESSES};
use crate::support::{Client, Node, descriptors, frame, identity, wait_until};

/// So many come, where the system lets this process have the sockets; the long form has ten times as many.
fn size() -> usize {
    std::env::var("OMNICAST_CROWD").map_or(1_000, |text| text.parse().unwrap())
}

#[test]
fn a_crowd_comes_at_once_and_a_fifth_of_it_is_cut_off() {
    let size = size();
    let max = (size + 100).to_string();
    let mut node = Node::start(&[
        ("WS_MAX_CONNECTIONS", &max),
        ("WS_MAX_CONNECTIONS_PER_IP", &max),
        ("WS_PRESENCE_GRACE", "0"),
        ("WS_SHARDS", "2"),
    ]);
    let company = Company::open(&node);
    wait_until("the first requests are gone", || node.metric("sockets") == WITNESSES as f64);
    let descriptors_before = descriptors(node.pid()) + 1;
    let began = Instant::now();
    // Nobody waits for an answer before the next one sets out.
    let mut crowd: Vec<TcpStream> = Vec::with_capacity(size);
    let request = Client::upgrade_request(&node);
    for n in 0..size {
        let mut stream = TcpStream::connect(node.address).unwrap();
        let auth = json!({"type": "auth", "data": identity(&format!("member_{n}"), "customer")}).to_string();
        let subscribe = br#"{"type":"subscribe","data":{"namespaces":["orders","products"]}}"#;
        let hello = [request.as_bytes(), &frame(0x81, auth.as_bytes()), &frame(0x81, subscribe)].concat();
        stream.write_all(&hello).unwrap();
        crowd.push(stream);
    }
    let all = size as u64 + WITNESSES;
    wait_until("all are there", || node.stats()["connectionsByNamespace"]["orders"] == all);
    let came = began.elapsed();
    let stayers = crowd.split_off(size / 5);
    drop(crowd); // What they have not read makes it a reset.
    let left = stayers.len() as u64 + WITNESSES;
    wait_until("a fifth is gone", || node.stats()["connectionsByNamespace"]["orders"] == left);
    assert_eq!(node.stats()["customersOnline"], left - WITNESSES + 1);
    drop(stayers);
    wait_until("all are gone", || node.metric("sockets") == WITNESSES as f64);
    wait_until("no descriptor leaks", || descriptors(node.pid()) <= descriptors_before);
    let (posted, worst) = company.close();
    eprintln!("{size} came in {came:?}; {posted} events meanwhile, the slowest took {worst:?}");
    assert!(worst < Duration::from_secs(5), "a healthy client waited {worst:?}");
    node.signal("TERM");
    assert_eq!(node.wait(Duration::from_secs(15)).code(), Some(0));
}
