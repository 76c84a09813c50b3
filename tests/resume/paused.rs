//! Clients that stop reading: the node's memory stays flat, nobody else waits, and they come back
//! to what they missed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Node, rss, unique};
use crate::{ids, position, since};

const CLIENTS: usize = 100;
/// One in a hundred.
const PAUSED: usize = 1;
/// Bytes of one event's filling.
const FILLING: usize = 1_000;
/// Events of one post.
const BATCH: usize = 50;
/// What a node may grow by while it works, apart from what its settings allow: the allocator's ways.
const SLACK: u64 = 4 << 20;

fn post(node: &Node) -> u64 {
    let filling = "x".repeat(FILLING);
    let event = json!({"type": "order:deleted", "data": {"orderId": unique("o"), "filling": filling}});
    node.post(&json!(vec![event; BATCH])).last().unwrap().parse().unwrap()
}

/// Reads until the event of `id` has come.
fn read_to(client: &mut Client, id: u64, seen: &mut Vec<u64>) {
    while seen.last().is_none_or(|last| *last < id) {
        let message: Value = client.message();
        if message["type"] == "order:deleted" {
            seen.extend(ids(std::slice::from_ref(&message)));
        }
    }
}

#[test]
fn memory_stays_flat_while_some_do_not_read() {
    let node = Node::start(&[
        ("WS_MAX_BACKLOG", "131072"),
        ("WS_HISTORY_EVENTS", "2000"),
        ("WS_HISTORY_BYTES", "4194304"),
        ("WS_MAX_CONNECTIONS_PER_IP", "10000"),
        // Those who do not read answer no ping either.
        ("WS_PING_INTERVAL", "600000"),
    ]);
    let mut readers: Vec<Client> =
        (0..CLIENTS - PAUSED).map(|n| Client::live(&node, &format!("u{n}"), "admin", &["orders"])).collect();
    let pause = || {
        let mut client = Client::connect(&node);
        client.auth("lazy", "admin");
        let at = position(&client.subscribe(&["orders"]));
        (client, at)
    };
    let mut paused: Vec<_> = (0..PAUSED).map(|_| pause()).collect();
    let mut seen = vec![Vec::new(); readers.len()];
    let mut round = |readers: &mut [Client]| {
        let last = post(&node);
        for (client, seen) in readers.iter_mut().zip(&mut seen) {
            read_to(client, last, seen);
        }
        last
    };
    // Until the windows are full, and the first of those who do not read have been ended.
    let slow = || node.metric("closes_total{reason=\"slow_consumer\"}");
    let begin = Instant::now();
    let mut rounds = 0;
    while slow() < PAUSED as f64 || rounds < 2 * 2000 / BATCH {
        round(&mut readers);
        rounds += 1;
        assert!(begin.elapsed() < Duration::from_secs(600), "nobody is ended for not reading");
    }
    let before = rss(node.pid());
    // Those who were ended come back, and stop reading again, over and over.
    let (mut comebacks, mut most) = (0, 0);
    for _ in 0..3 * rounds {
        round(&mut readers);
        if slow() >= (comebacks + PAUSED) as f64 {
            comebacks += PAUSED;
            paused = (0..PAUSED).map(|_| pause()).collect();
        }
        most = most.max(rss(node.pid()));
    }
    assert!(comebacks >= PAUSED, "they came back {comebacks} times");
    assert!(most < before + before / 20 + SLACK, "{before} bytes became {most}");
    // And one who missed something gets it whole, if that is still held.
    let (epoch, id) = paused.remove(0).1;
    let last = round(&mut readers);
    let mut client = Client::connect(&node);
    client.auth("lazy", "admin");
    let answer = since(&mut client, &["orders"], &epoch, &id);
    let id: u64 = id.parse().unwrap();
    if answer["data"]["recovered"] == true {
        let mut replayed = Vec::new();
        read_to(&mut client, last, &mut replayed);
        assert_eq!(replayed, (id + 1..=last).collect::<Vec<_>>());
    } else {
        assert_eq!(answer["data"]["reason"], "window_exceeded");
        assert!(last - id > 2000);
    }
    for seen in seen {
        assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "a reader missed something");
    }
}
