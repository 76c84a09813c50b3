//! What was published is there to be read again, and a post is published once.

use serde_json::{Value, json};

use crate::support::{Client, Control, Node, Response, order, wait_until};

fn ids(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{}", response.body);
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    response.body.lines().map(id).collect()
}

#[test]
fn history_is_read_in_order_from_behind_an_id() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut control = Control::open(&node);
        assert!(ids(&control.ask("GET", "/api/events", "")).is_empty());
        let product = |i: usize| json!({"type": "product:deleted", "data": {"productId": format!("p_{i}")}});
        let events: Vec<_> = (0..9).map(|i| if i % 3 == 2 { product(i) } else { order("o", "c") }).collect();
        let posted = control.post(&Value::Array(events));
        let mut ask = |query: &str| control.ask("GET", &format!("/api/events{query}"), "");
        let all = ask("");
        assert_eq!(ids(&all), posted);
        assert_eq!(all.header("content-type"), Some("application/x-ndjson"));
        assert_eq!(all.header("omnicast-last-event-id"), Some(&*posted[8]));
        assert_eq!(all.header("omnicast-gap"), None);
        assert_eq!(ids(&ask(&format!("?since={}", posted[3]))), posted[4..]);
        assert_eq!(ids(&ask(&format!("?since={}&limit=2", posted[3]))), posted[4..6]);
        assert!(ids(&ask(&format!("?since={}", posted[8]))).is_empty());
        let products: Vec<_> = posted.iter().skip(2).step_by(3).cloned().collect();
        assert_eq!(ids(&ask("?namespace=products")), products);
        assert_eq!(ids(&ask(&format!("?namespace=products&since={}&limit=1", posted[2]))), products[1..2]);
        assert_eq!(ids(&ask("?type=product:deleted,product:created")), products);
        assert_eq!(ids(&ask("?key=o&limit=2")), posted[..2]);
        assert_eq!(ids(&ask("?key=p_5")), posted[5..6]);
        assert!(ids(&ask("?key=p_5&type=order:created")).is_empty());
        // Pages by their cursors, until there is no more.
        let (mut paged, mut since) = (Vec::new(), "0".to_owned());
        loop {
            let page = ask(&format!("?namespace=products&limit=2&since={since}"));
            paged.extend(ids(&page));
            since = page.header("omnicast-cursor").unwrap().to_owned();
            if page.header("omnicast-more").is_none() {
                break;
            }
        }
        assert_eq!((paged, since.as_str()), (products, posted[8].as_str()));
        // The same epoch as the clients hear of.
        let epoch = all.header("omnicast-epoch").unwrap().to_owned();
        let welcome = Client::connect(&node).auth("boss", "admin");
        assert_eq!(welcome["data"]["epoch"], epoch.as_str());
        assert_eq!(ids(&ask(&format!("?epoch={epoch}&since={}", posted[7]))), posted[8..]);
        for (query, code) in [
            ("?since=999", "bad_position"),
            ("?since=x", "bad_position"),
            ("?since=-1", "bad_position"),
            ("?limit=0", "bad_limit"),
            ("?limit=x", "bad_limit"),
            ("?namespace=nowhere", "unknown_namespace"),
            ("?type=nothing:happened", "unknown_type"),
            ("?epoch=0", "epoch_changed"),
        ] {
            let answer = ask(query);
            assert_eq!((answer.status, answer.code().as_str()), (400, code), "{query}");
        }
    }
}

#[test]
fn a_page_of_history_has_a_thousand_events_where_nothing_is_said() {
    let node = Node::start(&[]);
    let mut control = Control::open(&node);
    let posted = control.post(&Value::Array(vec![order("o", "c"); 1_001]));
    assert_eq!(ids(&control.ask("GET", "/api/events", "")), posted[..1_000]);
    assert_eq!(ids(&control.ask("GET", "/api/events?limit=2000", "")), posted);
}

