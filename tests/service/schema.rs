//! What is wrong with an event is told with its place and a code, and nothing of the post is published.

use serde_json::{Value, json};

use crate::catalogue::{TYPES, data, event, fields};
use crate::support::{Client, Control, Node, order};

/// Posts `body`, which must be refused with these `(index, path, code)`, and publish nothing.
fn refused(
    control: &mut Control<impl crate::support::Stream>,
    body: &str,
    expected: &[(usize, String, &str)],
) {
    let response = control.ask("POST", "/api/events", body);
    assert_eq!(response.status, 422, "{body}: {}", response.body);
    let errors = response.json()["errors"].as_array().unwrap().clone();
    let got: Vec<_> = errors.iter().map(|e| (&e["index"], &e["path"], &e["code"])).collect();
    let (indexes, rest): (Vec<_>, Vec<_>) =
        expected.iter().map(|(i, p, c)| (json!(i), (json!(p), json!(c)))).unzip();
    let expected: Vec<_> = indexes.iter().zip(&rest).map(|(i, (p, c))| (i, p, c)).collect();
    assert_eq!(got, expected, "{body}");
    assert!(errors.iter().all(|e| e["message"].as_str().is_some_and(|m| !m.is_empty())), "{}", response.body);
}

#[test]
fn a_required_field_that_is_missing_is_named() {
    let node = Node::start(&[]);
    let mut control = Control::open(&node);
    for (name, _, row) in &TYPES {
        let fields = fields(row);
        let required: Vec<_> = fields.iter().filter(|f| f.required).collect();
        let lacking = required.iter().map(|lack| {
            let data = data(&fields, |f| (f != *lack).then(|| f.good()));
            format!(r#"{{"type":"{name}","data":{data}}}"#)
        });
        let body = format!("[{}]", lacking.collect::<Vec<_>>().join(","));
        let expected: Vec<_> =
            required.iter().enumerate().map(|(i, f)| (i, format!("data.{}", f.name), "missing")).collect();
        refused(&mut control, &body, &expected);
        let all: Vec<_> = required.iter().map(|f| (0, format!("data.{}", f.name), "missing")).collect();
        refused(&mut control, &format!(r#"{{"type":"{name}","data":{{}}}}"#), &all);
    }
    assert_eq!(node.stats()["eventsAccepted"], 0);
}

#[test]
fn a_value_of_a_wrong_kind_or_out_of_its_words_is_named() {
    let node = Node::start(&[]);
    let mut control = Control::open(&node);
    for (name, _, row) in &TYPES {
        let fields = fields(row);
        for wrong in &fields {
            let (mut events, mut expected) = (Vec::new(), Vec::new());
            for (i, (text, code)) in wrong.bad().into_iter().enumerate() {
                let data = data(&fields, |f| Some(if f == wrong { text.into() } else { f.good() }));
                events.push(format!(r#"{{"type":"{name}","data":{data}}}"#));
                expected.push((i, format!("data.{}", wrong.name), code));
            }
            refused(&mut control, &events.join("\n"), &expected);
        }
    }
    assert_eq!(node.stats()["eventsAccepted"], 0);
}

#[test]
fn each_word_of_a_field_is_accepted() {
    let node = Node::start(&[]);
    let mut control = Control::open(&node);
    for (name, _, row) in &TYPES {
        let fields = fields(row);
        for chosen in fields.iter().filter(|f| f.kind.contains('|')) {
            for word in chosen.kind.split('|') {
                let data =
                    data(&fields, |f| Some(if f == chosen { format!("\"{word}\"") } else { f.good() }));
                let body = format!(r#"{{"type":"{name}","data":{data}}}"#);
                assert_eq!(control.ask("POST", "/api/events", &body).status, 200, "{body}");
            }
        }
    }
}

#[test]
fn what_is_wrong_with_the_envelope_is_named() {
    let node = Node::start(&[]);
    let mut control = Control::open(&node);
    let mut admin = Client::live(&node, "boss", "admin", &["orders", "system"]);
    let with = |name: &str, value: Value| {
        let mut event = order("o_1", "cust_1");
        event[name] = value;
        event.to_string()
    };
    let notice = |roles: Value| {
        json!({"type": "system:alert", "data":
            {"title": "t", "message": "m", "severity": "info", "targetRoles": roles}})
        .to_string()
    };
    let order_data = &order("o", "c")["data"];
    let table = [
        (with("roles", json!([])), "roles", "empty_list"),
        (with("targetRoles", json!([])), "targetRoles", "empty_list"),
        (with("userIds", json!([])), "userIds", "empty_list"),
        (with("excludeUserIds", json!([])), "excludeUserIds", "empty_list"),
        (notice(json!([])), "data.targetRoles", "empty_list"),
        (with("roles", json!(["boss"])), "roles", "unknown_role"),
        (with("roles", json!(["admin", "Admin"])), "roles", "unknown_role"),
        (with("targetRoles", json!(["boss"])), "targetRoles", "unknown_role"),
        (notice(json!(["boss"])), "data.targetRoles", "unknown_role"),
        (with("roles", json!("admin")), "roles", "wrong_type"),
        (with("roles", json!([7])), "roles", "wrong_type"),
        (with("roles", Value::Null), "roles", "wrong_type"),
        (with("userIds", Value::Null), "userIds", "wrong_type"),
        (with("userIds", json!("cust_1")), "userIds", "wrong_type"),
        (with("userIds", json!([7])), "userIds", "wrong_type"),
        (with("excludeSessionId", json!(7)), "excludeSessionId", "wrong_type"),
        (with("key", json!({})), "key", "wrong_type"),
        (with("idempotencyKey", json!(7)), "idempotencyKey", "wrong_type"),
        (with("timestamp", json!("now")), "timestamp", "wrong_type"),
        (with("timestamp", json!(-1)), "timestamp", "bad_value"),
        (with("namespace", json!("payments")), "namespace", "namespace_mismatch"),
        (with("namespace", json!("nowhere")), "namespace", "namespace_mismatch"),
        (with("userids", json!(["cust_1"])), "userids", "unknown_field"),
        (with("targetUserIds", json!(["cust_1"])), "targetUserIds", "unknown_field"),
        (json!({"type": "order:create", "data": order_data}).to_string(), "type", "unknown_type"),
        (json!({"type": "__proto__", "data": {}}).to_string(), "type", "unknown_type"),
        (json!({"type": 7, "data": {}}).to_string(), "type", "wrong_type"),
        (json!({"data": {}}).to_string(), "type", "missing"),
        (json!({"type": "order:created"}).to_string(), "data", "missing"),
        (json!({"type": "order:created", "data": []}).to_string(), "data", "wrong_type"),
        (r#""order:created""#.into(), "", "wrong_type"),
        ("7".into(), "", "wrong_type"),
    ];
    for (body, path, code) in &table {
        refused(&mut control, body, &[(0, (*path).into(), code)]);
    }
    // A bad one in the middle: nothing of the rest either, and each is named.
    let good = order("o_1", "cust_1").to_string();
    let body = [&good, &table[0].0, &good, &table[22].0, &good].map(String::as_str).join("\n");
    let expected = [(1, "roles".to_owned(), "empty_list"), (3, "userids".to_owned(), "unknown_field")];
    refused(&mut control, &body, &expected);
    assert!(admin.settle(&node).is_empty(), "nothing was published");
    let ids = control.post(&order("o_2", "cust_1"));
    assert_eq!(admin.message()["id"], ids[0].as_str());
}

#[test]
fn unknown_shapes_pass_where_validation_is_off_but_addresses_are_checked() {
    let node = Node::start(&[("WS_VALIDATE", "off")]);
    let mut control = Control::open(&node);
    let mut admin = Client::live(&node, "boss", "admin", &["orders"]);
    let ids = control.post(&json!([
        {"type": "order:created", "data": {"total": "many"}},
        {"type": "order:deleted", "data": {}},
    ]));
    let first = admin.message();
    assert_eq!((first["id"].as_str(), &first["data"]["total"]), (Some(&*ids[0]), &json!("many")));
    assert_eq!(admin.message()["id"], ids[1].as_str());
    refused(
        &mut control,
        r#"{"type":"order:created","data":{"customerId":7}}"#,
        &[(0, "data.customerId".into(), "wrong_type")],
    );
    let body = r#"{"type":"order:created","data":{},"userIds":[]}"#;
    refused(&mut control, body, &[(0, "userIds".into(), "empty_list")]);
    refused(&mut control, r#"{"type":"x","data":{}}"#, &[(0, "type".into(), "unknown_type")]);
    assert!(admin.settle(&node).is_empty());
    assert_eq!(control.ask("POST", "/api/events", &event(&TYPES[0], true)).status, 200);
}
