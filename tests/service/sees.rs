//! The table of roles and namespaces, seen by real clients.

use serde_json::{Value, json};

use crate::catalogue::{TYPES, data, event, fields};
use crate::support::{Client, Node, order};

const NAMESPACES: [&str; 6] = ["orders", "customers", "products", "inventory", "payments", "system"];
const TABLE: [(&str, [&str; 6]); 5] = [
    ("admin", ["all", "all", "all", "all", "all", "all"]),
    ("manager", ["all", "all", "all", "all", "all", "-"]),
    ("staff", ["all", "all", "all", "all", "-", "-"]),
    ("customer", ["own", "-", "all", "-", "-", "-"]),
    ("guest", ["-", "-", "all", "-", "-", "-"]),
];

fn cell(role: &str, namespace: &str) -> &'static str {
    let row = TABLE.iter().find(|(name, _)| *name == role).unwrap().1;
    row[NAMESPACES.iter().position(|name| *name == namespace).unwrap()]
}

/// The types of those of `messages` that have one of these ids, in order.
fn types(messages: &[Value], ids: &[String]) -> Vec<String> {
    let posted = |m: &&Value| m["id"].as_str().is_some_and(|id| ids.iter().any(|i| i == id));
    messages.iter().filter(posted).map(|m| m["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_role_sees_its_row_of_the_table_and_nothing_else() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let viewers = [
            ("admin", "a"),
            ("manager", "m"),
            ("staff", "s"),
            ("customer", "cust_1"),
            ("customer", "cust_2"),
            ("guest", "g"),
        ];
        let mut clients = Vec::new();
        for (role, user) in viewers {
            let mut client = Client::connect(&node);
            let welcome = client.auth(user, role);
            let seen: Vec<_> = NAMESPACES.into_iter().filter(|n| cell(role, n) != "-").collect();
            assert_eq!(welcome["data"]["namespaces"], json!(seen), "{role}");
            for namespace in NAMESPACES.into_iter().filter(|n| !seen.contains(n)) {
                client.send(&json!({"type": "subscribe", "data": {"namespaces": ["products", namespace]}}));
                assert_eq!(client.expect_error().0, "forbidden_namespace", "{role} {namespace}");
            }
            client.subscribe(&seen);
            clients.push((role, user, client));
        }
        let body: Vec<_> = TYPES.iter().map(|row| event(row, true)).collect();
        let response = node.control("POST", "/api/events", &body.join("\n"));
        assert_eq!(response.status, 200, "{}", response.body);
        let ids: Vec<String> = serde_json::from_value(response.json()["ids"].clone()).unwrap();
        for (role, user, mut client) in clients {
            let due: Vec<_> = TYPES
                .iter()
                .filter(|(name, namespace, row)| match cell(role, namespace) {
                    _ if *name == "system:maintenance" => true,
                    "own" => user == "cust_1" && row.contains("customerId:"),
                    cell => cell == "all",
                })
                .map(|row| row.0)
                .collect();
            assert_eq!(types(&client.settle(&node), &ids), due, "{role} {user} with {shards} shards");
        }
    }
}

#[test]
fn one_who_did_not_subscribe_or_unsubscribed_gets_nothing_of_a_namespace() {
    let node = Node::start(&[]);
    let mut silent = Client::live(&node, "silent", "admin", &[]);
    let mut left = Client::live(&node, "left", "admin", &["orders", "products"]);
    left.send(&json!({"type": "unsubscribe", "data": {"namespace": "orders"}}));
    left.expect("unsubscribed");
    let mut unknown = Client::connect(&node);
    let ids = node.post(&json!([order("o", "c"), {"type": "product:deleted", "data": {"productId": "p"}}]));
    assert_eq!(types(&silent.settle(&node), &ids), [] as [&str; 0]);
    assert_eq!(types(&left.settle(&node), &ids), ["product:deleted"]);
    unknown.send(&json!({"type": "ping"}));
    assert_eq!(unknown.expect_error().0, "not_authenticated", "the first that came");
}

#[test]
fn an_order_is_its_customers_and_that_of_the_named_users() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut tabs: Vec<_> =
            (0..2).map(|_| Client::live(&node, "cust_1", "customer", &["orders"])).collect();
        let mut friend = Client::live(&node, "cust_2", "customer", &["orders"]);
        let mut stranger = Client::live(&node, "cust_3", "customer", &["orders"]);
        // A member of staff who happens to have the id of a customer is no customer.
        let mut staff = Client::live(&node, "cust_1", "staff", &["orders"]);
        let mut shared = order("o_2", "cust_1");
        shared["userIds"] = json!(["cust_2"]);
        let nobody = json!({"type": "order:deleted", "data": {"orderId": "o_3"}});
        let ids = node.post(&json!([order("o_1", "cust_1"), shared, nobody]));
        let got = |client: &mut Client| -> Vec<Value> {
            let events = client.settle(&node).into_iter();
            events.filter(|m| m["namespace"] == "orders").map(|m| m["id"].clone()).collect()
        };
        // The list of users narrows (rule 4): the owner is not among them.
        for tab in &mut tabs {
            assert_eq!(got(tab), [ids[0].as_str()]);
        }
        assert_eq!(got(&mut friend), [ids[1].as_str()]);
        assert!(got(&mut stranger).is_empty());
        assert_eq!(got(&mut staff), [ids[0].as_str(), ids[2].as_str()]);
    }
}

#[test]
fn every_type_reaches_an_admin_unchanged() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut admin = Client::live(&node, "boss", "admin", &NAMESPACES);
        for row in &TYPES {
            let (name, namespace, line) = row;
            let mut text = data(&fields(line), |f| Some(f.good()));
            let extra = r#"{"n":-98765432109876543210987654321,"f":1.50,"e":1E+2,"u":"\u00fc😀","l":[null,{}],"ключ":""}"#;
            text.insert_str(text.len() - 1, &format!(r#","extra":{extra}"#));
            let posted = format!(r#" {{ "type" : "{name}", "data" : {text}, "timestamp": 1700000000123 }} "#);
            let response = node.control("POST", "/api/events", &posted);
            assert_eq!(response.status, 200, "{posted}: {}", response.body);
            let got = admin.message_text();
            assert!(got.contains(&format!("\"data\":{text}")), "{text}\n{got}");
            let event: Value = serde_json::from_str(&got).unwrap();
            assert_eq!(event["type"], *name);
            assert_eq!(event["namespace"], *namespace);
            assert_eq!(event["timestamp"], 1_700_000_000_123_u64);
            assert_eq!(event["id"], response.json()["ids"][0]);
            let keys: Vec<_> = event.as_object().unwrap().keys().cloned().collect();
            assert_eq!(keys.len(), 5, "type, namespace, data, timestamp, id: {keys:?}");
        }
    }
}
