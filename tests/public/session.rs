//! `auth`: the welcome, a second credential, and the end of a session.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Node, frame, identity, now_ms, order, read_response, unique};
use crate::tokens::{admitted, claims, present, token, token_of};

#[test]
fn the_welcome_says_who_the_client_is_and_what_it_may_see() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        for (role, namespaces) in [
            ("admin", json!(["orders", "customers", "products", "inventory", "payments", "system"])),
            ("manager", json!(["orders", "customers", "products", "inventory", "payments"])),
            ("staff", json!(["orders", "customers", "products", "inventory"])),
            ("customer", json!(["orders", "products"])),
            ("guest", json!(["products"])),
        ] {
            let mut client = Client::connect(&node);
            let identity = identity("u_1", role);
            client.send(&json!({"type": "auth", "id": "first", "data": identity}));
            let welcome = client.expect_welcome();
            assert_eq!(welcome["namespace"], "system");
            assert_eq!(welcome["replyTo"], "first");
            assert_eq!(welcome.get("id"), None, "it has no position");
            assert!(welcome["timestamp"].as_u64().unwrap().abs_diff(now_ms()) < 60_000);
            let data = &welcome["data"];
            assert_eq!(data["severity"], "success");
            assert_eq!((&data["userId"], &data["role"]), (&json!("u_1"), &json!(role)));
            assert_eq!(data["expiresAt"], identity["expiresAt"]);
            let mut seen: Vec<&str> =
                data["namespaces"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let mut due: Vec<&str> =
                namespaces.as_array().unwrap().iter().filter_map(Value::as_str).collect();
            seen.sort_unstable();
            due.sort_unstable();
            assert_eq!(seen, due, "{role}");
            assert_eq!(data["epoch"], node.stats()["epoch"]);
            assert!(data["lastEventId"].is_string(), "there is a position although no event was sent");
            assert!(data["connectionId"].is_string());
        }
    }
}

#[test]
fn one_who_is_refused_in_the_segment_of_its_upgrade_reads_why() {
    let node = Node::start(&[]);
    let keyed = Node::start_with_key(&[]);
    let mut expired = identity("u", "admin");
    expired["expiresAt"] = json!(now_ms() - 1);
    for (node, data, error, close) in [
        (&node, expired, "token_expired", 4101),
        (&keyed, json!({"token": token("u", "admin", -600_000)}), "token_expired", 4101),
        (&keyed, json!({"token": "a.b.c"}), "auth_failed", 4002),
    ] {
        let auth = json!({"type": "auth", "data": data}).to_string();
        let both = [Client::upgrade_request(node).into_bytes(), frame(0x81, auth.as_bytes())].concat();
        let mut stream = TcpStream::connect(node.address).unwrap();
        stream.write_all(&both).unwrap();
        assert_eq!(read_response(&mut stream).status, 101, "{error}");
        let mut client = Client::over(stream, vec![]);
        assert_eq!(client.expect_error().0, error);
        assert_eq!(client.expect_close().0, close);
    }
}

#[test]
fn auth_and_subscribe_need_no_pause_between_them() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::connect(&node);
        let auth = json!({"type": "auth", "id": 1, "data": identity("u", "admin")});
        let subscribe = json!({"type": "subscribe", "id": 2, "data": {"namespace": "orders"}});
        let both = [auth, subscribe].map(|m| frame(0x81, m.to_string().as_bytes())).concat();
        client.send_raw(&both);
        assert_eq!(client.expect_welcome()["replyTo"], 1);
        let subscribed = client.message();
        assert_eq!((&subscribed["type"], &subscribed["id"]), (&json!("subscribed"), &json!(2)));
        node.post(&order("o_1", "c_1"));
        assert_eq!(client.message()["data"]["orderId"], "o_1");
    }
}

