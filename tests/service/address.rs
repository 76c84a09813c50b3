//! Events that name roles, users, sessions and entities, and the naive rules as an oracle.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Client, Control, Node, order};

const ROLES: [&str; 5] = ["admin", "manager", "staff", "customer", "guest"];

fn notice(message: &str) -> Value {
    json!({"type": "system:notification",
        "data": {"title": "t", "message": message, "severity": "info"}})
}

fn ids(messages: &[Value]) -> Vec<String> {
    messages.iter().filter_map(|m| m["id"].as_str()).map(str::to_owned).collect()
}

#[test]
fn addressed_system_events_need_no_subscription_and_maintenance_is_for_everybody() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut clients: Vec<_> = ROLES.map(|role| (role, Client::live(&node, role, role, &[]))).into();
        let mut subscriber = Client::live(&node, "boss", "admin", &["system"]);
        let with = |name: &str, value: Value| {
            let mut event = notice(name);
            event[name] = value;
            event
        };
        let in_data = {
            let mut event = notice("targetRoles in data");
            event["data"]["targetRoles"] = json!(["guest", "customer"]);
            event
        };
        let both = {
            let mut event = with("roles", json!(["staff", "manager"]));
            event["userIds"] = json!(["staff", "guest"]);
            event
        };
        let maintenance = json!({"type": "system:maintenance", "data": {"message": "m"}});
        let mut for_staff = maintenance.clone();
        for_staff["roles"] = json!(["staff"]);
        let events = [
            (notice("to nobody in particular"), vec![]),
            (with("roles", json!(["customer"])), vec!["customer"]),
            (with("targetRoles", json!(["manager", "guest"])), vec!["manager", "guest"]),
            (in_data, vec!["customer", "guest"]),
            (with("userIds", json!(["staff", "nobody"])), vec!["staff"]),
            (both, vec!["staff"]),
            (maintenance, ROLES.to_vec()),
            (for_staff, vec!["staff"]),
        ];
        let posted = node.post(&Value::Array(events.iter().map(|(event, _)| event.clone()).collect()));
        for (role, client) in &mut clients {
            let due: Vec<_> = events.iter().zip(&posted).filter(|((_, to), _)| to.contains(role)).collect();
            let due: Vec<_> = due.into_iter().map(|(_, id)| id.clone()).collect();
            assert_eq!(ids(&client.settle(&node)), due, "{role}");
        }
        // One who subscribed sees what is for all subscribers, and not what is for others.
        assert_eq!(ids(&subscriber.settle(&node)), [posted[0].clone(), posted[6].clone()]);
    }
}

#[test]
fn roles_narrow_and_never_widen() {
    let node = Node::start(&[]);
    let mut admin = Client::live(&node, "boss", "admin", &["payments"]);
    let mut staff = Client::live(&node, "s", "staff", &["orders"]);
    let mut customer = Client::live(&node, "cust_1", "customer", &["orders"]);
    let payment = |roles: Value| {
        json!({"type": "payment:refunded", "roles": roles, "data":
            {"paymentId": "p", "orderId": "o", "customerId": "cust_1", "amount": 1}})
    };
    let mut for_customers = order("o", "cust_1");
    for_customers["roles"] = json!(["customer"]);
    let posted =
        node.post(&json!([payment(json!(["staff", "customer"])), payment(json!(["admin"])), for_customers]));
    assert_eq!(ids(&admin.settle(&node)), [posted[1].clone()]);
    assert!(ids(&staff.settle(&node)).is_empty(), "no cell, no event");
    assert_eq!(ids(&customer.settle(&node)), [posted[2].clone()], "its own, and of its role");
}

#[test]
fn excluded_users_and_the_excluded_session_are_left_out() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let open = |user: &str, session: &str| {
            let mut client = Client::connect(&node);
            client.auth_session(user, "admin", session);
            client.subscribe(&["orders"]);
            client
        };
        let (mut a1, mut a2, mut b) = (open("ann", "tab_1"), open("ann", "tab_2"), open("bob", "tab_3"));
        let with = |name: &str, value: Value| {
            let mut event = order("o", "c");
            event[name] = value;
            event
        };
        let mut both = with("userIds", json!(["ann", "bob"]));
        both["excludeUserIds"] = json!(["bob"]);
        let posted = node.post(&json!([
            with("excludeUserIds", json!(["ann", "nobody"])),
            with("excludeSessionId", json!("tab_1")),
            both,
        ]));
        let pick = |which: &[usize]| -> Vec<String> { which.iter().map(|&i| posted[i].clone()).collect() };
        assert_eq!(ids(&a1.settle(&node)), pick(&[2]));
        assert_eq!(ids(&a2.settle(&node)), pick(&[1, 2]));
        assert_eq!(ids(&b.settle(&node)), pick(&[0, 1]));
    }
}

