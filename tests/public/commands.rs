//! The commands of a live connection, and every way in which they are refused.

use serde_json::{Value, json};

use crate::support::{Client, Frame, Node, frame, now_ms, order};

const NOTHING: [Value; 0] = [];

#[test]
fn every_command_is_refused_alike_before_auth() {
    let node = Node::start(&[]);
    let mut client = Client::connect(&node);
    let mut texts = Vec::new();
    for message in [
        json!({"type": "ping"}),
        json!({"type": "presence"}),
        json!({"type": "subscribe", "data": {"namespace": "orders"}}),
        json!({"type": "subscribe", "data": {"namespace": "nothing"}}),
        json!({"type": "unsubscribe", "data": {"namespace": "orders"}}),
        json!({"type": "publish", "data": {"type": "customer:activity", "data": {}}}),
        json!({"type": "no_such_command"}),
    ] {
        let answer = client.ask("x", message);
        assert_eq!(answer["type"], "error");
        assert_eq!(answer["data"]["code"], "not_authenticated");
        texts.push(answer["data"].clone());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "the same for every command: {texts:?}");
    client.auth("u", "admin");
}

#[test]
fn every_answer_echoes_the_id_of_its_question() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "u", "customer", &[]);
    for id in [json!("text"), json!(7), json!(-1.5e3), json!("\u{1f600}\"\\\n"), json!(""), json!(0)] {
        for (message, kind) in [
            (json!({"type": "ping"}), "pong"),
            (json!({"type": "subscribe", "data": {"namespace": "products"}}), "subscribed"),
            (json!({"type": "unsubscribe", "data": {"namespace": "products"}}), "unsubscribed"),
            (json!({"type": "nothing"}), "error"),
        ] {
            let mut message = message;
            message["id"] = id.clone();
            client.send(&message);
            let answer = client.message();
            assert_eq!((&answer["type"], &answer["id"]), (&json!(kind), &id));
        }
    }
    // Digits are echoed as they came, and who sends none gets none.
    client.send_text(r#"{"id":12345678901234567890123,"type":"ping"}"#);
    let Frame::Text(pong) = client.next() else { panic!() };
    assert!(pong["id"].is_number());
    client.send(&json!({"type": "ping"}));
    assert_eq!(client.message().get("id"), None);
    for id in [json!(null), json!(true), json!({}), json!([1]), json!("x".repeat(200))] {
        client.send(&json!({"type": "ping", "id": id}));
        let (code, answer) = client.expect_error();
        assert_eq!((code.as_str(), &answer["data"]["field"]), ("bad_message", &json!("id")), "{id}");
        assert_eq!(answer.get("id"), None);
    }
}

#[test]
fn a_ping_is_answered_with_the_time() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "u", "guest", &[]);
    let pong = client.ask("p", json!({"type": "ping"}));
    assert_eq!(pong["type"], "pong");
    assert!(pong["timestamp"].as_u64().unwrap().abs_diff(now_ms()) < 60_000);
}

