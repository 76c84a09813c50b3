use super::*;
use proptest::prelude::*;

#[test]
fn finds_the_fault() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let keys =
        |n: usize| format!("{{{}}}", (0..n).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(","));
    let duplicate = |key: &'static str| Some(JsonFault::DuplicateKey(key.into()));
    for (text, fault) in [
        (deep(DEPTH_MAX), None),
        (deep(DEPTH_MAX + 1), Some(JsonFault::TooDeep)),
        ("[".repeat(100_000), Some(JsonFault::TooDeep)),
        ("{\"a\":".repeat(17), Some(JsonFault::TooDeep)),
        (keys(OBJECT_KEYS_MAX), None),
        (keys(OBJECT_KEYS_MAX + 1), Some(JsonFault::TooManyKeys)),
        (r#"{"a":1,"a":2}"#.into(), duplicate("a")),
        (r#"{"a":1,"\u0061":2}"#.into(), duplicate("a")),
        (r#"[{"x":{"a":{"a":1},"b":2,"b":3}}]"#.into(), duplicate("b")),
        (r#"[{"a":1},{"a":1}]"#.into(), None),
        (r#"{"a":{"__proto__":1}}"#.into(), Some(JsonFault::ProtoKey)),
        (r#"{"__\u0070roto__":1}"#.into(), Some(JsonFault::ProtoKey)),
        (r#"{"a":"__proto__"}"#.into(), None),
        (r#"["a\u0000"]"#.into(), Some(JsonFault::Nul)),
        ("[1e999]".into(), Some(JsonFault::NumberRange)),
        ("[-1E+400]".into(), Some(JsonFault::NumberRange)),
        ("9".repeat(400), Some(JsonFault::NumberRange)),
        ("9".repeat(300), None),
        ("1e-999".into(), None),
        (r#"{"a":1,"a":2"#.into(), Some(JsonFault::Syntax(12))),
        ("".into(), Some(JsonFault::Syntax(0))),
        (" ".into(), Some(JsonFault::Syntax(1))),
        ("01".into(), Some(JsonFault::Syntax(1))),
        ("[1,]".into(), Some(JsonFault::Syntax(3))),
        ("{}{}".into(), Some(JsonFault::Syntax(2))),
        ("\u{feff}{}".into(), Some(JsonFault::Syntax(0))),
        ("\"a\0\"".into(), Some(JsonFault::Syntax(2))),
        (r#""\ud800""#.into(), Some(JsonFault::Syntax(7))),
        (r#""\udc00""#.into(), Some(JsonFault::Syntax(7))),
        (r#""\ud83d\ude00""#.into(), None),
    ] {
        assert_eq!(scan(&text).fault, fault, "{}", text.get(..60).unwrap_or(&text));
    }
}

#[test]
fn lists_the_outermost_members() {
    let scanned = scan(" { \"a\" : [ {\"x\":1} ] , \"\\u0062\":\"c\\n\",\"d\":{ } }");
    let got: Vec<(&str, &str)> = scanned.members.iter().map(|m| (&*m.key, m.value)).collect();
    assert_eq!(got, [("a", "[ {\"x\":1} ]"), ("b", "\"c\\n\""), ("d", "{ }")]);
    assert_eq!(text(got[1].1).as_deref(), Some("c\n"));
    assert_eq!(scanned.get("d"), Some("{ }"));
    assert_eq!(text("1"), None);
    // What stood before a fault, or after one the scan can go on after, is there.
    assert_eq!(scan(r#"{"x":{"a":1,"a":2},"id":7}"#).get("id"), Some("7"));
    assert_eq!(scan(r#"{"id":7,"x":tru}"#).get("id"), Some("7"));
    assert_eq!(scan(r#"[{"id":7}]"#).members, []);
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(items) => 1 + items.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn agrees(text: &str) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    match (scan(text).fault, theirs) {
        (None, theirs) => {
            prop_assert!(theirs.is_ok(), "only we take {text:?}");
            prop_assert!(depth(&theirs.unwrap()) <= DEPTH_MAX);
        }
        (Some(JsonFault::Syntax(at)), theirs) => {
            prop_assert!(theirs.is_err(), "only we refuse {text:?} at {at}")
        }
        (Some(_), _) => {}
    }
    Ok(())
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,8}|[\u{1}-\u{20}\"\\\\]{0,4}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 30, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map("[a-c\"]{0,3}", inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn takes_all_sound_json(value in value(), pretty: bool) {
        let text =
            if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let scanned = scan(&text);
        prop_assert_eq!(scanned.fault, None);
        if let serde_json::Value::Object(map) = value {
            prop_assert_eq!(scanned.members.len(), map.len());
            for member in scanned.members {
                let ours: serde_json::Value = serde_json::from_str(member.value).unwrap();
                prop_assert_eq!(&ours, &serde_json::from_str::<serde_json::Value>(&map[&*member.key].to_string()).unwrap());
                prop_assert_eq!(member.value.trim(), member.value);
            }
        }
    }

    #[test]
    fn agrees_on_broken_json(
        value in value(), at: proptest::sample::Index, with in "[]\\[{}\",:\\\\u0-9eE+. \\-tfn]{0,3}", cut in 0usize..3,
    ) {
        let mut chars: Vec<char> = value.to_string().chars().collect();
        let at = at.index(chars.len() + 1);
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, with.chars());
        agrees(&chars.into_iter().collect::<String>())?;
    }

    #[test]
    fn agrees_on_noise(text in "[]\\[{}\",:\\\\u0-9a-feE+. \\-]{0,12}|\\PC{0,8}|(true|null|\"|\\\\u|d8|dc|00|[0-9]){0,10}") {
        agrees(&text)?;
    }
}