#[test]
fn a_subscription_with_keys_gets_those_entities_and_a_posted_key_overrides() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::connect(&node);
        client.auth("boss", "admin");
        client.send(&json!({"type": "subscribe", "data": {"namespace": "orders", "keys": ["o_1", "k"]}}));
        client.expect("subscribed");
        client.send(&json!({"type": "subscribe", "data": {"namespace": "products", "keys": ["p_1"]}}));
        client.expect("subscribed");
        let keyed = |id: &str, key: &str| {
            let mut event = order(id, "c");
            event["key"] = key.into();
            event
        };
        let product = |id: &str| json!({"type": "product:deleted", "data": {"productId": id}});
        let posted = node.post(&json!([
            order("o_1", "c"),
            order("o_2", "c"),
            keyed("o_2", "k"),
            keyed("o_1", "elsewhere"),
            product("p_1"),
            product("o_1"),
        ]));
        let due = [&posted[0], &posted[2], &posted[4]].map(String::clone);
        assert_eq!(ids(&client.settle(&node)), due);
    }
}

#[test]
fn all_shards_and_connections_see_one_order() {
    let node = Node::start(&[("WS_SHARDS", "4")]);
    let mut clients: Vec<_> =
        (0..12).map(|i| Client::live(&node, &format!("u{i}"), "admin", &["orders", "products"])).collect();
    let mut control = Control::open(&node);
    let mut posted = Vec::new();
    for i in 0..100 {
        let event = match i % 2 {
            0 => order(&format!("o_{i}"), "c"),
            _ => json!({"type": "product:deleted", "data": {"productId": format!("p_{i}")}}),
        };
        posted.extend(control.post(&event));
    }
    let positions: Vec<u64> = posted.iter().map(|id| id.parse().unwrap()).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    for client in &mut clients {
        assert_eq!(ids(&client.settle(&node)), posted);
    }
}

#[test]
fn backends_that_post_at_once_share_one_order() {
    const POSTERS: usize = 4;
    let node = Node::start(&[("WS_SHARDS", "4")]);
    let mut clients: Vec<_> =
        (0..8).map(|i| Client::live(&node, &format!("u{i}"), "admin", &["orders"])).collect();
    let posted: Vec<Vec<String>> = std::thread::scope(|scope| {
        let post = |poster: usize| {
            let mut control = Control::open(&node);
            let batch = |i: usize| {
                let event = |n: usize| order(&format!("{poster}-{}", 3 * i + n), "c");
                json!([event(0), event(1), event(2)])
            };
            (0..50).flat_map(|i| control.post(&batch(i))).collect()
        };
        let posters: Vec<_> = (0..POSTERS).map(|poster| scope.spawn(move || post(poster))).collect();
        posters.into_iter().map(|poster| poster.join().unwrap()).collect()
    });
    let first: Vec<Value> = clients[0].settle(&node);
    let positions: Vec<u64> = ids(&first).iter().map(|id| id.parse().unwrap()).collect();
    assert!(positions.is_sorted_by(|a, b| a < b) && positions.len() == POSTERS * 150);
    for (poster, posted) in posted.iter().enumerate() {
        let own = first.iter().filter(|m| posted.iter().any(|id| m["id"] == id.as_str()));
        let own: Vec<_> = own.map(|m| m["data"]["orderId"].as_str().unwrap().to_owned()).collect();
        let due: Vec<_> = (0..150).map(|n| format!("{poster}-{n}")).collect();
        assert_eq!(own, due, "each backend's events in its own order");
    }
    for client in &mut clients[1..] {
        assert_eq!(ids(&client.settle(&node)), ids(&first));
    }
}

