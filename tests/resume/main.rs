//! Coming back: a client that was away gets exactly what it missed, in order, and then goes live.

mod paused;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::{Client, Node, order, unique};

/// Events that a client got, by id.
fn ids(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|m| m["id"].as_str()?.parse().ok()).collect()
}

fn since(client: &mut Client, namespaces: &[&str], epoch: &str, id: &str) -> Value {
    client.send(&json!({"type": "subscribe", "data": {
        "namespaces": namespaces, "since": {"epoch": epoch, "id": id},
    }}));
    client.expect("subscribed")
}

fn position(subscribed: &Value) -> (String, String) {
    let text = |key: &str| subscribed["data"][key].as_str().unwrap().to_owned();
    (text("epoch"), text("lastEventId"))
}

/// Posts `n` orders of `customer`; returns their ids as numbers.
fn post(node: &Node, n: usize, customer: &str) -> Vec<u64> {
    let events: Vec<Value> = (0..n).map(|_| order(&unique("order"), customer)).collect();
    node.post(&json!(events)).iter().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn what_was_missed_comes_in_order_and_then_what_is_new() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::connect(&node);
        client.auth("boss", "admin");
        let (epoch, id) = position(&client.subscribe(&["orders"]));
        assert_eq!(id, "0", "a position is there although no event was ever sent");
        drop(client);
        let missed = post(&node, 700, "cust_1");
        let mut client = Client::connect(&node);
        client.auth("boss", "admin");
        let answer = since(&mut client, &["orders"], &epoch, &id);
        assert_eq!(answer["data"]["recovered"], true);
        let caught_up = client.expect("caught_up");
        assert_eq!(caught_up["data"], json!({"namespaces": ["orders"], "replayed": 700}));
        assert_eq!(ids(&client.passed()), missed);
        let live = post(&node, 3, "cust_1");
        assert_eq!(ids(&client.sync()), live);
    }
}

#[test]
fn nobody_is_replayed_what_is_not_for_them() {
    let node = Node::start(&[]);
    let (epoch, id) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
    let theirs = post(&node, 5, "cust_1");
    post(&node, 5, "cust_2");
    node.post(&json!({"type": "payment:refunded", "data": {
        "paymentId": "p", "orderId": "o", "customerId": "cust_1", "amount": 1}}));
    let addressed = node.post(&json!({"type": "system:notification", "targetRoles": ["customer"],
        "data": {"title": "t", "message": "m", "severity": "info"}}));
    let mut client = Client::connect(&node);
    client.auth("cust_1", "customer");
    since(&mut client, &["orders"], &epoch, &id);
    let caught_up = client.expect("caught_up");
    let mut due = theirs;
    due.push(addressed[0].parse().unwrap());
    assert_eq!(ids(&client.passed()), due, "own orders, and the system event that is addressed");
    assert_eq!(caught_up["data"]["replayed"], 6);
}

#[test]
fn what_is_posted_during_a_replay_comes_after_it_once() {
    let node = Node::start(&[]);
    let (epoch, id) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
    let mut all = post(&node, 5_000, "cust_1");
    let mut client = Client::connect(&node);
    client.auth("boss", "admin");
    client.send(&json!({"type": "subscribe", "data": {
        "namespaces": ["orders", "products"], "since": {"epoch": epoch, "id": id}}}));
    for _ in 0..50 {
        all.extend(post(&node, 20, "cust_1"));
    }
    let marker = unique("marker");
    node.post(&json!({"type": "product:deleted", "data": {"productId": marker}}));
    let mut got = vec![];
    loop {
        let message = client.message();
        if message["data"]["productId"] == marker.as_str() {
            break;
        }
        got.push(message);
    }
    assert_eq!(ids(&got), all);
}

#[test]
fn a_replay_longer_than_the_backlog_makes_progress() {
    let node = Node::start(&[("WS_MAX_BACKLOG", "65536")]);
    let (epoch, id) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
    let mut missed = vec![];
    for _ in 0..20 {
        missed.extend(post(&node, 500, "cust_1"));
    }
    let mut client = Client::connect(&node);
    client.auth("boss", "admin");
    since(&mut client, &["orders"], &epoch, &id);
    client.expect("caught_up");
    assert_eq!(ids(&client.passed()), missed, "some 2 MB through a backlog of 64 KiB");
}

