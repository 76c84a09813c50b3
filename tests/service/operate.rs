//! What operators ask and order: lists, kicks, drains, counts.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Client, Control, Frame, Node, order, wait_until};

#[test]
fn connections_are_listed_in_pages_over_all_shards() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut clients: Vec<_> =
            (0..25).map(|i| Client::live(&node, &format!("u_{i}"), "staff", &["orders"])).collect();
        let mut keyed = Client::connect(&node);
        keyed.auth_session("keyed", "customer", "its_session");
        keyed.send(&json!({"type": "subscribe", "data": {"namespace": "orders", "keys": ["a", "b"]}}));
        keyed.expect("subscribed");
        clients.push(keyed);
        let greeting = Client::connect(&node);
        let mut control = Control::open(&node);
        for limit in [1, 7, 26, 27, 1000] {
            let (mut rows, mut after) = (Vec::new(), String::new());
            loop {
                let page = control.ask("GET", &format!("/api/connections?limit={limit}{after}"), "").json();
                let part = page["connections"].as_array().unwrap();
                assert!(part.len() <= limit);
                rows.extend(part.iter().cloned());
                match page["next"].as_str() {
                    Some(next) => after = format!("&after={next}"),
                    None => break,
                }
                assert_eq!(part.len(), limit, "only the last page is short");
            }
            let distinct: BTreeSet<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
            assert_eq!((rows.len(), distinct.len()), (27, 27), "limit {limit}");
            let users: BTreeSet<_> = rows.iter().filter_map(|row| row["userId"].as_str()).collect();
            assert_eq!(users.len(), 26);
            let row = rows.iter().find(|row| row["userId"] == "keyed").unwrap();
            assert_eq!((&row["role"], &row["sessionId"]), (&json!("customer"), &json!("its_session")));
            assert_eq!((&row["namespaces"], &row["keys"]), (&json!(["orders"]), &json!(2)));
            assert_eq!((&row["phase"], &row["address"]), (&json!("live"), &json!("127.0.0.1")));
            assert_eq!(rows.iter().filter(|row| row["phase"] == "greeting").count(), 1);
        }
        for query in ["limit=0", "limit=x", "limit=1001", "after=x", "after=1"] {
            assert_eq!(control.ask("GET", &format!("/api/connections?{query}"), "").status, 400, "{query}");
        }
        drop(greeting);
    }
}

#[test]
fn a_kick_ends_the_user_or_the_session_and_nobody_else() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let open = |user: &str, session: &str| {
            let mut client = Client::connect(&node);
            client.auth_session(user, "staff", session);
            client
        };
        let anns: Vec<_> = (0..6).map(|i| open("ann", &format!("tab_{i}"))).collect();
        let mut bobs: Vec<_> = ["one", "two/ü", "two/ü"].map(|session| open("bob", session)).into();
        let mut control = Control::open(&node);
        let answer = control.ask("DELETE", "/api/users/ann", "");
        assert_eq!((answer.status, answer.json()), (200, json!({"closed": 6})));
        for mut client in anns {
            let (code, closing) = client.expect_close();
            assert_eq!(code, 4004);
            assert_eq!(
                (&closing["data"]["reason"], &closing["data"]["retry"]),
                (&json!("kicked"), &json!(false))
            );
        }
        assert_eq!(control.ask("DELETE", "/api/users/ann", "").status, 404, "they are gone");
        let answer = control.ask("DELETE", "/api/sessions/two%2F%C3%BC", "");
        assert_eq!((answer.status, answer.json()), (200, json!({"closed": 2})));
        for mut client in bobs.drain(1..) {
            assert_eq!(client.expect_close().0, 4004);
        }
        for path in ["/api/users/nobody", "/api/sessions/bob", "/api/users/one"] {
            assert_eq!(control.ask("DELETE", path, "").status, 404, "{path}");
        }
        assert!(bobs[0].settle(&node).is_empty());
        assert_eq!(node.metric("closes_total{reason=\"kicked\"}"), 8.0);
    }
}

