//! JSON read by reference: the members of one object or the elements of one list, each left as text.
//!
//! Values are never decoded on the way, so a number keeps every digit and a string its bytes.
//! Work is linear in the text and the stack does not grow with its nesting.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Up to this many members, comparing each with each is cheaper than hashing them.
const PAIRWISE_MEMBERS: usize = 24;

/// Longest id, key or user: bounds what indexes and logs hold.
pub(super) const MAX_ID_BYTES: usize = 256;

/// The largest time a JavaScript `Date` can hold, in ms since the epoch.
pub(super) const MAX_MS: f64 = 8.64e15;

/// Why a text did not give members or elements.
#[derive(Debug)]
pub(super) enum Fault {
    /// Not JSON.
    Syntax(serde_json::Error),
    /// JSON, but not an object or list as was asked for.
    Kind,
}

/// The members of an object in their order: decoded name and the text of the value.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Reads the text of one object.
    pub fn read(raw: &'a str) -> Result<Self, Fault> {
        read(raw, b'{')
    }

    /// The value of `name`; the first one, should there be two.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// A name that occurs twice.
    pub fn duplicate(&self) -> Option<&str> {
        if self.0.len() <= PAIRWISE_MEMBERS {
            let again =
                self.0.iter().enumerate().find(|(i, (n, _))| self.0[..*i].iter().any(|(m, _)| m == n));
            return again.map(|(_, (n, _))| n.as_ref());
        }
        let mut seen = HashSet::with_capacity(self.0.len());
        self.0.iter().map(|(n, _)| n.as_ref()).find(|n| !seen.insert(*n))
    }
}

/// The elements of a list, each as text.
pub(super) fn elements(raw: &str) -> Result<Vec<&str>, Fault> {
    read::<Elements<'_>>(raw, b'[').map(|e| e.0)
}

fn read<'a, T: Deserialize<'a>>(raw: &'a str, open: u8) -> Result<T, Fault> {
    let first = raw.bytes().find(|b| !is_space(*b));
    if first == Some(open) {
        return serde_json::from_str(raw).map_err(Fault::Syntax);
    }
    match serde_json::from_str::<IgnoredAny>(raw) {
        Ok(_) => Err(Fault::Kind),
        Err(error) => Err(Fault::Syntax(error)),
    }
}

struct Elements<'a>(Vec<&'a str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::with_capacity(12);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    list.push((name, value.get()));
                }
                Ok(Members(list))
            }
        }
        deserializer.deserialize_map(V)
    }
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Elements<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = seq.next_element::<&'de RawValue>()? {
                    list.push(value.get());
                }
                Ok(Elements(list))
            }
        }
        deserializer.deserialize_seq(V)
    }
}

/// A member's name, borrowed unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(V)
    }
}

/// Why a value is not a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TextFault {
    /// Another kind of value.
    Kind,
    /// A string whose escapes stand for no text (half a surrogate pair).
    Escape,
}

/// The text of a value as [`Members`] or [`elements`] gave it out.
pub(super) fn text(raw: &str) -> Result<Cow<'_, str>, TextFault> {
    let inner = raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')).ok_or(TextFault::Kind)?;
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).map(Cow::Owned).map_err(|_| TextFault::Escape)
}

/// The number of a value; `None` where it is another kind or not finite.
pub(super) fn number(raw: &str) -> Option<f64> {
    if !is_number(raw) {
        return None;
    }
    raw.parse::<f64>().ok().filter(|n| n.is_finite())
}

/// Whether the value is a number, be it finite or not.
pub(super) fn is_number(raw: &str) -> bool {
    raw.bytes().next().is_some_and(|b| b == b'-' || b.is_ascii_digit())
}

/// Whole ms since the epoch; `None` where the value is none.
pub(super) fn whole_ms(raw: &str) -> Option<u64> {
    let ms = number(raw).filter(|n| n.fract() == 0.0 && (0.0..=MAX_MS).contains(n))?;
    // Exact: every whole number up to 8.64e15 is below 2^53.
    Some(ms as u64)
}

/// What is wrong with an id (a user, a session, a key), in words.
pub(super) fn id_fault(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        Some("must not be empty")
    } else if id.len() > MAX_ID_BYTES {
        Some("must be at most 256 bytes")
    } else if id.chars().any(char::is_control) {
        Some("must not hold control characters")
    } else {
        None
    }
}