#[test]
fn two_subscriptions_are_restored_each_from_its_own_position() {
    let node = Node::start(&[]);
    let (epoch, zero) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
    let product = |n: u32| json!({"type": "product:deleted", "data": {"productId": format!("p{n}")}});
    let first = post(&node, 1000, "c");
    node.post(&product(1));
    let second = post(&node, 1000, "c");
    let late = node.post(&product(2));
    let mut client = Client::connect(&node);
    client.auth("boss", "admin");
    let middle = (first[0] + 1000).to_string();
    client.send(&json!({"type": "subscribe", "id": 1, "data": {
        "namespace": "orders", "since": {"epoch": epoch, "id": zero}}}));
    client.send(&json!({"type": "subscribe", "id": 2, "data": {
        "namespace": "products", "since": {"epoch": epoch, "id": middle}}}));
    client.expect("caught_up");
    client.expect("caught_up");
    let got = client.passed();
    let of = |namespace: &str| {
        ids(&got.iter().filter(|m| m["namespace"] == namespace).cloned().collect::<Vec<_>>())
    };
    assert_eq!(of("orders"), [first, second].concat());
    assert_eq!(of("products"), [late[0].parse::<u64>().unwrap()]);
}

#[test]
fn what_cannot_be_replayed_is_said_with_its_reason() {
    let node = Node::start(&[("WS_HISTORY_EVENTS", "10")]);
    let (epoch, zero) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
    let posted = post(&node, 20, "c");
    let mut client = Client::connect(&node);
    client.auth("boss", "admin");
    let last = *posted.last().unwrap();
    let cases = [
        ("another", last.to_string(), Some("epoch_changed")),
        (&*epoch, zero, Some("window_exceeded")),
        (&epoch, (last - 11).to_string(), Some("window_exceeded")),
        (&epoch, (last + 1).to_string(), Some("bad_position")),
        (&epoch, "x".to_owned(), Some("bad_position")),
        (&epoch, (last - 10).to_string(), None),
        (&epoch, last.to_string(), None),
    ];
    for (epoch, id, reason) in cases {
        let answer = since(&mut client, &["orders"], epoch, &id);
        assert_eq!(answer["data"]["recovered"], reason.is_none(), "{id}: {answer}");
        assert_eq!(answer["data"]["reason"].as_str(), reason, "{id}: {answer}");
        if reason.is_none() {
            let caught_up = client.expect("caught_up");
            assert_eq!(caught_up["data"]["replayed"], last - id.parse::<u64>().unwrap());
        }
    }
}

#[test]
fn no_answer_runs_ahead_of_a_replay() {
    let node = Node::start(&[]);
    let (epoch, zero) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
    let all: Vec<u64> = (0..10).flat_map(|_| post(&node, 500, "cust_1")).collect();
    let session = support::identity("boss", "admin");
    // Another subscription without a position, one with the newest, and another credential.
    let newest = json!({"epoch": epoch, "id": all.last().unwrap().to_string()});
    let questions = [
        ("subscribed", json!({"type": "subscribe", "data": {"namespaces": ["products"]}})),
        ("subscribed", json!({"type": "subscribe", "data": {"namespaces": ["payments"], "since": newest}})),
        ("system:notification", json!({"type": "auth", "data": session})),
    ];
    for (kind, question) in questions {
        let mut client = Client::connect(&node);
        client.send(&json!({"type": "auth", "data": session}));
        client.expect_welcome();
        let replay = json!({"type": "subscribe", "data": {
            "namespaces": ["orders"], "since": {"epoch": epoch, "id": zero}}});
        let both = [&replay, &question].map(|m| support::frame(0x81, m.to_string().as_bytes())).concat();
        client.send_raw(&both);
        client.expect("subscribed");
        let (epoch, id) = position(&client.expect(kind));
        let mut got = ids(&client.passed());
        assert!(
            id.parse::<u64>().unwrap() <= got.last().copied().unwrap_or(0),
            "{id} after {:?}",
            got.last()
        );
        drop(client);

        let mut client = Client::live(&node, "boss", "admin", &[]);
        since(&mut client, &["orders"], &epoch, &id);
        client.expect("caught_up");
        got.extend(ids(&client.passed()));
        got.sort_unstable();
        got.dedup();
        assert_eq!(got, all, "one who is cut off there and comes back with {id} misses nothing");
        let (_, id) = position(&client.subscribe(&["products"]));
        assert_eq!(id, all.last().unwrap().to_string(), "and then it is not behind any more");
    }
}

#[test]
fn resuming_works_any_number_of_times_also_while_the_old_socket_is_open() {
    let node = Node::start(&[]);
    let mut old: Vec<Client> = vec![];
    let (epoch, mut id) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
    for _ in 0..10 {
        let missed = post(&node, 30, "c");
        let mut client = Client::connect(&node);
        client.auth("boss", "admin");
        since(&mut client, &["orders"], &epoch, &id);
        client.expect("caught_up");
        let got = ids(&client.passed());
        assert_eq!(got, missed);
        id = got.last().unwrap().to_string();
        old.push(client);
    }
}

