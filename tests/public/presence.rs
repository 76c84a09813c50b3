//! Who is online, as the node tells it by itself.

use serde_json::{Value, json};

use crate::support::{Client, Node, frame, now_ms, wait_until};
use crate::tokens::{admitted, token};

/// Long enough for a reload on a busy machine.
const LONG: &str = "60000";

fn kinds(events: &[Value]) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    events.iter().map(|e| (text(&e["type"]), text(&e["data"]["customerId"]))).collect()
}

#[test]
fn a_customer_comes_and_goes() {
    for shards in ["1", "4"] {
        for clean in [true, false] {
            let node = Node::start(&[("WS_SHARDS", shards), ("WS_PRESENCE_GRACE", "60")]);
            let mut screen = Client::live(&node, "boss", "staff", &["customers"]);
            let mut customer = Client::live(&node, "cust_1", "customer", &[]);
            let online = screen.expect("customer:online");
            assert_eq!(online["namespace"], "customers");
            assert_eq!(
                (&online["data"]["customerId"], &online["data"]["isOnline"]),
                (&json!("cust_1"), &json!(true))
            );
            assert!(online["data"]["lastSeen"].as_u64().unwrap().abs_diff(now_ms()) < 60_000);
            assert!(online["id"].is_string(), "it has a position like every event");
            assert_eq!(screen.ask("p", json!({"type": "presence"}))["data"]["customersOnline"], 1);
            let left = now_ms();
            if clean {
                customer.send_raw(&frame(0x88, &[3, 232]));
            } else {
                customer.reset();
            }
            let offline = screen.expect("customer:offline");
            assert_eq!(
                (&offline["data"]["customerId"], &offline["data"]["isOnline"]),
                (&json!("cust_1"), &json!(false))
            );
            assert!(offline["timestamp"].as_u64().unwrap() + 10 >= left + 60, "not before the grace");
            assert!(offline["data"]["lastSeen"].as_u64().unwrap() <= offline["timestamp"].as_u64().unwrap());
            assert_eq!(screen.ask("p", json!({"type": "presence"}))["data"]["customersOnline"], 0);
        }
    }
}

#[test]
fn a_reload_is_no_outage() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards), ("WS_PRESENCE_GRACE", LONG)]);
        let mut screen = Client::live(&node, "boss", "staff", &["customers"]);
        for _ in 0..5 {
            let customer = Client::live(&node, "cust_1", "customer", &[]);
            drop(customer);
            wait_until("it is gone", || node.stats()["totalConnections"] == 1);
        }
        let _marker = Client::live(&node, "marker", "customer", &[]);
        wait_until("the marker is counted", || node.stats()["customersOnline"] == 2);
        node.settle();
        let seen = screen.sync();
        let expected = ["cust_1", "marker"].map(|c| ("customer:online".to_owned(), c.to_owned()));
        assert_eq!(kinds(&seen), expected);
    }
}

#[test]
fn a_second_tab_makes_no_difference() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards), ("WS_PRESENCE_GRACE", "0")]);
        let mut screen = Client::live(&node, "boss", "staff", &["customers"]);
        let one = Client::live(&node, "cust_1", "customer", &[]);
        screen.expect("customer:online");
        let two = Client::live(&node, "cust_1", "customer", &[]);
        drop(one);
        wait_until("the first tab is gone", || node.stats()["totalConnections"] == 2);
        let marker = Client::live(&node, "marker", "customer", &[]);
        assert_eq!(screen.expect("customer:online")["data"]["customerId"], "marker");
        drop(two);
        assert_eq!(screen.expect("customer:offline")["data"]["customerId"], "cust_1");
        drop(marker);
        assert_eq!(screen.expect("customer:offline")["data"]["customerId"], "marker");
        assert_eq!(screen.passed(), [] as [Value; 0], "one coming and one going each");
    }
}

#[test]
fn only_customers_are_customers() {
    let node = Node::start(&[("WS_PRESENCE_GRACE", "0")]);
    let mut screen = Client::live(&node, "boss", "admin", &["customers"]);
    for role in ["admin", "manager", "staff", "guest"] {
        drop(Client::live(&node, "somebody", role, &[]));
    }
    drop(Client::connect(&node));
    let _marker = Client::live(&node, "marker", "customer", &[]);
    assert_eq!(screen.expect("customer:online")["data"]["customerId"], "marker");
    assert_eq!(screen.passed(), [] as [Value; 0]);
}

#[test]
fn a_customer_of_a_new_role_is_none_any_more() {
    let node = Node::start_with_key(&[("WS_PRESENCE_GRACE", "0")]);
    let mut screen = Client::connect(&node);
    admitted(&mut screen, &token("boss", "admin", 600_000));
    screen.subscribe(&["customers"]);
    let mut client = Client::connect(&node);
    admitted(&mut client, &token("u", "customer", 600_000));
    screen.expect("customer:online");
    admitted(&mut client, &token("u", "staff", 600_000));
    screen.expect("customer:offline");
    admitted(&mut client, &token("u", "customer", 600_000));
    screen.expect("customer:online");
    assert_eq!(node.control("DELETE", "/api/users/u", "").status, 200);
    client.expect_close();
    screen.expect("customer:offline");
}

#[test]
fn presence_events_are_told_to_the_rights_of_customers_only() {
    let node = Node::start(&[("WS_PRESENCE_GRACE", "0")]);
    let mut watcher = Client::live(&node, "cust_1", "customer", &["orders", "products"]);
    let mut screen = Client::live(&node, "boss", "admin", &["customers"]);
    drop(Client::live(&node, "cust_2", "customer", &[]));
    screen.expect("customer:offline");
    assert_eq!(watcher.sync(), [] as [Value; 0]);
}
