//! The default policy against the wire contract, and every way a policy file is wrong.

use super::*;

/// The table of the wire contract.
const SEES: [&str; 6] = [
    "role      orders customers products inventory payments system",
    "admin     all    all       all      all       all      all",
    "manager   all    all       all      all       all      -",
    "staff     all    all       all      all       -        -",
    "customer  own    -         all      -         -        -",
    "guest     -      -         all      -         -        -",
];

/// Namespace, key field and event types of the wire contract with their fields; what is not `text`
/// is said after a colon, with the values allowed in parentheses.
const EVENTS: [(&str, &str, &str, &str); 23] = [
    (
        "orders",
        "orderId",
        "order:created",
        "orderId:id customerId:id customerName total:number status:(pending|processing|shipped|delivered|cancelled) channel",
    ),
    ("orders", "orderId", "order:updated", "orderId:id customerId?:id changes:object"),
    (
        "orders",
        "orderId",
        "order:status_changed",
        "orderId:id customerId:id customerName oldStatus:(pending|processing|shipped|delivered|cancelled) newStatus:(pending|processing|shipped|delivered|cancelled) timestamp:ms",
    ),
    ("orders", "orderId", "order:deleted", "orderId:id customerId?:id"),
    (
        "customers",
        "customerId",
        "customer:activity",
        "customerId:id customerName? action:(viewing|cart_add|cart_remove|checkout_start|checkout_complete) productId?:id productName? timestamp:ms",
    ),
    (
        "customers",
        "customerId",
        "customer:viewing_product",
        "customerId:id productId:id productName duration?:number",
    ),
    (
        "customers",
        "customerId",
        "customer:added_to_cart",
        "customerId:id productId:id productName quantity:number",
    ),
    ("customers", "customerId", "customer:online", "customerId:id isOnline:boolean lastSeen:ms"),
    ("customers", "customerId", "customer:offline", "customerId:id isOnline:boolean lastSeen:ms"),
    (
        "inventory",
        "productId",
        "inventory:updated",
        "productId:id productName sku oldStock:number newStock:number difference:number reason?:(sale|restock|adjustment|return)",
    ),
    (
        "inventory",
        "productId",
        "inventory:low_stock",
        "productId:id productName sku currentStock:number threshold:number severity:(low|critical)",
    ),
    ("inventory", "productId", "inventory:out_of_stock", "productId:id productName sku"),
    (
        "inventory",
        "productId",
        "inventory:restocked",
        "productId:id productName sku newStock:number addedQuantity:number",
    ),
    (
        "products",
        "productId",
        "product:price_changed",
        "productId:id productName sku oldPrice:number newPrice:number changePercentage:number",
    ),
    ("products", "productId", "product:created", "productId:id productName category price:number"),
    ("products", "productId", "product:updated", "productId:id changes:object"),
    ("products", "productId", "product:deleted", "productId:id"),
    (
        "payments",
        "orderId",
        "payment:received",
        "paymentId:id orderId:id customerId:id amount:number method status:(success|pending|failed)",
    ),
    (
        "payments",
        "orderId",
        "payment:failed",
        "paymentId:id orderId:id customerId:id amount:number reason retryable:boolean",
    ),
    (
        "payments",
        "orderId",
        "payment:refunded",
        "paymentId:id orderId:id customerId:id amount:number reason?",
    ),
    (
        "system",
        "-",
        "system:notification",
        "title message severity:(info|warning|error|success) targetRoles?:roles actionUrl?",
    ),
    ("system", "-", "system:alert", "title message severity:(info|warning|error|success) targetRoles?:roles"),
    ("system", "-", "system:maintenance", "message scheduledAt?:ms duration?:number"),
];

fn in_words(field: &Field) -> String {
    let mark = if field.required { "" } else { "?" };
    let kind = match &field.kind {
        Kind::Text => String::new(),
        Kind::OneOf(words) => format!(":({})", words.join("|")),
        kind => format!(":{}", kind.word().expect("has a word")),
    };
    format!("{}{mark}{kind}", field.name)
}

