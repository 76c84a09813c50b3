//! `WS_BATCH_WINDOW`: events that follow another closely wait for one another, and for nothing else.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Node, order};

/// Long beside what a busy machine takes for a few posts, short beside a test.
const WINDOW_MS: &str = "900";
const WINDOW: Duration = Duration::from_millis(900);

fn node() -> Node {
    // No ping is written in between.
    Node::start(&[("WS_BATCH_WINDOW", WINDOW_MS), ("WS_SHARDS", "1"), ("WS_PING_INTERVAL", "3600000")])
}

/// Posts an order, which leaves at once, so that a window begins; returns when it did at the earliest.
fn begin(node: &Node, clients: &mut [&mut Client]) -> Instant {
    std::thread::sleep(WINDOW);
    let began = Instant::now();
    node.post(&order("first", "ada"));
    for client in clients {
        assert_eq!(client.expect("order:created")["data"]["orderId"], "first");
    }
    assert!(began.elapsed() < WINDOW, "the first after a silence waits for nobody");
    began
}

#[test]
fn events_of_a_window_leave_together_when_it_closes() {
    let node = node();
    let [mut a, mut b] = ["a", "b"].map(|user| Client::live(&node, user, "admin", &["orders"]));
    let began = begin(&node, &mut [&mut a, &mut b]);
    let before = (node.metric("writes_total"), node.metric("deliveries_total"));
    for n in 0..5 {
        node.post(&order(&format!("o{n}"), "ada"));
    }
    for client in [&mut a, &mut b] {
        for n in 0..5 {
            assert_eq!(client.expect("order:created")["data"]["orderId"], format!("o{n}"));
        }
    }
    let took = began.elapsed();
    assert!(took >= WINDOW, "nothing leaves before: {took:?}");
    let writes = node.metric("writes_total") - before.0;
    let deliveries = node.metric("deliveries_total") - before.1;
    assert_eq!((writes, deliveries), (2.0, 10.0), "one write for each client");
}

#[test]
fn whoever_asks_and_whoever_is_meant_gets_at_once_what_came_before() {
    let node = node();
    let [mut asks, mut meant, mut other] =
        ["asks", "meant", "other"].map(|user| Client::live(&node, user, "admin", &["orders"]));
    let began = begin(&node, &mut [&mut asks, &mut meant, &mut other]);
    node.post(&order("o1", "ada"));
    asks.send(&json!({ "type": "ping", "id": "p" }));
    assert_eq!(asks.message()["data"]["orderId"], "o1", "before the answer");
    assert_eq!(asks.message()["type"], "pong");
    let mut note = order("o2", "ada");
    note["userIds"] = json!(["meant"]);
    node.post(&note);
    assert_eq!(meant.message()["data"]["orderId"], "o1", "in their order");
    assert_eq!(meant.message()["data"]["orderId"], "o2");
    assert!(began.elapsed() < WINDOW, "the window is open still");
    assert_eq!(other.message()["data"]["orderId"], "o1");
    assert!(began.elapsed() >= WINDOW);
    assert_eq!((asks.sync().len(), meant.sync().len()), (0, 0), "nothing comes twice");
}

#[test]
fn a_window_that_is_full_closes_early_and_nobody_is_sent_away_before_the_rest() {
    let mut node = node();
    let mut client = Client::live(&node, "u", "admin", &["orders"]);
    let began = begin(&node, &mut [&mut client]);
    let many: Vec<_> = (0..300).map(|n| order(&format!("m{n}"), "ada")).collect();
    node.post(&json!(many));
    for n in 0..300 {
        assert_eq!(client.expect("order:created")["data"]["orderId"], format!("m{n}"));
    }
    assert!(began.elapsed() < WINDOW, "256 events are enough: {:?}", began.elapsed());

    begin(&node, &mut [&mut client]);
    node.post(&order("last", "ada"));
    node.signal("TERM");
    assert_eq!(client.expect("order:created")["data"]["orderId"], "last", "before it is sent away");
    assert_eq!(client.expect_close().0, 1001);
    assert!(node.wait(Duration::from_secs(10)).success());
}