#[test]
fn what_is_no_command_is_named_and_the_connection_stays() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "u", "admin", &[]);
    let deep = format!(r#"{{"type":"ping","data":{}1{}}}"#, "[".repeat(16), "]".repeat(16));
    let deep_bomb = "[".repeat(60_000);
    let wide =
        format!(r#"{{"type":"ping",{}"z":1}}"#, (0..64).map(|i| format!("\"k{i}\":1,")).collect::<String>());
    for (text, code, field) in [
        ("", "bad_json", None),
        (" ", "bad_json", None),
        ("nope", "bad_json", None),
        ("{", "bad_json", None),
        ("{\"type\":\"ping\"", "bad_json", None),
        ("{\"type\":\"ping\"}}", "bad_json", None),
        ("{'type':'ping'}", "bad_json", None),
        ("{\"type\":\"ping\",}", "bad_json", None),
        ("{\"type\":\"pi\nng\"}", "bad_json", None),
        ("{\"type\":\"ping\",\"id\":01}", "bad_json", None),
        ("{\"type\":\"ping\",\"x\":NaN}", "bad_json", None),
        ("\u{feff}{\"type\":\"ping\"}", "bad_json", None),
        (deep_bomb.as_str(), "bad_", None),
        ("[]", "bad_message", None),
        ("[{\"type\":\"ping\"}]", "bad_message", None),
        ("null", "bad_message", None),
        ("7", "bad_message", None),
        ("\"ping\"", "bad_message", None),
        ("{}", "bad_message", Some("type")),
        ("{\"type\":null}", "bad_message", Some("type")),
        ("{\"type\":7}", "bad_message", Some("type")),
        (deep.as_str(), "bad_message", None),
        (wide.as_str(), "bad_message", None),
        ("{\"type\":\"ping\",\"type\":\"ping\"}", "bad_message", Some("type")),
        ("{\"type\":\"ping\",\"__proto__\":{}}", "bad_message", Some("__proto__")),
        ("{\"type\":\"ping\",\"data\":{\"__proto__\":{}}}", "bad_message", Some("__proto__")),
        ("{\"type\":\"ping\",\"x\":\"\\u0000\"}", "bad_message", None),
        ("{\"type\":\"ping\",\"x\":1e999}", "bad_message", None),
        ("{\"type\":\"__proto__\"}", "unknown_type", Some("type")),
        ("{\"type\":\"PING\"}", "unknown_type", Some("type")),
        ("{\"type\":\"\"}", "unknown_type", Some("type")),
    ] {
        client.send_text(text);
        let (got, answer) = client.expect_error();
        let shown = text.get(..text.len().min(60)).unwrap();
        assert!(got.starts_with(code), "{shown:?}: {answer}");
        if let Some(field) = field {
            assert_eq!(answer["data"]["field"], field, "{shown:?}: {answer}");
        }
        assert_eq!(answer["data"]["retryable"], false, "{shown:?}");
        assert!(answer.to_string().len() < 1000, "an answer is short: {shown:?}");
    }
    assert_eq!(client.sync(), NOTHING);
}

#[test]
fn a_bad_subscribe_is_refused_as_a_whole() {
    let node = Node::start(&[("WS_MAX_KEYS", "3")]);
    let mut client = Client::live(&node, "u", "staff", &[]);
    for (data, code) in [
        (json!({"namespace": "nothing"}), "unknown_namespace"),
        (json!({"namespace": "Orders"}), "unknown_namespace"),
        (json!({"namespaces": ["orders", "nothing"]}), "unknown_namespace"),
        (json!({"namespace": "payments"}), "forbidden_namespace"),
        (json!({"namespaces": ["orders", "payments"]}), "forbidden_namespace"),
        (json!({"namespace": "system"}), "forbidden_namespace"),
        (json!({}), "bad_message"),
        (json!(null), "bad_message"),
        (json!({"namespace": 7}), "bad_message"),
        (json!({"namespace": ""}), "bad_message"),
        (json!({"namespaces": []}), "bad_message"),
        (json!({"namespaces": "orders"}), "bad_message"),
        (json!({"namespaces": ["orders", 7]}), "bad_message"),
        (json!({"namespace": "orders", "namespaces": ["orders"]}), "bad_message"),
        (json!({"namespace": "orders", "keys": []}), "bad_message"),
        (json!({"namespace": "orders", "keys": "o_1"}), "bad_message"),
        (json!({"namespace": "orders", "keys": [1]}), "bad_message"),
        (json!({"namespace": "orders", "keys": [""]}), "bad_message"),
        (json!({"namespace": "orders", "keys": ["a", "b", "c", "d"]}), "bad_message"),
        (json!({"namespaces": ["orders", "products"], "keys": ["a", "b"]}), "bad_message"),
        (json!({"namespace": "orders", "since": "0"}), "bad_message"),
        (json!({"namespace": "orders", "since": {}}), "bad_message"),
        (json!({"namespace": "orders", "since": {"epoch": "e"}}), "bad_message"),
        (json!({"namespace": "orders", "since": {"epoch": "e", "id": 7}}), "bad_message"),
        (json!({"namespace": "orders", "since": null}), "bad_message"),
    ] {
        let answer = client.ask("x", json!({"type": "subscribe", "data": data}));
        assert_eq!(answer["data"]["code"], code, "{data}: {answer}");
    }
    node.post(&order("o_1", "c"));
    node.settle();
    assert_eq!(client.sync(), NOTHING, "nothing of a refused subscribe holds");
    assert_eq!(node.stats()["connectionsByNamespace"]["orders"], 0);
}

#[test]
fn a_subscription_begins_ends_and_may_be_repeated() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::live(&node, "u", "admin", &[]);
        node.post(&order("o_0", "c"));
        node.settle();
        assert_eq!(client.sync(), NOTHING, "nobody hears what it did not ask for");
        for data in [json!({"namespace": "orders"}), json!({"namespaces": ["orders", "products", "orders"]})]
        {
            let answer = client.ask("s", json!({"type": "subscribe", "data": data}));
            assert_eq!(answer["type"], "subscribed");
            assert_eq!(answer["data"]["epoch"], node.stats()["epoch"]);
            assert_eq!(answer["data"]["lastEventId"], node.stats()["lastEventId"]);
            assert_eq!(answer["data"].get("recovered"), None, "nobody asked");
            assert_eq!(answer["data"]["namespaces"][0], "orders");
        }
        node.post(&order("o_1", "c"));
        let event = client.message();
        assert_eq!(event["data"]["orderId"], "o_1");
        assert_eq!(client.sync(), NOTHING, "subscribed twice is not delivered twice");
        for _ in 0..2 {
            let answer = client.ask("u", json!({"type": "unsubscribe", "data": {"namespace": "orders"}}));
            assert_eq!(answer["type"], "unsubscribed");
            assert_eq!(answer["data"]["namespaces"], json!(["orders"]));
        }
        node.post(&order("o_2", "c"));
        node.settle();
        assert_eq!(client.sync(), NOTHING);
        let answer = client.ask("u", json!({"type": "unsubscribe", "data": {"namespace": "nothing"}}));
        assert_eq!(answer["data"]["code"], "unknown_namespace");
    }
}