#[test]
fn an_auth_of_the_wrong_shape_stays_open() {
    let node = Node::start(&[]);
    let good = identity("u", "admin");
    let with = |name: &str, value: Value| {
        let mut bad = good.clone();
        bad[name] = value;
        bad
    };
    let without = |name: &str| {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(name);
        bad
    };
    let mut client = Client::connect(&node);
    for (data, word) in [
        (without("userId"), "userId"),
        (without("role"), "role"),
        (without("sessionId"), "sessionId"),
        (without("expiresAt"), "expiresAt"),
        (with("userId", json!(7)), "userId"),
        (with("userId", json!("")), "userId"),
        (with("role", json!(["admin"])), "role"),
        (with("sessionId", json!(null)), "sessionId"),
        (with("expiresAt", json!("tomorrow")), "expiresAt"),
        (with("expiresAt", json!(-1)), "expiresAt"),
        (with("token", json!("a.b.c")), "token"),
        (json!({}), "userId"),
        (json!(null), "data"),
        (json!("me"), "data"),
        (json!([]), "data"),
    ] {
        let answer = client.ask("x", json!({"type": "auth", "data": data}));
        assert_eq!(answer["data"]["code"], "bad_message", "{data}: {answer}");
        assert!(answer["data"]["message"].as_str().unwrap().contains(word), "{data}: {answer}");
        assert_eq!(answer["data"]["retryable"], false);
    }
    let answer = client.ask("x", json!({"type": "auth"}));
    assert_eq!(answer["data"]["code"], "bad_message");
    client.auth("u", "admin");

    let keyed = Node::start_with_key(&[]);
    let mut client = Client::connect(&keyed);
    for data in [good.clone(), json!({"token": 7}), json!({"token": null}), json!({})] {
        let answer = client.ask("x", json!({"type": "auth", "data": data}));
        assert_eq!(answer["data"]["code"], "bad_message", "{data}");
    }
    admitted(&mut client, &token("u", "admin", 600_000));
}

#[test]
fn a_session_that_is_past_is_told_so() {
    let node = Node::start(&[]);
    let seconds = now_ms() / 1000 + 3600;
    for (expires_at, seconds_meant) in
        [(now_ms() - 1, false), (now_ms() - 86_400_000, false), (seconds, true)]
    {
        let mut client = Client::connect(&node);
        let mut past = identity("u", "admin");
        past["expiresAt"] = expires_at.into();
        client.send(&json!({"type": "auth", "id": 1, "data": past}));
        let (code, error) = client.expect_error();
        assert_eq!((code.as_str(), &error["id"]), ("token_expired", &json!(1)));
        let text = error["data"]["message"].as_str().unwrap();
        assert_eq!(text.contains("seconds") && text.contains("ms"), seconds_meant, "{text}");
        let (code, closing) = client.expect_close();
        assert_eq!((code, &closing["data"]["reason"]), (4101, &json!("session_expired")));
        assert_eq!(closing["data"]["retry"], true);
    }
    let keyed = Node::start_with_key(&[]);
    for ms in [-1, -1500, -4000] {
        let mut client = Client::connect(&keyed);
        present(&mut client, &token("u", "admin", ms));
        assert_eq!(client.expect_error().0, "token_expired", "there is no leeway: {ms}");
        assert_eq!(client.expect_close().0, 4101);
    }
}

#[test]
fn a_token_may_come_from_a_clock_that_is_five_seconds_ahead() {
    let node = Node::start_with_key(&[]);
    for (ahead_ms, good) in [(-10_000, true), (3_000, true), (8_000, false)] {
        let mut client = Client::connect(&node);
        let mut claims = claims("u", "admin", 600_000);
        claims["nbf"] = json!((now_ms() as f64 + f64::from(ahead_ms)) / 1000.0);
        present(&mut client, &token_of(&claims));
        if good {
            client.expect_welcome();
        } else {
            assert_eq!(client.expect_error().0, "auth_failed");
            assert_eq!(client.expect_close().0, 4002);
        }
    }
}