#[test]
fn after_a_kick_was_acknowledged_no_event_reaches_the_connection() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut control = Control::open(&node);
                while !over.load(Ordering::Relaxed) {
                    control.post(&Value::Array(vec![order("stream", "c"); 20]));
                }
            });
            let mut control = Control::open(&node);
            for round in 0..10 {
                let mut victim = Client::live(&node, "victim", "admin", &["orders"]);
                victim.expect("order:created");
                assert_eq!(control.ask("DELETE", "/api/users/victim", "").json(), json!({"closed": 1}));
                // Whatever is published now comes after the acknowledgement.
                let after = control.post(&order("after", "c"))[0].clone();
                let mut last = 0;
                loop {
                    match victim.next() {
                        Frame::Text(m) if m["type"] == "closing" => break,
                        Frame::Text(m) => last = m["id"].as_str().unwrap().parse().unwrap(),
                        Frame::Ping(_) => {}
                        other => panic!("{other:?}"),
                    }
                }
                assert!(last < after.parse::<u64>().unwrap(), "round {round}: {last} came, {after} is after");
                assert!(matches!(victim.next(), Frame::Close(4004, _)));
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_drain_sends_everybody_away_and_the_node_runs_on() {
    for shards in ["1", "4"] {
        let mut node = Node::start(&[("WS_SHARDS", shards), ("WS_DRAIN_TIMEOUT", "600")]);
        let mut clients: Vec<_> =
            (0..20).map(|i| Client::live(&node, &format!("u_{i}"), "admin", &["orders"])).collect();
        let mut greeting = Client::connect(&node);
        let mut control = Control::open(&node);
        assert_eq!(control.ask("GET", "/api/ws/info", "").json()["status"], "ok");
        assert_eq!(control.ask("POST", "/api/drain", "").status, 202);
        for path in ["/readyz", "/healthz"] {
            assert_eq!((control.ask("GET", path, "").status, node.get(path).status), (503, 503), "{path}");
        }
        assert_eq!(control.ask("GET", "/api/ws/info", "").json()["status"], "draining");
        let refused = Client::connect_with(&node, "").err().expect("no new client");
        assert_eq!(refused.status, 503);
        assert!(refused.header("retry-after").is_some_and(|s| s.parse::<u32>().unwrap() > 0));
        assert_eq!(control.ask("POST", "/api/drain", "").status, 202, "twice is once");
        let ids = control.post(&order("o", "c"));
        let mut slots = BTreeSet::new();
        for client in &mut clients {
            let (code, closing) = client.expect_close();
            assert_eq!((code, &closing["data"]["reason"]), (1001, &json!("going_away")));
            assert_eq!(closing["data"]["retry"], true);
            slots.insert(closing["data"]["retryAfterMs"].as_u64().unwrap());
        }
        assert_eq!(greeting.expect_close().0, 1001);
        assert_eq!(slots.len(), 20, "each client has its own slot: {slots:?}");
        assert!(slots.last().unwrap() - slots.first().unwrap() > 200, "spread: {slots:?}");
        wait_until("everybody is gone", || node.stats()["totalConnections"] == 0);
        // Posts are still taken, and kept.
        let more = control.post(&order("o", "c"));
        let history = control.ask("GET", &format!("/api/events?since={}", ids[0]), "").body;
        assert!(history.contains(&format!("\"id\":\"{}\"", more[0])));
        assert_eq!(node.metric("draining"), 1.0);
        assert!(node.is_running());
        node.signal("TERM");
        assert_eq!(node.wait(crate::support::PATIENCE).code(), Some(0));
    }
}

#[test]
fn counts_are_true_at_the_moment_of_asking() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards), ("WS_PRESENCE_GRACE", "0")]);
        let mut control = Control::open(&node);
        let mut count = |pointer: &str| {
            let stats = control.ask("GET", "/api/ws/stats", "").json();
            stats.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {stats}")).as_u64().unwrap()
        };
        let mut clients = Vec::new();
        for i in 0..12_u64 {
            let role = ["admin", "staff", "customer"][i as usize % 3];
            let mut client = Client::connect(&node);
            assert_eq!((count("/totalConnections"), count("/authenticatedConnections")), (i + 1, i));
            client.auth(&format!("u_{i}"), role);
            assert_eq!(count("/authenticatedConnections"), i + 1);
            client.subscribe(&["orders", "products"]);
            assert_eq!(count("/connectionsByNamespace/orders"), i + 1);
            assert_eq!(count(&format!("/connectionsByRole/{role}")), i / 3 + 1);
            clients.push(client);
        }
        clients[0].send(&json!({"type": "unsubscribe", "data": {"namespace": "orders"}}));
        clients[0].expect("unsubscribed");
        assert_eq!(count("/connectionsByNamespace/orders"), 11);
        assert_eq!(count("/connectionsByNamespace/products"), 12);
        assert_eq!((count("/connectionsByNamespace/payments"), count("/connectionsByRole/guest")), (0, 0));
        assert_eq!(count("/customersOnline"), 4);
        assert_eq!(count("/shards").to_string(), shards);
        let kicked = count("/totalConnections");
        assert_eq!(node.control("DELETE", "/api/users/u_5", "").status, 200);
        assert_eq!(count("/totalConnections"), kicked - 1, "one that is ending does not count");
        for mut client in clients.drain(..6) {
            client.close_write();
        }
        wait_until("the ends are counted", || count("/totalConnections") == 6);
        assert_eq!(count("/connectionsByRole/admin"), 2);
        wait_until("the customers are gone", || count("/customersOnline") == 2);
    }
}