#[test]
fn a_system_event_that_is_addressed_comes_once_however_many_subscriptions_are_restored() {
    let node = Node::start(&[]);
    let (epoch, zero) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
    let notice = |text: &str| {
        let event = json!({"type": "system:notification", "targetRoles": ["staff"],
            "data": {"title": "t", "message": text, "severity": "info"}});
        node.post(&event)[0].parse::<u64>().unwrap()
    };
    let missed = [notice("1"), notice("2")];
    let mut client = Client::connect(&node);
    client.auth("someone", "staff");
    let live = notice("3");
    for (n, namespace) in ["orders", "products", "inventory"].iter().enumerate() {
        since(&mut client, &[namespace], &epoch, &zero);
        let caught_up = client.expect("caught_up");
        assert_eq!(caught_up["data"]["replayed"], if n == 0 { 2 } else { 0 }, "{namespace}");
    }
    assert_eq!(ids(&client.passed()), [live, missed[0], missed[1]]);
}

#[test]
fn a_replay_goes_on_by_itself_when_its_client_takes_everything() {
    // Nothing else wakes the node: no ping, no event, no other client.
    let node = Node::start(&[("WS_PING_INTERVAL", "3600000")]);
    let (epoch, id) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
    let event = |n: u32| {
        json!({"type": "order:updated", "data": {
            "orderId": format!("o{n}"), "changes": {"note": "x".repeat(20_000)}}})
    };
    let missed: Vec<u64> =
        (0..100).flat_map(|n| node.post(&event(n))).map(|id| id.parse().unwrap()).collect();
    let mut client = Client::connect(&node);
    client.auth("boss", "admin");
    let began = std::time::Instant::now();
    since(&mut client, &["orders"], &epoch, &id);
    client.expect("caught_up");
    assert_eq!(ids(&client.passed()), missed);
    assert!(began.elapsed().as_secs() < 5, "2 MB took {:?}", began.elapsed());
}

#[test]
fn a_crowd_comes_back_at_once_while_others_get_live_events() {
    const CROWD: usize = 300;
    for shards in ["1", "4"] {
        let limits = [
            ("WS_MAX_CONNECTIONS_PER_IP", "1000"),
            ("WS_CONNECT_RATE_PER_IP", "10000"),
            // The crowd is read one after the other: who is last answers no ping meanwhile.
            ("WS_PING_INTERVAL", "600000"),
        ];
        let settings: Vec<_> = [("WS_SHARDS", shards)].into_iter().chain(limits).collect();
        let node = Node::start(&settings);
        let mut watchers: Vec<Client> =
            (0..10).map(|n| Client::live(&node, &format!("w{n}"), "staff", &["orders"])).collect();
        let (epoch, zero) = position(&Client::live(&node, "x", "admin", &[]).subscribe(&["orders"]));
        let mut all = post(&node, 1_000, "c");
        let mut crowd: Vec<Client> = (0..CROWD)
            .map(|n| {
                let mut client = Client::connect(&node);
                client.auth(&format!("u{n}"), "manager");
                client
            })
            .collect();
        // Each from its own position.
        let seen = |n: usize| if n == 0 { zero.clone() } else { all[n * 3 - 1].to_string() };
        let since: Vec<String> = (0..CROWD).map(seen).collect();
        for (client, id) in crowd.iter_mut().zip(&since) {
            client.send(&json!({"type": "subscribe", "data": {
                "namespace": "orders", "since": {"epoch": epoch, "id": id}}}));
        }
        for _ in 0..20 {
            all.extend(post(&node, 10, "c"));
        }
        for watcher in &mut watchers {
            assert_eq!(ids(&watcher.sync()), all);
        }
        for (client, id) in crowd.iter_mut().zip(&since) {
            let id: u64 = id.parse().unwrap();
            let answer = client.expect("subscribed");
            let until: u64 = position(&answer).1.parse().unwrap();
            assert_eq!(answer["data"]["recovered"], true);
            assert_eq!(client.expect("caught_up")["data"]["replayed"], until - id);
            let mut got = ids(&client.passed());
            assert_eq!(got, all.iter().copied().filter(|p| *p > id && *p <= until).collect::<Vec<_>>());
            let last = *all.last().unwrap();
            while got.last().is_none_or(|p| *p < last) {
                got.extend(ids(&[client.message()]));
            }
            assert_eq!(got, all.iter().copied().filter(|p| *p > id).collect::<Vec<_>>());
        }
    }
}
