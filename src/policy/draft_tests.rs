//! Events as backends, connections and the node itself make them, good and bad.

use super::*;
use crate::base::masks::Mask;
use crate::policy::audience::Reach;

const RULES: Rules = Rules { validate: true, max_event_bytes: 262_144 };
const LOOSE: Rules = Rules { validate: false, ..RULES };

const ORDER: &str = r#"{"orderId":"o1","customerId":"ann","customerName":"Ann","total":1.50,"status":"pending","channel":"web"}"#;

fn order(rest: &str) -> String {
    format!(r#"{{"type":"order:created","data":{ORDER}{rest}}}"#)
}

fn of_type(event: &str, data: &str) -> String {
    format!(r#"{{"type":"{event}","data":{data}}}"#)
}

fn good(raw: &str, rules: &Rules) -> Draft {
    Policy::builtin().draft_posted(raw, rules).unwrap_or_else(|v| panic!("{raw}: {v:?}"))
}

/// Paths and codes of everything that is wrong.
fn faults(raw: &str, rules: &Rules) -> Vec<(String, &'static str)> {
    let violations = Policy::builtin().draft_posted(raw, rules).expect_err(raw);
    violations.into_iter().map(|v| (v.path, v.code.as_str())).collect()
}

fn mask(roles: &[&str]) -> Mask {
    let policy = Policy::builtin();
    roles.iter().fold(Mask::EMPTY, |m, r| m | Mask::only(policy.role(r).expect("known").0))
}

#[test]
fn a_posted_event_becomes_a_draft() {
    let policy = Policy::builtin();
    let draft = good(&order(r#","timestamp":1700000000000,"idempotencyKey":"i1""#), &RULES);
    assert_eq!(policy.event_name(draft.event), "order:created");
    assert_eq!(&*draft.data, ORDER);
    assert_eq!((draft.timestamp, draft.idempotency_key.as_deref()), (Some(1_700_000_000_000), Some("i1")));
    let audience = &draft.audience;
    assert_eq!(audience.reach, Reach::Subscribers);
    assert_eq!(audience.roles, mask(&["admin", "manager", "staff"]));
    assert_eq!(audience.own_roles, mask(&["customer"]));
    assert_eq!((audience.owner.as_deref(), audience.key.as_deref()), (Some("ann"), Some("o1")));
    assert_eq!((&audience.users, audience.exclude_users.len()), (&None, 0));

    let draft = good(
        &order(
            r#","namespace":"orders","roles":["staff","customer","staff"],"targetRoles":["customer","staff"],
              "userIds":["bob","ann","bob"],"excludeUserIds":["cy"],"excludeSessionId":"s1","key":"k1",
              "timestamp":null,"idempotencyKey":null"#,
        ),
        &RULES,
    );
    let audience = &draft.audience;
    assert_eq!((audience.roles, audience.own_roles), (mask(&["staff"]), mask(&["customer"])));
    assert_eq!(audience.users.as_deref(), Some(&["ann".into(), "bob".into()][..]));
    assert_eq!(*audience.exclude_users, ["cy".into()]);
    assert_eq!((audience.exclude_session.as_deref(), audience.key.as_deref()), (Some("s1"), Some("k1")));
    assert_eq!((draft.timestamp, draft.idempotency_key), (None, None));
}

#[test]
fn system_events_reach_the_addressed_or_everybody() {
    let all = mask(&["admin", "manager", "staff", "customer", "guest"]);
    let note = |data: &str, rest: &str| {
        let raw = format!(
            r#"{{"type":"system:notification","data":{{"title":"t","message":"m","severity":"info"{data}}}{rest}}}"#
        );
        let audience = good(&raw, &RULES).audience;
        (audience.reach, audience.roles, audience.own_roles)
    };
    let maintenance = |data: &str, rest: &str| {
        let audience =
            good(&format!(r#"{{"type":"system:maintenance","data":{{"message":"m"{data}}}{rest}}}"#), &RULES)
                .audience;
        (audience.reach, audience.roles, audience.own_roles)
    };
    let none = Mask::EMPTY;
    assert_eq!(note("", ""), (Reach::Subscribers, mask(&["admin"]), none));
    let guests = (Reach::Addressed, mask(&["guest"]), none);
    assert_eq!(note("", r#","roles":["guest"]"#), guests);
    assert_eq!(note("", r#","targetRoles":["guest"]"#), guests);
    assert_eq!(note(r#","targetRoles":["guest"]"#, ""), guests);
    assert_eq!(note(r#","targetRoles":["guest"]"#, r#","roles":["guest"],"userIds":["u"]"#), guests);
    assert_eq!(note("", r#","userIds":["u"]"#), (Reach::Addressed, all, none));
    assert_eq!(maintenance("", ""), (Reach::Everybody, all, none));
    assert_eq!(maintenance("", r#","excludeUserIds":["u"]"#), (Reach::Everybody, all, none));
    assert_eq!(maintenance("", r#","roles":["guest"]"#), guests);
    // The field is read although maintenance does not list it: it must not reach everybody.
    assert_eq!(maintenance(r#","targetRoles":["guest"]"#, ""), guests);
    // Elsewhere a field of that name is only a field.
    let product = r#"{"productId":"p","targetRoles":[]}"#;
    assert_eq!(good(&of_type("product:deleted", product), &RULES).audience.roles, all);
}

#[test]
fn values_pass_unchanged_on_one_line() {
    let data = "{ \"productId\" : \"p\\u0031 \\n\",\r\n\t\"changes\" : { \"n\" : 123456789012345678901234567890.10e-2 ,\n \"a\": [ ] },\"x\" : \" { } \"}";
    let fault = &faults(&of_type("product:updated", data), &RULES)[0];
    assert_eq!(fault, &("data.productId".to_owned(), "bad_value"), "an id with a line break");
    let data = data.replacen("\\n\"", "\"", 1);
    let draft = good(&of_type("product:updated", &data), &RULES);
    let expected = "{\"productId\":\"p\\u0031 \",\"changes\":{\"n\":123456789012345678901234567890.10e-2,\"a\":[]},\"x\":\" { } \"}";
    assert_eq!(&*draft.data, expected);
    assert_eq!(draft.audience.key.as_deref(), Some("p1 "));
}

#[test]
fn bad_envelopes_are_refused_with_their_path() {
    let many = |n: usize| (0..n).map(|i| format!("\"u{i}\"")).collect::<Vec<_>>().join(",");
    let long = "x".repeat(257);
    let cases = [
        ("7".to_owned(), "", "wrong_type"),
        ("[]".to_owned(), "", "wrong_type"),
        ("null".to_owned(), "", "wrong_type"),
        ("{".to_owned(), "", "bad_value"),
        ("".to_owned(), "", "bad_value"),
        (format!(r#"{{"data":{ORDER}}}"#), "type", "missing"),
        (format!(r#"{{"type":7,"data":{ORDER}}}"#), "type", "wrong_type"),
        (format!(r#"{{"type":null,"data":{ORDER}}}"#), "type", "wrong_type"),
        (of_type("order:made", ORDER), "type", "unknown_type"),
        (r#"{"type":"order:created"}"#.to_owned(), "data", "missing"),
        (of_type("order:created", "null"), "data", "wrong_type"),
        (of_type("order:created", "[]"), "data", "wrong_type"),
        (order(r#","userids":["ann"]"#), "userids", "unknown_field"),
        (order(r#","type":"order:created""#), "type", "bad_value"),
        (order(r#","dat\u0061":{}"#), "data", "bad_value"),
        (order(r#","namespace":"payments""#), "namespace", "namespace_mismatch"),
        (order(r#","namespace":"nowhere""#), "namespace", "namespace_mismatch"),
        (order(r#","namespace":1"#), "namespace", "wrong_type"),
        (order(r#","timestamp":"now""#), "timestamp", "wrong_type"),
        (order(r#","timestamp":1.5"#), "timestamp", "bad_value"),
        (order(r#","timestamp":8640000000000001"#), "timestamp", "bad_value"),
        (order(r#","roles":[]"#), "roles", "empty_list"),
        (order(r#","targetRoles":[]"#), "targetRoles", "empty_list"),
        (order(r#","userIds":[]"#), "userIds", "empty_list"),
        (order(r#","excludeUserIds":[]"#), "excludeUserIds", "empty_list"),
        (order(r#","roles":null"#), "roles", "wrong_type"),
        (order(r#","userIds":null"#), "userIds", "wrong_type"),
        (order(r#","excludeUserIds":null"#), "excludeUserIds", "wrong_type"),
        (order(r#","userIds":"ann""#), "userIds", "wrong_type"),
        (order(r#","userIds":[7]"#), "userIds", "wrong_type"),
        (order(r#","userIds":[""]"#), "userIds", "bad_value"),
        (order(r#","userIds":["a\u0007"]"#), "userIds", "bad_value"),
        (order(r#","userIds":["\ud800"]"#), "userIds", "bad_value"),
        (order(&format!(r#","userIds":["{long}"]"#)), "userIds", "bad_value"),
        (order(&format!(r#","userIds":[{}]"#, many(1025))), "userIds", "too_large"),
        (order(r#","roles":["root"]"#), "roles", "unknown_role"),
        (order(r#","roles":["Admin"]"#), "roles", "unknown_role"),
        (order(r#","roles":[["admin"]]"#), "roles", "wrong_type"),
        (order(r#","roles":["admin"],"targetRoles":["staff"]"#), "targetRoles", "bad_value"),
        (order(r#","key":7"#), "key", "wrong_type"),
        (order(r#","key":"""#), "key", "bad_value"),
        (order(r#","excludeSessionId":"""#), "excludeSessionId", "bad_value"),
        (order(&format!(r#","idempotencyKey":"{long}""#)), "idempotencyKey", "bad_value"),
    ];
    for (raw, path, code) in cases {
        assert_eq!(faults(&raw, &RULES), [(path.to_owned(), code)], "{raw}");
        // Who an event is for is checked however loose the rules are.
        if code != "missing" || path != "data" {
            assert_eq!(faults(&raw, &LOOSE), [(path.to_owned(), code)], "{raw}");
        }
    }
    good(&order(&format!(r#","userIds":[{}]"#, many(1024))), &RULES);
}

#[test]
fn bad_payloads_are_refused_with_their_path() {
    let deep =
        |n: usize| format!(r#"{{"productId":"p","changes":{{"a":{}{}}}}}"#, "[".repeat(n), "]".repeat(n));
    let order_with = |old: &str, new: &str| {
        assert!(ORDER.contains(old));
        of_type("order:created", &ORDER.replacen(old, new, 1))
    };
    let alert = |roles: &str| {
        of_type(
            "system:alert",
            &format!(r#"{{"title":"t","message":"m","severity":"error","targetRoles":{roles}}}"#),
        )
    };
    let cases = [
        (order_with(r#""total":1.50,"#, ""), "data.total", "missing"),
        (order_with("1.50", "\"1.50\""), "data.total", "wrong_type"),
        (order_with("1.50", "1e999"), "data.total", "bad_value"),
        (order_with("1.50", "null"), "data.total", "wrong_type"),
        (order_with("pending", "lost"), "data.status", "bad_value"),
        (order_with("\"pending\"", "1"), "data.status", "wrong_type"),
        (order_with("\"o1\"", "\"\""), "data.orderId", "bad_value"),
        (order_with("\"web\"", "\"web\",\"total\":2"), "data", "bad_value"),
        (order_with("\"web\"", "\"web\",\"customer\\u0049d\":\"bob\""), "data", "bad_value"),
        (of_type("product:updated", &deep(63)), "data", "bad_value"),
        (of_type("order:updated", r#"{"orderId":"o","changes":[]}"#), "data.changes", "wrong_type"),
        (
            of_type("customer:online", r#"{"customerId":"c","isOnline":1,"lastSeen":1}"#),
            "data.isOnline",
            "wrong_type",
        ),
        (
            of_type("customer:online", r#"{"customerId":"c","isOnline":true,"lastSeen":1.5}"#),
            "data.lastSeen",
            "bad_value",
        ),
        (alert("[]"), "data.targetRoles", "empty_list"),
        (alert("null"), "data.targetRoles", "wrong_type"),
        (alert("\"admin\""), "data.targetRoles", "wrong_type"),
        (alert("[\"root\"]"), "data.targetRoles", "unknown_role"),
        (
            of_type("system:maintenance", r#"{"message":"m","targetRoles":[]}"#),
            "data.targetRoles",
            "empty_list",
        ),
    ];
    for (raw, path, code) in cases {
        assert_eq!(faults(&raw, &RULES), [(path.to_owned(), code)], "{raw}");
    }
    good(&of_type("product:updated", &deep(62)), &RULES);
    let two_names = alert("[\"admin\"]").replacen("{\"type\"", "{\"roles\":[\"staff\"],\"type\"", 1);
    assert_eq!(faults(&two_names, &RULES), [("roles".to_owned(), "bad_value")]);
}

#[test]
fn loose_rules_let_shapes_through_and_nothing_else() {
    let draft = good(&of_type("order:created", r#"{"total":"much","orderId":7}"#), &LOOSE);
    assert_eq!((draft.audience.key, draft.audience.owner), (None, None));
    assert_eq!(&*good(r#"{"type":"order:created"}"#, &LOOSE).data, "{}");
    let data = |data: &str| faults(&of_type("order:created", data), &LOOSE);
    assert_eq!(data(r#"{"customerId":7}"#), [("data.customerId".to_owned(), "wrong_type")]);
    assert_eq!(data(r#"{"customerId":null}"#), [("data.customerId".to_owned(), "wrong_type")]);
    assert_eq!(data(r#"{"customerId":""}"#), [("data.customerId".to_owned(), "bad_value")]);
    assert_eq!(data(r#"{"orderId":"\n"}"#), [("data.orderId".to_owned(), "bad_value")]);
    assert_eq!(data("[]"), [("data".to_owned(), "wrong_type")]);
    assert_eq!(data(r#"{"a":1,"a":2}"#), [("data".to_owned(), "bad_value")]);
    let note = of_type("system:notification", r#"{"targetRoles":["nobody"]}"#);
    assert_eq!(faults(&note, &LOOSE), [("data.targetRoles".to_owned(), "unknown_role")]);
}

#[test]
fn all_violations_are_told_up_to_a_bound() {
    let raw = r#"{"type":"order:created","data":{"total":"1","status":"x"},"roles":[],"foo":1}"#;
    let mut all = faults(raw, &RULES);
    all.sort();
    let expected = [
        ("data.channel", "missing"),
        ("data.customerId", "missing"),
        ("data.customerName", "missing"),
        ("data.orderId", "missing"),
        ("data.status", "bad_value"),
        ("data.total", "wrong_type"),
        ("foo", "unknown_field"),
        ("roles", "empty_list"),
    ];
    assert_eq!(all, expected.map(|(path, code)| (path.to_owned(), code)));
    // The payload of an unknown type can't be judged, the envelope can.
    let unknown = r#"{"type":"x:y","data":[],"userIds":[]}"#;
    assert_eq!(faults(unknown, &RULES).len(), 3);
    let fields = (0..100).map(|i| format!("\"f{i}\":0")).collect::<Vec<_>>().join(",");
    assert_eq!(faults(&format!("{{{fields}}}"), &RULES).len(), MAX_VIOLATIONS);
    let roles = vec!["\"\\u001b[31mroot\""; 500].join(",");
    let violations = Policy::builtin().draft_posted(&order(&format!(",\"roles\":[{roles}]")), &RULES);
    let violations = violations.expect_err("unknown roles");
    assert_eq!(violations.len(), MAX_VIOLATIONS);
    assert!(violations.iter().all(|v| !v.message.contains('\u{1b}') && v.message.len() < 200));
}

#[test]
fn size_is_bounded() {
    let raw = order("");
    let exactly = Rules { max_event_bytes: raw.len(), ..RULES };
    good(&raw, &exactly);
    let less = Rules { max_event_bytes: raw.len() - 1, ..RULES };
    assert_eq!(faults(&raw, &less), [(String::new(), "too_large")]);
}

fn publish(event: &str, data: &str) -> Result<Draft, PublishError> {
    let policy = Policy::builtin();
    policy.draft_published(policy.role("customer").expect("known"), "a\"nn", event, data, &RULES)
}

#[test]
fn a_published_event_is_of_its_publisher() {
    let rest = r#""productId":"p1","productName":"P""#;
    for (data, expected) in [
        (format!("{{{rest}}}"), format!(r#"{{"customerId":"a\"nn",{rest}}}"#)),
        (
            format!(r#"{{{rest}, "customerId" : "bob" , "x": 1}}"#),
            format!(r#"{{{rest},"customerId":"a\"nn","x":1}}"#),
        ),
        (
            format!(r#"{{{rest},"customer\u0049d":{{"a":[1]}}}}"#),
            format!(r#"{{{rest},"customer\u0049d":"a\"nn"}}"#),
        ),
    ] {
        let draft = publish("customer:viewing_product", &data).unwrap_or_else(|e| panic!("{data}: {e:?}"));
        assert_eq!(*draft.data, *expected);
        assert_eq!(draft.audience.owner.as_deref(), Some("a\"nn"));
        assert_eq!(draft.audience.key.as_deref(), Some("a\"nn"));
        assert_eq!(draft.audience.roles, mask(&["admin", "manager", "staff"]));
        assert_eq!((draft.timestamp, draft.idempotency_key), (None, None));
    }
    let policy = Policy::builtin();
    let customer = policy.role("customer").expect("known");
    let draft = policy.draft_published(customer, "u", "customer:activity", " { } ", &LOOSE).expect("loose");
    assert_eq!(&*draft.data, r#"{"customerId":"u"}"#);
}

#[test]
fn a_publication_is_refused_by_cause() {
    let data = r#"{"productId":"p1","productName":"P"}"#;
    assert_eq!(publish("customer:nix", data), Err(PublishError::UnknownType));
    assert_eq!(publish("order:created", data), Err(PublishError::Forbidden));
    let policy = Policy::builtin();
    for role in policy.roles().filter(|r| policy.role_name(*r) != "customer") {
        let got = policy.draft_published(role, "u", "customer:viewing_product", data, &RULES);
        assert_eq!(got, Err(PublishError::Forbidden));
    }
    let invalid = |data: &str| match publish("customer:viewing_product", data) {
        Err(PublishError::Invalid(violation)) => (violation.path, violation.code.as_str()),
        other => panic!("{data}: {other:?}"),
    };
    assert_eq!(invalid(r#"{"productName":"P"}"#), ("data.productId".to_owned(), "missing"));
    assert_eq!(invalid("[]"), ("data".to_owned(), "wrong_type"));
    assert_eq!(invalid("{"), ("data".to_owned(), "bad_value"));
    assert_eq!(invalid(r#"{"customerId":"a","customerId":"b"}"#), ("data".to_owned(), "bad_value"));
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(262_144));
    assert_eq!(invalid(&long), ("data".to_owned(), "too_large"));
}

#[test]
fn presence_events_pass_the_nodes_own_checks() {
    let policy = Policy::builtin();
    for (online, name) in [(true, "customer:online"), (false, "customer:offline")] {
        let draft = policy.draft_presence("a\"\nn", online, 1_700_000_000_000).expect("there is presence");
        assert_eq!(policy.event_name(draft.event), name);
        let data = format!(r#"{{"customerId":"a\"\nn","isOnline":{online},"lastSeen":1700000000000}}"#);
        assert_eq!(*draft.data, *data);
        assert_eq!(draft.audience.owner.as_deref(), Some("a\"\nn"));
        let plain = policy.draft_presence("ann", online, 5).expect("there is presence");
        assert_eq!(good(&of_type(name, &plain.data), &RULES), plain);
    }
}

proptest::proptest! {
    /// Whatever the bytes, and whatever one byte of a good event turns into, nothing panics.
    #[test]
    fn survives_anything(raw in "\\PC{0,60}", at in 0usize..200, byte in "[\\[\\]{}\",:\\\\0-9ue ]") {
        let policy = Policy::builtin();
        let _ = policy.draft_posted(&raw, &RULES);
        let mut event = order(r#","roles":["staff"],"userIds":["ann"],"key":"k""#);
        let at = at % event.len();
        event.replace_range(at..=at, &byte);
        let _ = (policy.draft_posted(&event, &RULES), policy.draft_posted(&event, &LOOSE));
        let _ = publish("customer:activity", &event);
    }
}

/// What is kept of an event says the same about it as its publisher did.
#[test]
fn a_kept_event_has_the_audience_it_was_posted_with() {
    let policy = Policy::builtin();
    let rules = Rules { validate: false, max_event_bytes: 4096 };
    let mut seen = 0;
    for event in [
        r#""type":"order:created","data":{"customerId":"ann","orderId":"o"}"#,
        r#""type":"product:deleted","data":{"productId":"p"}"#,
        r#""type":"system:notification","data":{"targetRoles":["staff","admin"]}"#,
        r#""type":"system:maintenance","data":{}"#,
    ] {
        for named in [
            "",
            r#","roles":["admin","staff"]"#,
            r#","targetRoles" : [ "admin" , "staff" ]"#,
            r#","userIds":["zoe","a\"nn"],"key":"k\u00e9""#,
            r#","excludeUserIds":["zoe"],"excludeSessionId":"s1","roles":["staff","admin"]"#,
            r#","excludeSessionId":null,"key":null"#,
        ] {
            let posted = format!("{{{event}{named},\"timestamp\":1}}");
            let Ok(draft) = policy.draft_posted(&posted, &rules) else { continue };
            let payload = format!(
                r#"{{"type":"{}","namespace":"x","data":{},"timestamp":1,"id":"1"}}"#,
                policy.event_name(draft.event),
                draft.data
            );
            let restored = policy.restore(&payload, draft.addressing.as_deref());
            assert_eq!(restored, Some((draft.event, draft.audience)), "{posted}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn a_kept_event_that_is_not_understood_is_for_nobody() {
    let policy = Policy::builtin();
    let good = r#"{"type":"product:deleted","data":{"productId":"p"}}"#;
    assert!(policy.restore(good, None).is_some());
    assert!(policy.restore(good, Some(r#"{"roles":["admin"]}"#)).is_some());
    for (payload, addressing) in [
        (r#"{"type":"product:melted","data":{}}"#, None),
        (r#"{"type":"product:deleted"}"#, None),
        ("{}", None),
        ("", None),
        (good, Some(r#"{"roles":["wizard"]}"#)),
        (good, Some(r#"{"roles":[]}"#)),
        (good, Some(r#"{"roles":"#)),
        (good, Some("")),
    ] {
        assert_eq!(policy.restore(payload, addressing), None, "{payload} {addressing:?}");
    }
}
