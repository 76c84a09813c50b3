//! Events that clients publish.

use serde_json::{Value, json};

use crate::support::{Client, Node};

fn viewing(customer: &str) -> Value {
    json!({"customerId": customer, "productId": "p_1", "productName": "Lamp"})
}

fn publish(client: &mut Client, kind: &str, data: Value) -> Value {
    client.ask("pub", json!({"type": "publish", "data": {"type": kind, "data": data}}))
}

#[test]
fn a_customer_publishes_of_itself_whatever_it_says() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut screen = Client::live(&node, "boss", "staff", &["customers"]);
        let mut customer = Client::live(&node, "cust_1", "customer", &[]);
        let kinds = [
            ("customer:viewing_product", viewing("somebody_else")),
            ("customer:viewing_product", json!({"productId": "p", "productName": "n"})),
            ("customer:viewing_product", json!({"customerId": 7, "productId": "p", "productName": "n"})),
            ("customer:added_to_cart", json!({"productId": "p", "productName": "n", "quantity": 2})),
            ("customer:activity", json!({"action": "cart_add", "timestamp": 1_700_000_000_000u64})),
        ];
        for (kind, data) in kinds {
            let answer = publish(&mut customer, kind, data.clone());
            assert_eq!(answer["type"], "published", "{answer}");
            let event = screen.expect(kind);
            assert_eq!(event["id"], answer["data"]["eventId"]);
            assert_eq!(event["data"]["customerId"], "cust_1", "{data}");
            assert_eq!(event["namespace"], "customers");
        }
    }
}

#[test]
fn odd_content_of_a_payload_arrives_as_it_was_sent() {
    let node = Node::start(&[]);
    let mut screen = Client::live(&node, "boss", "admin", &["customers"]);
    let mut customer = Client::live(&node, "cust_1", "customer", &[]);
    let name = "\u{1f6cb}\u{fe0f} \u{202e}sofa\u{2028} \"quoted\" \\ \n\t</script>";
    let mut data = viewing("x");
    data["productName"] = name.into();
    data["extra"] = json!({"deep": [1, 2.5, null, true, {"big": 123456789012345678u64}]});
    let answer = publish(&mut customer, "customer:viewing_product", data.clone());
    assert_eq!(answer["type"], "published");
    let event = screen.expect("customer:viewing_product");
    data["customerId"] = "cust_1".into();
    assert_eq!(event["data"], data);
}

#[test]
fn nobody_publishes_what_its_role_may_not() {
    let node = Node::start(&[]);
    let mut screen = Client::live(&node, "boss", "admin", &["orders", "customers", "products"]);
    screen.sync();
    for role in ["admin", "manager", "staff", "guest"] {
        let mut client = Client::live(&node, "u", role, &[]);
        let answer = publish(&mut client, "customer:viewing_product", viewing("u"));
        assert_eq!(answer["data"]["code"], "forbidden_event", "{role}");
    }
    let mut customer = Client::live(&node, "cust_1", "customer", &[]);
    for kind in ["order:created", "customer:online", "customer:offline", "system:alert", "product:deleted"] {
        let answer = publish(&mut customer, kind, viewing("cust_1"));
        assert_eq!(answer["data"]["code"], "forbidden_event", "{kind}");
    }
    node.settle();
    let seen = screen.sync();
    assert!(seen.iter().all(|event| event["type"] == "customer:online"), "{seen:?}");
}

#[test]
fn a_bad_event_is_refused_with_its_path() {
    let node = Node::start(&[]);
    let mut screen = Client::live(&node, "boss", "admin", &["customers"]);
    let mut customer = Client::live(&node, "cust_1", "customer", &[]);
    screen.expect("customer:online");
    let with = |name: &str, value: Value| {
        let mut data = viewing("cust_1");
        data[name] = value;
        data
    };
    let viewing_product = "customer:viewing_product";
    for (kind, data, path) in [
        ("no:such_event", viewing("x"), "type"),
        ("__proto__", viewing("x"), "type"),
        (viewing_product, json!({"productId": "p"}), "data.productName"),
        (viewing_product, with("productId", json!(7)), "data.productId"),
        (viewing_product, with("productId", json!(null)), "data.productId"),
        (viewing_product, with("duration", json!("long")), "data.duration"),
        ("customer:added_to_cart", with("quantity", json!("two")), "data.quantity"),
        ("customer:activity", json!({"action": "dancing", "timestamp": 1}), "data.action"),
        ("customer:activity", json!({"action": "viewing", "timestamp": 1.5}), "data.timestamp"),
    ] {
        let answer = publish(&mut customer, kind, data.clone());
        let error = &answer["data"];
        assert_eq!(
            (&error["code"], &error["path"]),
            (&json!("invalid_event"), &json!(path)),
            "{data}: {answer}"
        );
        assert_eq!(error["retryable"], false);
    }
    for (data, field) in [
        (json!(null), "data"),
        (json!({"data": {}}), "data.type"),
        (json!({"type": 7, "data": {}}), "data.type"),
        (json!({"type": viewing_product}), "data.data"),
        (json!({"type": viewing_product, "data": [1]}), "data.data"),
    ] {
        let answer = customer.ask("x", json!({"type": "publish", "data": data}));
        assert_eq!(
            (&answer["data"]["code"], &answer["data"]["field"]),
            (&json!("bad_message"), &json!(field)),
            "{data}"
        );
    }
    node.settle();
    assert_eq!(screen.sync(), [] as [Value; 0], "nothing of them was published");
}