#[test]
fn metrics_follow_the_format_and_tell_what_happened() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut clients: Vec<_> =
            (0..3).map(|i| Client::live(&node, &format!("u_{i}"), "admin", &["orders"])).collect();
        let _idle = Client::live(&node, "idle", "guest", &["products"]);
        node.post(&Value::Array(vec![order("o", "c"); 5]));
        for client in &mut clients {
            for _ in 0..5 {
                assert_eq!(client.message()["type"], "order:created");
            }
        }
        assert_eq!(node.metric("events_accepted_total"), 5.0);
        assert_eq!(node.metric("deliveries_total"), 15.0);
        assert_eq!(node.metric("connections"), 4.0);
        assert_eq!(node.metric("connections_by_role{role=\"admin\"}"), 3.0);
        assert_eq!(node.metric("upgrades_total"), 4.0);
        assert_eq!(node.metric("ready"), 1.0);
        clients.pop().unwrap().send_raw(&crate::support::frame(0x88, &1000_u16.to_be_bytes()));
        wait_until("the close is counted", || node.metric("closes_total{reason=\"peer_closed\"}") == 1.0);
        let answer = node.control("GET", "/metrics", "");
        assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        let (mut helped, mut typed, mut samples) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        assert!(answer.body.ends_with('\n'));
        for line in answer.body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(helped.insert(rest.split(' ').next().unwrap()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(typed.insert(name) && ["counter", "gauge"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                assert!(value.parse::<f64>().is_ok() && samples.insert(series), "{line}");
                assert!(
                    name.starts_with("omnicast_") && helped.contains(name) && typed.contains(name),
                    "{line}"
                );
                assert!(series == name || series.ends_with("\"}"), "{line}");
            }
        }
        assert_eq!(helped, typed);
    }
}

#[test]
fn info_is_the_same_on_both_listeners() {
    let node = Node::start(&[("WS_MAX_KEYS", "7"), ("WS_PING_INTERVAL", "12345")]);
    let info = node.control("GET", "/api/ws/info", "").json();
    assert_eq!(info, node.get("/api/ws/info").json());
    for (name, namespace, _) in crate::catalogue::TYPES {
        let types = info["namespaces"][namespace].as_array().unwrap();
        assert!(types.iter().any(|t| t == name), "{name}");
    }
    assert_eq!(info["namespaces"].as_object().unwrap().len(), 6);
    assert_eq!(
        (&info["limits"]["maxKeys"], &info["heartbeat"]["pingIntervalMs"]),
        (&json!(7), &json!(12345))
    );
    assert_eq!((&info["path"], &info["auth"]["mode"]), (&json!("/api/ws"), &json!("trusted")));
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
}