#[test]
fn keys_narrow_a_subscription_to_these_entities() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::live(&node, "u", "admin", &[]);
        let hears = |client: &mut Client, orders: &[&str]| {
            for id in ["a", "b", "c"] {
                node.post(&order(id, "cust"));
            }
            node.settle();
            let got: Vec<String> =
                client.sync().iter().map(|e| e["data"]["orderId"].as_str().unwrap().to_owned()).collect();
            assert_eq!(got, orders);
        };
        let mut ask = |kind: &str, data: Value| {
            let answer = client.ask("x", json!({"type": kind, "data": data}));
            assert_eq!(answer["type"], format!("{kind}d"), "{answer}");
        };
        ask("subscribe", json!({"namespace": "orders", "keys": ["a", "b", "a"]}));
        ask("subscribe", json!({"namespace": "products", "keys": ["c"]}));
        hears(&mut client, &["a", "b"]);
        let mut ask = |kind: &str, data: Value| {
            let answer = client.ask("x", json!({"type": kind, "data": data}));
            assert!(answer["type"].as_str().unwrap().starts_with(kind), "{answer}");
        };
        ask("subscribe", json!({"namespace": "orders", "keys": ["c"]}));
        hears(&mut client, &["c"]);
        client.subscribe(&["orders"]);
        hears(&mut client, &["a", "b", "c"]);
        client.ask("x", json!({"type": "subscribe", "data": {"namespace": "orders", "keys": ["a", "b"]}}));
        client.ask("x", json!({"type": "unsubscribe", "data": {"namespace": "orders", "keys": ["a"]}}));
        hears(&mut client, &["b"]);
        client.ask("x", json!({"type": "unsubscribe", "data": {"namespace": "orders"}}));
        hears(&mut client, &[]);
    }
}

#[test]
fn presence_is_told_to_those_who_see_customers() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards), ("WS_PRESENCE_GRACE", "60000")]);
        let _customers: Vec<Client> =
            ["c_1", "c_2", "c_2"].iter().map(|c| Client::live(&node, c, "customer", &[])).collect();
        crate::support::wait_until("both are counted", || node.stats()["customersOnline"] == 2);
        for role in ["admin", "manager", "staff"] {
            let mut client = Client::live(&node, "u", role, &[]);
            let answer = client.ask("p", json!({"type": "presence"}));
            assert_eq!(
                (&answer["type"], &answer["data"]),
                (&json!("presence"), &json!({"customersOnline": 2}))
            );
        }
        for role in ["customer", "guest"] {
            let mut client = Client::live(&node, "c_1", role, &[]);
            let answer = client.ask("p", json!({"type": "presence"}));
            assert_eq!(answer["data"]["code"], "forbidden_namespace", "{role}");
        }
    }
}

#[test]
fn a_position_is_recovered_or_refused_with_a_reason() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::live(&node, "u", "admin", &[]);
        let mut since = |epoch: &Value, id: &str| {
            let data = json!({"namespace": "orders", "since": {"epoch": epoch, "id": id}});
            client.send(&json!({"type": "subscribe", "data": data}));
            let answer = client.expect("subscribed");
            assert_eq!(&answer["data"]["epoch"], &node.stats()["epoch"]);
            (answer["data"]["recovered"].clone(), answer["data"].get("reason").cloned())
        };
        let epoch = node.stats()["epoch"].clone();
        let yes = (json!(true), None);
        let no = |reason: &str| (json!(false), Some(json!(reason)));
        assert_eq!(since(&epoch, "0"), yes, "who saw nothing when there was nothing missed nothing");
        let ids = node.post(&json!([order("o_1", "c"), order("o_2", "c")]));
        crate::support::wait_until("it has arrived", || node.stats()["lastEventId"] == ids[1].as_str());
        assert_eq!(since(&epoch, &ids[1]), yes);
        assert_eq!(since(&json!("another"), &ids[1]), no("epoch_changed"));
        assert_eq!(since(&json!(""), &ids[1]), no("epoch_changed"));
        for id in ["", "x", "-1", "999999", "01", " 1", "18446744073709551616", "1\u{660}", "2.0"] {
            assert_eq!(since(&epoch, id), no("bad_position"), "{id:?}");
        }
    }
}

#[test]
fn events_wait_for_nobody_and_come_in_the_order_of_their_ids() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut clients: Vec<Client> =
            (0..8).map(|_| Client::live(&node, "u", "admin", &["orders"])).collect();
        let mut ids = Vec::new();
        for batch in 0..20 {
            let events: Vec<Value> = (0..10).map(|i| order(&format!("o_{batch}_{i}"), "c")).collect();
            ids.extend(node.post(&json!(events)));
        }
        for client in &mut clients {
            for id in &ids {
                assert_eq!(client.message()["id"], id.as_str());
            }
        }
    }
}

#[test]
fn many_commands_in_one_packet_are_answered_in_order() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "u", "admin", &[]);
    let all: Vec<u8> =
        (0..80).flat_map(|i| frame(0x81, format!(r#"{{"type":"ping","id":{i}}}"#).as_bytes())).collect();
    client.send_raw(&all);
    for i in 0..80 {
        assert_eq!(client.message()["id"], i);
    }
}