#[test]
fn the_end_of_a_session_is_announced_and_after_it_no_event_comes() {
    for shards in ["1", "4"] {
        for keyed in [false, true] {
            let node = if keyed {
                Node::start_with_key(&[("WS_SHARDS", shards)])
            } else {
                Node::start(&[("WS_SHARDS", shards)])
            };
            let mut client = Client::connect(&node);
            let expires_at = now_ms() + 400;
            if keyed {
                let mut claims = json!({"sub": "u", "role": "admin", "sid": "s"});
                claims["expiresAt"] = expires_at.into();
                admitted(&mut client, &token_of(&claims));
            } else {
                let mut identity = identity("u", "admin");
                identity["expiresAt"] = expires_at.into();
                client.send(&json!({"type": "auth", "data": identity}));
                client.expect_welcome();
            }
            let subscribe = json!({"type": "subscribe", "data": {"namespace": "orders"}});
            client.send(&subscribe);
            let notice = client.expect("session_expiring");
            assert_eq!(notice["data"]["expiresAt"], expires_at);
            let mut posted = 0;
            while now_ms() < expires_at + 60 {
                node.post(&order(&format!("o_{posted}"), "c"));
                posted += 1;
            }
            let (code, closing) = client.expect_close();
            assert_eq!((code, &closing["data"]["retry"]), (4101, &json!(true)));
            assert!(now_ms() >= expires_at, "not before its time");
            let events: Vec<Value> =
                client.passed().into_iter().filter(|m| m["type"] == "order:created").collect();
            assert!(!events.is_empty() && events.len() < posted, "{} of {posted}", events.len());
            for event in events {
                assert!(event["timestamp"].as_u64().unwrap() < expires_at + 2, "{event} after {expires_at}");
            }
        }
    }
}

#[test]
fn a_session_that_ends_in_an_hour_is_not_announced_now() {
    let node = Node::start(&[]);
    let mut client = Client::connect(&node);
    let mut identity = identity("u", "admin");
    identity["expiresAt"] = (now_ms() + 60_300).into();
    client.send(&json!({"type": "auth", "data": identity}));
    client.expect_welcome();
    assert_eq!(client.sync(), [] as [Value; 0]);
    client.expect("session_expiring");
    assert!(now_ms() + 60_000 >= identity["expiresAt"].as_u64().unwrap(), "one minute before, not earlier");
}