#[test]
fn a_gap_in_the_history_is_announced() {
    let one = order("o_1", "c").to_string().len().to_string();
    for window in [("WS_HISTORY_EVENTS", "3"), ("WS_HISTORY_BYTES", &*one)] {
        let node = Node::start(&[window]);
        let mut control = Control::open(&node);
        let posted: Vec<_> = (0..6).flat_map(|i| control.post(&order(&format!("o_{i}"), "c"))).collect();
        let answer = control.ask("GET", &format!("/api/events?since={}", posted[0]), "");
        assert_eq!(answer.header("omnicast-gap"), Some("true"), "{window:?}");
        let held = ids(&answer);
        assert!(held.len() <= 3 && posted.ends_with(&held), "{window:?}: {held:?}");
        assert_eq!(node.stats()["eventsHeld"], held.len());
        let from = &posted[posted.len() - held.len().max(1)];
        let answer = control.ask("GET", &format!("/api/events?since={from}"), "");
        assert_eq!(answer.header("omnicast-gap"), None, "nothing behind {from} is lost");
    }
}

fn with_key(id: &str, key: &str) -> Value {
    let mut event = order(id, "c");
    event["idempotencyKey"] = key.into();
    event
}

#[test]
fn an_idempotency_key_answers_the_first_id_and_publishes_nothing() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::live(&node, "boss", "admin", &["orders"]);
        let mut control = Control::open(&node);
        let first = control.post(&with_key("o_1", "k_1"));
        assert_eq!(control.post(&with_key("o_1", "k_1")), first);
        assert_eq!(control.post(&with_key("another body", "k_1")), first);
        // Within a batch as well, between events that are new.
        let batch =
            json!([order("o_2", "c"), with_key("o_3", "k_2"), with_key("o_3", "k_2"), with_key("o", "k_1")]);
        let ids = control.post(&batch);
        assert_eq!((&ids[1], &ids[3]), (&ids[2], &first[0]));
        assert_ne!(ids[0], ids[1]);
        // A post that was refused is not remembered.
        let refused = json!([with_key("o_4", "k_3"), {"type": "nothing"}]);
        assert_eq!(control.ask("POST", "/api/events", &refused.to_string()).status, 422);
        let last = control.post(&with_key("o_4", "k_3"));
        assert_eq!(node.metric("events_accepted_total"), 4.0);
        let got: Vec<_> = client.settle(&node).iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(got, [first[0].clone(), ids[0].clone(), ids[1].clone(), last[0].clone()]);
        assert_eq!(node.metric("events_duplicate_total"), 4.0);
        // It is for the node, not for the clients.
        assert!(!control.ask("GET", "/api/events", "").body.contains("k_1"));
    }
}

#[test]
fn an_idempotency_key_is_forgotten_after_its_window() {
    let node = Node::start(&[("WS_IDEMPOTENCY_WINDOW", "100")]);
    let mut control = Control::open(&node);
    let first = control.post(&with_key("o", "k"));
    wait_until("the key is forgotten", || control.post(&with_key("o", "k")) != first);
    let node = Node::start(&[("WS_IDEMPOTENCY_WINDOW", "0")]);
    assert_ne!(node.post(&with_key("o", "k")), node.post(&with_key("o", "k")));
}

/// However much is asked for, an answer is bounded, says that there is more, and asking on with
/// its last id brings all of it; nobody else waits meanwhile.
#[test]
fn a_long_history_comes_in_answers_of_bounded_size() {
    let node = Node::start(&[]);
    let mut large = order("o", "c");
    large["data"]["pad"] = "x".repeat(10_000).into();
    let posted = node.post(&Value::Array(vec![large; 300]));
    let (mut since, mut got, mut answers) = ("0".to_owned(), vec![], 0);
    loop {
        let answer = node.control("GET", &format!("/api/events?limit=65536&since={since}"), "");
        assert!(answer.body.len() < (1 << 20) + 20_000, "{}", answer.body.len());
        for line in answer.body.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            got.push(event["id"].as_str().unwrap().to_owned());
        }
        since = got.last().unwrap().clone();
        answers += 1;
        if answer.header("omnicast-more").is_none() {
            break;
        }
    }
    assert_eq!(got, posted);
    assert_eq!(answers, 3, "3 MB in answers of 1 MiB");
    // A flood of such requests, none of them read, keeps no other post waiting.
    let mut flood = Control::open(&node);
    flood.send("GET /api/events?limit=65536 HTTP/1.1\r\nHost: n\r\n\r\n".repeat(600).as_bytes());
    let began = std::time::Instant::now();
    node.post(&order("o", "c"));
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}