#[test]
fn the_default_policy_is_the_wire_contract() {
    let policy = Policy::builtin();
    let mut rows = SEES.iter().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let head = rows.next().expect("a head");
    assert_eq!(policy.namespaces().map(|n| policy.namespace_name(n)).collect::<Vec<_>>(), head[1..]);
    let rows: Vec<_> = rows.collect();
    assert_eq!(policy.roles().count(), rows.len());
    for (role, row) in policy.roles().zip(&rows) {
        assert_eq!(policy.role_name(role), row[0]);
        assert_eq!(policy.role(row[0]), Some(role));
        for (namespace, cell) in policy.namespaces().zip(&row[1..]) {
            assert_eq!(policy.sees_all(role).has(namespace.0), *cell == "all", "{row:?}");
            assert_eq!(policy.sees_own(role).has(namespace.0), *cell == "own", "{row:?}");
            assert_eq!(policy.visible(role).has(namespace.0), *cell != "-", "{row:?}");
        }
    }
    assert_eq!(policy.event_types().count(), EVENTS.len());
    for (event, (namespace, key, name, fields)) in policy.event_types().zip(EVENTS) {
        assert_eq!(policy.event_name(event), name);
        assert_eq!(policy.event_type(name), Some(event));
        assert_eq!(policy.namespace_name(policy.event_namespace(event)), namespace);
        assert!(policy.events_of(policy.event_namespace(event)).any(|e| e == event));
        assert_eq!(policy.key_field(event).unwrap_or("-"), key, "{name}");
        let said: Vec<_> = policy.fields(event).iter().map(in_words).collect();
        assert_eq!(said, fields.split(' ').collect::<Vec<_>>(), "{name}");
        // Whoever has a customer is owned by it.
        let owned = fields.contains("customerId");
        assert_eq!(policy.owner_field(event), owned.then_some("customerId"), "{name}");
        assert_eq!(policy.roles_field(event), (namespace == "system").then_some("targetRoles"));
        assert_eq!(policy.event(event).everybody, name == "system:maintenance");
        let by_customers =
            ["customer:activity", "customer:viewing_product", "customer:added_to_cart"].contains(&name);
        for role in policy.roles() {
            let may = by_customers && policy.role_name(role) == "customer";
            assert_eq!(policy.may_publish(role, event), may, "{name}");
        }
    }
    for role in policy.roles() {
        let publishes = policy.event_types().any(|event| policy.may_publish(role, event));
        assert_eq!(publishes, policy.role_name(role) == "customer");
    }
    let presence = policy.presence().expect("there is presence");
    assert_eq!(policy.role_name(presence.role), "customer");
    assert_eq!(policy.event_name(presence.online), "customer:online");
    assert_eq!(policy.event_name(presence.offline), "customer:offline");
    assert_eq!(policy.namespace_name(presence.namespace), "customers");
    assert_eq!(&*presence.owner_field, "customerId");
}

const SMALL: &str = r#"{
    "version": 1, "roles": ["a", "b"],
    "namespaces": { "x": { "owner": "who", "key": "id" }, "y": { "addressed": true, "roles": "to" } },
    "sees": { "a": { "x": "all", "y": "none" } },
    "events": {
        "x:made": { "namespace": "x", "fields": { "id": "id", "who?": "id", "n": "number" } },
        "y:said": { "namespace": "y", "everybody": true, "fields": { "to?": "roles", "w": ["p", "q"] } }
    },
    "publishes": { "b": ["x:made"] }
}"#;

#[test]
fn a_small_policy_compiles() {
    let policy = Policy::parse(SMALL).expect("compiles");
    assert!(policy.presence().is_none());
    assert_eq!(policy.owner_field(EventType(0)), Some("who"));
    assert!(policy.may_publish(Role(1), EventType(0)) && !policy.may_publish(Role(0), EventType(0)));
    assert_eq!((policy.role("c"), policy.namespace("z"), policy.event_type("x:none")), (None, None, None));
}

