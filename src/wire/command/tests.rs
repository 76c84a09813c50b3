use super::*;
use proptest::prelude::*;

fn body(text: &str) -> Body<'_> {
    parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}")).body
}

#[test]
fn reads_commands() {
    let auth = r#"{"type":"auth","data": {"token":"a.b"} }"#;
    assert_eq!(body(auth), Body::Auth(r#"{"token":"a.b"}"#));
    let plain = Subscription { namespaces: vec!["orders".into()], keys: None, since: None };
    let one = r#"{"type":"subscribe","data":{"namespace":"orders","more":[null]}}"#;
    assert_eq!(body(one), Body::Subscribe(plain.clone()));
    let all = r#"{"data":{"namespaces":["orders","a\"b"],"keys":["k\u00e9"],
        "since":{"epoch":"e","id":"","x":0}},"type":"sub\u0073cribe"}"#;
    let since = Some(Since { epoch: "e".into(), id: "".into() });
    let namespaces = vec!["orders".into(), "a\"b".into()];
    assert_eq!(body(all), Body::Subscribe(Subscription { namespaces, keys: Some(vec!["ké".into()]), since }));
    let end = r#"{"type":"unsubscribe","data":{"namespaces":["orders"]}}"#;
    assert_eq!(body(end), Body::Unsubscribe(plain));
    assert_eq!(body(r#"{"type":"ping","data":7,"x":1}"#), Body::Ping);
    assert_eq!(body(r#"{"type":"presence"}"#), Body::Presence);
    let publish = r#"{"type":"publish","data":{"type":"a:b","data":{"n":123456789012345678901}}}"#;
    assert_eq!(body(publish), Body::Publish { event: "a:b".into(), data: r#"{"n":123456789012345678901}"# });
}

#[test]
fn echoes_the_id_as_sent() {
    let long = format!("\"{}\"", "x".repeat(REQUEST_ID_BYTES_MAX));
    for (id, expected) in [
        ("7", Some("7")),
        (" -1.50e3 ", Some("-1.50e3")),
        (r#""a\u0062""#, Some(r#""a\u0062""#)),
        ("12345678901234567890123", Some("12345678901234567890123")),
        ("null", None),
        ("true", None),
        ("[1]", None),
        ("{}", None),
        (&long, None),
    ] {
        let text = format!(r#"{{"id":{id},"type":"ping"}}"#);
        match parse(&text) {
            Ok(command) => assert_eq!(command.id, expected),
            Err(fault) => {
                assert_eq!((expected, fault.id), (None, None));
                assert_eq!((fault.code, fault.field.as_deref()), (FaultCode::BadMessage, Some("id")));
            }
        }
    }
    for text in [
        r#"{"id":7,"type":"x"}"#,
        r#"{"id":7,"type":"subscribe"}"#,
        r#"{"id":7,"__proto__":1}"#,
        r#"{"x":{"a":1,"a":1},"id":7}"#,
        r#"{"id":7,"#,
    ] {
        assert_eq!(parse(text).unwrap_err().id, Some("7"), "{text}");
    }
    // An answer that says it again would be as unreadable.
    assert_eq!(parse(r#"{"id":1e999,"type":"ping"}"#).unwrap_err().id, None);
}

#[test]
fn names_what_is_wrong() {
    use FaultCode::{BadJson, BadMessage, UnknownType};
    let subscribe = |data: &str| format!(r#"{{"type":"subscribe","data":{data}}}"#);
    let listed = |field: &str, item: &str, n: usize| {
        let namespace = if field == "keys" { r#""namespace":"a","# } else { "" };
        subscribe(&format!(r#"{{{namespace}"{field}":[{}]}}"#, vec![item; n].join(",")))
    };
    let text = |n: usize| format!("{:?}", "x".repeat(n));
    let deep = format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(16), "]".repeat(16));
    for (text, code, field) in [
        (String::new(), BadJson, None),
        (" ".into(), BadJson, None),
        ("{".into(), BadJson, None),
        ("{'type':'ping'}".into(), BadJson, None),
        ("{\"type\":\"ping\"}\0".into(), BadJson, None),
        ("[]".into(), BadMessage, None),
        ("\"ping\"".into(), BadMessage, None),
        ("1e999".into(), BadMessage, None),
        ("null".into(), BadMessage, None),
        (deep, BadMessage, None),
        (r#"{"type":"ping","x":"\u0000"}"#.into(), BadMessage, None),
        (r#"{"type":"ping","type":"ping"}"#.into(), BadMessage, Some("type")),
        (r#"{"type":"ping","x":[{"y":1,"y":1}]}"#.into(), BadMessage, Some("y")),
        (r#"{"type":"ping","__proto__":{}}"#.into(), BadMessage, Some("__proto__")),
        ("{}".into(), BadMessage, Some("type")),
        (r#"{"type":1}"#.into(), BadMessage, Some("type")),
        (r#"{"type":"PING"}"#.into(), UnknownType, Some("type")),
        (r#"{"type":""}"#.into(), UnknownType, Some("type")),
        (r#"{"type":"auth"}"#.into(), BadMessage, Some("data")),
        (r#"{"type":"auth","data":null}"#.into(), BadMessage, Some("data")),
        (r#"{"type":"auth","data":"t"}"#.into(), BadMessage, Some("data")),
        (r#"{"type":"unsubscribe"}"#.into(), BadMessage, Some("data")),
        (r#"{"type":"publish"}"#.into(), BadMessage, Some("data")),
        (r#"{"type":"publish","data":{"data":{}}}"#.into(), BadMessage, Some("data.type")),
        (r#"{"type":"publish","data":{"type":"a"}}"#.into(), BadMessage, Some("data.data")),
        (r#"{"type":"publish","data":{"type":"a","data":[]}}"#.into(), BadMessage, Some("data.data")),
        (subscribe("[]"), BadMessage, Some("data")),
        (subscribe("{}"), BadMessage, Some("data.namespace")),
        (subscribe(r#"{"namespace":1}"#), BadMessage, Some("data.namespace")),
        (subscribe(r#"{"namespace":""}"#), BadMessage, Some("data.namespace")),
        (subscribe(r#"{"namespace":"a","namespaces":["b"]}"#), BadMessage, Some("data.namespace")),
        (subscribe(r#"{"namespaces":"a"}"#), BadMessage, Some("data.namespaces")),
        (listed("namespaces", "\"a\"", 0), BadMessage, Some("data.namespaces")),
        (listed("namespaces", "\"a\"", NAMESPACES_MAX + 1), BadMessage, Some("data.namespaces")),
        (listed("namespaces", "1", 1), BadMessage, Some("data.namespaces")),
        (listed("namespaces", &text(NAMESPACE_BYTES_MAX + 1), 1), BadMessage, Some("data.namespaces")),
        (listed("keys", "\"a\"", 0), BadMessage, Some("data.keys")),
        (listed("keys", "\"a\"", KEYS_MAX + 1), BadMessage, Some("data.keys")),
        (listed("keys", "[\"a\"]", 1), BadMessage, Some("data.keys")),
        (listed("keys", "\"\"", 1), BadMessage, Some("data.keys")),
        (listed("keys", &text(KEY_BYTES_MAX + 1), 1), BadMessage, Some("data.keys")),
        (subscribe(r#"{"namespace":"a","keys":null}"#), BadMessage, Some("data.keys")),
        (subscribe(r#"{"namespace":"a","since":"7"}"#), BadMessage, Some("data.since")),
        (subscribe(r#"{"namespace":"a","since":null}"#), BadMessage, Some("data.since")),
        (subscribe(r#"{"namespace":"a","since":{"id":"7"}}"#), BadMessage, Some("data.since.epoch")),
        (subscribe(r#"{"namespace":"a","since":{"epoch":"e","id":7}}"#), BadMessage, Some("data.since.id")),
    ] {
        let fault = parse(&text).unwrap_err();
        assert_eq!((fault.code, fault.field.as_deref()), (code, field), "{text}");
        assert!(fault.message.len() < 300 && !fault.message.is_empty());
    }
    for text in [
        listed("namespaces", "\"a\"", NAMESPACES_MAX),
        listed("keys", "\"a\"", KEYS_MAX),
        listed("keys", &text(KEY_BYTES_MAX), 1),
    ] {
        assert!(parse(&text).is_ok());
    }
    let long = format!(r#"{{"type":"{}"}}"#, "é".repeat(10_000));
    assert!(parse(&long).unwrap_err().message.len() < 200);
}

proptest! {
    #[test]
    fn any_text_is_an_answer(text in "\\PC{0,40}|[]\\[{}\",:a-z0-9]{0,40}") {
        let _ = parse(&text);
    }
}