/// Someone with a choice of subscriptions.
struct Viewer {
    role: &'static str,
    user: String,
    session: String,
    whole: BTreeSet<&'static str>,
    keys: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Viewer {
    /// Section 3 of the contract, rule by rule.
    fn sees(&self, event: &Value) -> bool {
        let kind = event["type"].as_str().unwrap();
        let (namespace, key_field) = match kind.split(':').next().unwrap() {
            "order" => ("orders", "orderId"),
            "product" => ("products", "productId"),
            "payment" => ("payments", "orderId"),
            "customer" => ("customers", "customerId"),
            _ => ("system", ""),
        };
        let names = |list: &Value, name: &str| list.as_array().unwrap().iter().any(|n| n == name);
        let (roles, users) = (&event["roles"], &event["userIds"]);
        let is_named = users.is_array() && names(users, &self.user);
        if roles.is_array() && !names(roles, self.role) || users.is_array() && !is_named {
            return false;
        }
        if event["excludeUserIds"].is_array() && names(&event["excludeUserIds"], &self.user)
            || event["excludeSessionId"] == self.session.as_str()
        {
            return false;
        }
        let addressed = roles.is_array() || users.is_array();
        if namespace == "system" && (addressed || kind == "system:maintenance") {
            return true;
        }
        let may = match (self.role, namespace) {
            ("admin", _) | (_, "products") => true,
            ("manager", namespace) => namespace != "system",
            ("staff", namespace) => !matches!(namespace, "payments" | "system"),
            ("customer", "orders") => is_named || event["data"]["customerId"] == self.user.as_str(),
            _ => false,
        };
        let key = event["key"].as_str().or(event["data"][key_field].as_str());
        let asked = self.whole.contains(namespace)
            || self.keys.get(namespace).is_some_and(|keys| key.is_some_and(|key| keys.contains(&key)));
        may && asked
    }
}

/// A small generator: the same seed, the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}

fn random_event(dice: &mut Dice, users: &[String], sessions: &[String]) -> Value {
    let customer = users[dice.roll(users.len() as u64) as usize].clone();
    let (order_id, product) = (dice.pick(&["o_1", "o_2", "o_3"]), dice.pick(&["p_1", "p_2"]));
    let mut event = match dice.roll(6) {
        0 | 1 => order(order_id, &customer),
        2 => json!({"type": "product:deleted", "data": {"productId": product}}),
        3 => json!({"type": "payment:refunded", "data":
            {"paymentId": "x", "orderId": order_id, "customerId": customer, "amount": 1}}),
        4 => json!({"type": "customer:viewing_product", "data":
            {"customerId": customer, "productId": product, "productName": "n"}}),
        _ => match dice.roll(3) {
            0 => json!({"type": "system:maintenance", "data": {"message": "m"}}),
            _ => notice("n"),
        },
    };
    if dice.roll(4) == 0 {
        event["roles"] = json!([dice.pick(&ROLES), dice.pick(&ROLES)]);
    }
    if dice.roll(3) == 0 {
        event["userIds"] = json!([customer, users[dice.roll(users.len() as u64) as usize]]);
    }
    if dice.roll(5) == 0 {
        event["excludeUserIds"] = json!([users[dice.roll(users.len() as u64) as usize]]);
    }
    if dice.roll(5) == 0 {
        event["excludeSessionId"] = json!(sessions[dice.roll(sessions.len() as u64) as usize]);
    }
    if dice.roll(5) == 0 {
        event["key"] = json!(dice.pick(&["o_1", "p_2", "elsewhere"]));
    }
    event
}

#[test]
fn a_mixed_burst_arrives_complete_and_in_order_at_every_kind_of_viewer() {
    for (shards, seed) in [("1", 1), ("4", 2), ("4", 3)] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut dice = Dice(seed);
        let mut viewers = Vec::new();
        for (i, role) in ROLES.into_iter().cycle().take(20).enumerate() {
            let namespaces: &[&str] = match role {
                "admin" => &["orders", "customers", "products", "payments", "system"],
                "manager" => &["orders", "customers", "products", "payments"],
                "staff" => &["orders", "customers", "products"],
                "customer" => &["orders", "products"],
                _ => &["products"],
            };
            // Two connections of most users, of which each has its own wishes.
            let viewer = Viewer {
                role,
                user: format!("u_{}", i % 12),
                session: format!("s_{i}"),
                whole: namespaces.iter().copied().filter(|_| dice.roll(3) > 0).collect(),
                keys: BTreeMap::from([
                    ("orders", vec!["o_1", "o_2"]),
                    ("products", vec!["p_2"]),
                    ("customers", vec!["u_3"]),
                ]),
            };
            let keys =
                viewer.keys.into_iter().filter(|(n, _)| namespaces.contains(n) && !viewer.whole.contains(n));
            viewers.push(Viewer { keys: keys.filter(|_| dice.roll(2) == 0).collect(), ..viewer });
        }
        let mut clients = Vec::new();
        for viewer in &viewers {
            let mut client = Client::connect(&node);
            client.auth_session(&viewer.user, viewer.role, &viewer.session);
            for namespace in &viewer.whole {
                client.subscribe(&[*namespace]);
            }
            for (namespace, keys) in &viewer.keys {
                client.send(&json!({"type": "subscribe", "data": {"namespace": namespace, "keys": keys}}));
                client.expect("subscribed");
            }
            clients.push(client);
        }
        let users: Vec<_> = (0..12).map(|i| format!("u_{i}")).collect();
        let sessions: Vec<_> = viewers.iter().map(|v| v.session.clone()).collect();
        let mut control = Control::open(&node);
        let (mut events, mut posted) = (Vec::new(), Vec::new());
        while events.len() < 400 {
            let count = 1 + dice.roll(12);
            let batch: Vec<_> = (0..count).map(|_| random_event(&mut dice, &users, &sessions)).collect();
            posted.extend(control.post(&Value::Array(batch.clone())));
            events.extend(batch);
        }
        for (viewer, client) in viewers.iter().zip(&mut clients) {
            // Presence of the customers among the viewers comes in between; it was not posted.
            let got: Vec<_> =
                ids(&client.settle(&node)).into_iter().filter(|id| posted.contains(id)).collect();
            let due: Vec<_> = events
                .iter()
                .zip(&posted)
                .filter(|(e, _)| viewer.sees(e))
                .map(|(_, id)| id.clone())
                .collect();
            assert_eq!(got, due, "{} {} seed {seed}", viewer.role, viewer.user);
        }
    }
}