/// What is replaced in the small policy, by what, and where the fault is then said to be.
#[test]
fn a_bad_policy_says_where() {
    let cases: [(&str, &str, &str); 30] = [
        ("\"version\": 1", "\"version\": 2", "version"),
        ("\"version\": 1,", "", "the top level"),
        ("\"version\": 1", "\"version\": 1, \"sess\": {}", "sess"),
        ("\"version\": 1", "\"version\": 1, \"version\": 1", "version"),
        ("[\"a\", \"b\"]", "[]", "roles"),
        ("[\"a\", \"b\"]", "[\"a\", \"a\"]", "roles.1"),
        ("[\"a\", \"b\"]", "[\"a\", \"B\"]", "roles.1"),
        ("[\"a\", \"b\"]", "[\"a\", 7]", "roles.1"),
        ("[\"a\", \"b\"]", "{}", "roles"),
        ("\"owner\": \"who\"", "\"owner\": \"whom\"", "namespaces.x.owner"),
        ("\"owner\": \"who\"", "\"owner\": \"n\"", "namespaces.x.owner"),
        ("\"owner\": \"who\"", "\"ower\": \"who\"", "namespaces.x.ower"),
        ("\"addressed\": true", "\"addressed\": 1", "namespaces.y.addressed"),
        ("\"addressed\": true", "\"addressed\": false", "events.y:said"),
        ("\"x\": \"all\"", "\"x\": \"al\"", "sees.a.x"),
        ("\"x\": \"all\"", "\"z\": \"all\"", "sees.a.z"),
        ("\"a\": { \"x\"", "\"c\": { \"x\"", "sees.c"),
        ("x:made\": {", "xmade\": {", "events.xmade"),
        ("x:made\": {", "x:\": {", "events.x:"),
        ("x:made\": {", "x:ma de\": {", "events.x:ma de"),
        ("\"namespace\": \"x\"", "\"namespace\": \"z\"", "events.x:made.namespace"),
        ("\"namespace\": \"x\",", "", "events.x:made"),
        ("\"n\": \"number\"", "\"n\": \"float\"", "events.x:made.fields.n"),
        ("\"n\": \"number\"", "\"n\": []", "events.x:made.fields.n"),
        ("\"n\": \"number\"", "\"n\": \"number\", \"n?\": \"text\"", "events.x:made.fields.n?"),
        ("\"n\": \"number\"", "\"n\": \"roles\"", "events.x:made.fields.n"),
        ("\"namespace\": \"x\"", "\"namespace\": \"x\", \"key\": \"nix\"", "events.x:made.key"),
        ("[\"x:made\"]", "[\"x:mode\"]", "publishes.b.0"),
        (
            "\"version\": 1",
            r#""version": 1, "presence": {"role": "a", "online": "x:made", "offline": "x:made"}"#,
            "presence.online",
        ),
        ("\"roles\": [\"a\", \"b\"],", "\"roles\": [\"a\",\n \"b\"],,", "line 3, column 7"),
    ];
    for (old, new, path) in cases {
        assert!(SMALL.contains(old), "{old}");
        let error = Policy::parse(&SMALL.replacen(old, new, 1)).expect_err(new);
        assert_eq!(error.path, path, "{new}: {error}");
        assert!(error.to_string().starts_with(&format!("policy: at {path}: ")));
    }
}

#[test]
fn a_refusal_is_one_line_of_bounded_length() {
    for name in ["x".repeat(10_000), "\u{1b}[31m\n".repeat(2_000)] {
        let key = serde_json::to_string(&name).expect("a text is JSON");
        let nested = format!(r#"{{"version":1,"roles":["a"],"namespaces":{{{key}:{{}}}}}}"#);
        for text in [format!("{{{key}:1}}"), nested] {
            let fault = Policy::parse(&text).expect_err("no such name").to_string();
            assert!(
                fault.len() < 2_000 && !fault.contains(['\n', '\u{1b}']) && fault.contains('…'),
                "{fault}"
            );
        }
    }
}

#[test]
fn counts_are_bounded() {
    let names = |n: usize| (0..n).map(|i| format!("\"r{i}\"")).collect::<Vec<_>>().join(",");
    let with = |n: usize| SMALL.replacen("\"a\", \"b\"", &format!("\"a\", \"b\", {}", names(n)), 1);
    assert!(Policy::parse(&with(30)).is_ok());
    assert_eq!(Policy::parse(&with(31)).expect_err("33 roles").path, "roles");
    let field = |i: usize| format!("\"f{i}\": \"text\"");
    let fields = (0..62).map(field).collect::<Vec<_>>().join(",");
    let full = SMALL.replacen("\"n\": \"number\"", &fields, 1);
    assert!(Policy::parse(&full).is_ok());
    let over = full.replacen("\"f0\"", "\"g\": \"text\", \"f0\"", 1);
    assert_eq!(Policy::parse(&over).expect_err("65 fields").path, "events.x:made.fields");
}