#[test]
fn a_fresh_credential_extends_the_session_and_keeps_its_subscriptions() {
    for keyed in [false, true] {
        let node = if keyed { Node::start_with_key(&[]) } else { Node::start(&[]) };
        let mut client = Client::connect(&node);
        let session = unique("session");
        let auth = |ms: u64| {
            let expires_at = now_ms() + ms;
            let data = if keyed {
                let claims = json!({"sub": "u", "role": "admin", "sid": session, "expiresAt": expires_at});
                json!({"token": token_of(&claims)})
            } else {
                json!({"userId": "u", "role": "admin", "sessionId": session, "expiresAt": expires_at})
            };
            (expires_at, json!({"type": "auth", "id": 5, "data": data}))
        };
        let (ends, message) = auth(300);
        client.send(&message);
        client.expect_welcome();
        client.subscribe(&["orders"]);
        let (later, message) = auth(3_600_000);
        client.send(&message);
        let welcome = client.expect_welcome();
        assert_eq!((&welcome["replyTo"], &welcome["data"]["expiresAt"]), (&json!(5), &json!(later)));
        let wait = Duration::from_millis((ends + 50).saturating_sub(now_ms()));
        std::thread::sleep(wait); // What must not happen has this time.
        node.post(&order("o_1", "c"));
        assert_eq!(client.expect("order:created")["data"]["orderId"], "o_1");
        assert_eq!(node.stats()["authenticatedConnections"], 1, "it is still one connection");
        // And it can be cut short as well.
        let (_, message) = auth(100);
        let begin = Instant::now();
        client.send(&message);
        client.expect_welcome();
        assert_eq!(client.expect_close().0, 4101);
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn another_user_on_a_live_connection_is_a_bad_credential() {
    let trusted = Node::start(&[]);
    let mut first = identity("u", "manager");
    for (name, value) in [("userId", "other"), ("role", "admin"), ("role", "guest"), ("sessionId", "other")] {
        let mut client = Client::connect(&trusted);
        client.send(&json!({"type": "auth", "data": first}));
        client.expect_welcome();
        let mut second = first.clone();
        second[name] = value.into();
        client.send(&json!({"type": "auth", "data": second}));
        assert_eq!(
            client.expect_error().0,
            "auth_failed",
            "in trusted mode only expiresAt may change: {name}"
        );
        let (code, closing) = client.expect_close();
        assert_eq!((code, &closing["data"]["retry"]), (4002, &json!(false)), "{name}");
    }
    let mut client = Client::connect(&trusted);
    for more in [0, 1000] {
        first["expiresAt"] = (now_ms() + 100_000 + more).into();
        client.send(&json!({"type": "auth", "data": first}));
        client.expect_welcome();
    }

    let keyed = Node::start_with_key(&[]);
    let mut client = Client::connect(&keyed);
    admitted(&mut client, &token("u", "manager", 600_000));
    present(&mut client, &token("other", "manager", 600_000));
    assert_eq!(client.expect_error().0, "auth_failed");
    assert_eq!(client.expect_close().0, 4002);

    // A bad credential ends a good session too.
    let mut client = Client::connect(&keyed);
    admitted(&mut client, &token("u", "manager", 600_000));
    present(&mut client, "not.a.token");
    assert_eq!(client.expect_error().0, "auth_failed");
    assert_eq!(client.expect_close().0, 4002);
}

#[test]
fn a_new_role_in_a_token_takes_effect_at_once() {
    let payment = |id: &str| {
        json!({"type": "payment:received", "data": {"paymentId": id, "orderId": "o", "customerId": "u",
            "amount": 1, "method": "card", "status": "success"}})
    };
    for shards in ["1", "4"] {
        let node = Node::start_with_key(&[("WS_SHARDS", shards)]);
        let mut client = Client::connect(&node);
        admitted(&mut client, &token("u", "manager", 600_000));
        client.subscribe(&["orders", "payments"]);
        node.post(&payment("p_1"));
        client.expect("payment:received");

        let welcome = admitted(&mut client, &token("u", "staff", 600_000));
        assert_eq!(welcome["data"]["role"], "staff");
        assert!(!welcome["data"]["namespaces"].as_array().unwrap().contains(&json!("payments")));
        node.post(&payment("p_2"));
        node.post(&order("o_2", "c"));
        client.expect("order:created");
        assert_eq!(client.sync(), [] as [Value; 0], "the forbidden subscription has ended");
        let answer = client.ask("s", json!({"type": "subscribe", "data": {"namespace": "payments"}}));
        assert_eq!(answer["data"]["code"], "forbidden_namespace");
        let stats = node.stats();
        assert_eq!(stats["connectionsByRole"]["staff"], 1);
        assert_eq!(stats["connectionsByRole"]["manager"], 0);
        assert_eq!(stats["connectionsByNamespace"]["payments"], 0);

        admitted(&mut client, &token("u", "admin", 600_000));
        node.post(&payment("p_3"));
        node.settle();
        assert_eq!(client.sync(), [] as [Value; 0], "what has ended does not come back by itself");
        client.subscribe(&["payments"]);
        node.post(&payment("p_4"));
        assert_eq!(client.expect("payment:received")["data"]["paymentId"], "p_4");

        // From all orders to one's own.
        admitted(&mut client, &token("u", "customer", 600_000));
        node.post(&json!([order("o_5", "somebody"), order("o_6", "u")]));
        assert_eq!(client.expect("order:created")["data"]["orderId"], "o_6");
    }
}

#[test]
fn a_new_session_in_a_token_is_the_one_that_counts() {
    let node = Node::start_with_key(&[]);
    let mut client = Client::connect(&node);
    let with_session = |session: &str| {
        let mut claims = claims("u", "admin", 600_000);
        claims["sid"] = session.into();
        token_of(&claims)
    };
    admitted(&mut client, &with_session("old"));
    client.subscribe(&["orders"]);
    admitted(&mut client, &with_session("new"));
    let mut excluded = order("o_1", "c");
    excluded["excludeSessionId"] = "new".into();
    let mut other = order("o_2", "c");
    other["excludeSessionId"] = "old".into();
    node.post(&json!([excluded, other]));
    assert_eq!(client.expect("order:created")["data"]["orderId"], "o_2");
    assert_eq!(node.control("DELETE", "/api/sessions/old", "").status, 404);
    assert_eq!(node.control("DELETE", "/api/sessions/new", "").status, 200);
    let (code, closing) = client.expect_close();
    assert_eq!((code, &closing["data"]["reason"]), (4004, &json!("kicked")));
    assert_eq!(closing["data"]["retry"], false);
}