/// Text of a peer as it may stand in a message: escaped and cut, so that it can neither
/// forge a log line nor fill it.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_CHARS: usize = 48;
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// Appends valid JSON without the whitespace outside its strings, so on one line.
/// Returns how deep it nests: 0 for a number, 1 for `[]`.
pub(super) fn compact_into(raw: &str, out: &mut String) -> usize {
    out.reserve(raw.len());
    let bytes = raw.as_bytes();
    let (mut at, mut from, mut depth, mut deepest) = (0, 0, 0usize, 0usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ if is_space(byte) => {
                out.push_str(&raw[from..at]);
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    out.push_str(&raw[from..]);
    deepest
}

/// The index of the quote that ends the string whose first quote is at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn members_keep_order_and_text() {
        let members = Members::read(r#" { "a" : 1e999, "b\u0063":"x\ny" , "a":[ 1 ] } "#).expect("an object");
        assert_eq!(members.0, [("a".into(), "1e999"), ("bc".into(), "\"x\\ny\""), ("a".into(), "[ 1 ]")]);
        assert_eq!(members.duplicate(), Some("a"));
        assert_eq!(members.get("bc"), Some("\"x\\ny\""));
        assert!(matches!(Members::read("[]"), Err(Fault::Kind)));
        for bad in ["", "{", "{}x", "nul", r#"{"a":}"#, r#"{"a":01}"#, r#"{"\ud800":1}"#] {
            assert!(matches!(Members::read(bad), Err(Fault::Syntax(_))), "{bad}");
        }
        assert_eq!(elements("[1, \"a\" ,{}]").expect("a list"), ["1", "\"a\"", "{}"]);
        assert!(matches!(elements("{}"), Err(Fault::Kind)));
    }

    #[test]
    fn duplicates_are_found_among_many() {
        let mut names: Vec<String> = (0..1000).map(|i| format!("\"k{i}\":0")).collect();
        let object = |names: &[String]| format!("{{{}}}", names.join(","));
        assert_eq!(Members::read(&object(&names)).expect("object").duplicate(), None);
        names.push("\"k\\u0037\":1".to_owned());
        assert_eq!(Members::read(&object(&names)).expect("object").duplicate(), Some("k7"));
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let members = Members::read(&deep).expect("an object");
        let mut out = String::new();
        assert_eq!(compact_into(members.0[0].1, &mut out), 100_000);
    }

    #[test]
    fn scalars() {
        assert_eq!(text(r#""a\u00e9""#).as_deref(), Ok("aé"));
        assert_eq!(text(r#""\ud800""#), Err(TextFault::Escape));
        assert_eq!(text("1"), Err(TextFault::Kind));
        assert_eq!(number("-1.5e3"), Some(-1500.0));
        assert_eq!(number("1e999"), None);
        assert_eq!(number("true"), None);
        assert_eq!(whole_ms("1700000000000"), Some(1_700_000_000_000));
        assert_eq!(whole_ms("17e11"), Some(1_700_000_000_000));
        for bad in ["1.5", "-1", "8640000000000001", "\"1\"", "null"] {
            assert_eq!(whole_ms(bad), None, "{bad}");
        }
        assert_eq!(quoted("a\n\u{1b}[0m"), r#""a\n\u{1b}[0m""#);
        assert!(quoted(&"x".repeat(1_000_000)).len() < 64);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ \"\\\\\n\ta{}\\[\\]é]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[ \"\\\\a-c]{0,4}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn naive_depth(value: &Value) -> usize {
        match value {
            Value::Array(list) => 1 + list.iter().map(naive_depth).max().unwrap_or(0),
            Value::Object(map) => 1 + map.values().map(naive_depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        /// Compacting what a pretty printer wrote gives what a compact printer writes.
        #[test]
        fn compact_is_the_compact_form(value in value()) {
            let mut out = String::new();
            let depth = compact_into(&serde_json::to_string_pretty(&value).expect("json"), &mut out);
            prop_assert_eq!(&out, &value.to_string());
            prop_assert_eq!(depth, naive_depth(&value));
            prop_assert!(!out.contains('\n'));
        }

        /// Whatever the bytes, nothing panics.
        #[test]
        fn survives_anything(raw in "\\PC{0,40}", jsonish in "[\\[\\]{}\",:\\\\ 0-9a-z]{0,40}") {
            for raw in [raw, jsonish] {
                let _ = (Members::read(&raw), elements(&raw), text(&raw), number(&raw), whole_ms(&raw));
                compact_into(&raw, &mut String::new());
            }
        }
    }
}
