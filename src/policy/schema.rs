//! The shapes of event payloads: what a field may hold. Documentation of each event type is
//! made from these same values, so it can't differ from what is checked.

use crate::policy::draft::ViolationCode;
use crate::policy::json;

/// One named field of an event's `data`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name, as in the payload.
    pub name: Box<str>,
    /// What it holds.
    pub kind: Kind,
    /// Whether an event without it is refused.
    pub required: bool,
}

/// What a field holds. `null` is none of these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A text that names something: at most 256 bytes, no control characters, and not empty where the
    /// field is required.
    Id,
    /// Any text.
    Text,
    /// A finite number. Digits pass unchanged, however many.
    Number,
    /// `true` or `false`.
    Boolean,
    /// An object of any shape.
    Object,
    /// Whole ms since the epoch, at most what a JavaScript `Date` holds (8.64e15).
    Millis,
    /// A list of role names, which is part of the event's address.
    Roles,
    /// One of these texts.
    OneOf(Box<[Box<str>]>),
}

impl Kind {
    /// The kind's name in a policy file; `None` for a list of texts, which is written out.
    #[must_use]
    pub fn word(&self) -> Option<&'static str> {
        WORDS.iter().find(|(_, kind)| kind == self).map(|(word, _)| *word)
    }

    /// The kind of this name in a policy file.
    #[must_use]
    pub fn named(word: &str) -> Option<Kind> {
        WORDS.iter().find(|(w, _)| *w == word).map(|(_, kind)| kind.clone())
    }

    /// Checks the text of a value of valid JSON. [`Kind::Roles`] is checked where addresses
    /// are read, since that needs the policy.
    pub(super) fn check(&self, raw: &str, required: bool) -> Result<(), (ViolationCode, String)> {
        use ViolationCode::{BadValue, WrongType};
        let first = raw.as_bytes().first().copied().unwrap_or(b' ');
        let wrong = |what: &str| Err((WrongType, format!("must be {what}")));
        let bad = |what: String| Err((BadValue, what));
        match self {
            Kind::Id => match json::text(raw) {
                Err(json::TextFault::Kind) => wrong("a text"),
                Err(json::TextFault::Escape) => bad("must be valid Unicode".to_owned()),
                Ok(id) if id.is_empty() && !required => Ok(()),
                Ok(id) => json::id_fault(&id).map_or(Ok(()), |fault| bad(fault.to_owned())),
            },
            Kind::Text if first != b'"' => wrong("a text"),
            Kind::Number if !json::is_number(raw) => wrong("a number"),
            Kind::Number if json::number(raw).is_none() => bad("must be finite".to_owned()),
            Kind::Boolean if first != b't' && first != b'f' => wrong("true or false"),
            Kind::Object if first != b'{' => wrong("an object"),
            Kind::Millis if !json::is_number(raw) => wrong("a number, in ms since the epoch"),
            Kind::Millis if json::whole_ms(raw).is_none() => {
                bad("must be whole ms since the epoch, from 0 to 8640000000000000".to_owned())
            }
            Kind::OneOf(words) => match json::text(raw) {
                Err(json::TextFault::Kind) => wrong("a text"),
                Ok(text) if words.iter().any(|w| **w == *text) => Ok(()),
                _ => bad(format!("must be one of {}", words.join(", "))),
            },
            Kind::Text | Kind::Number | Kind::Boolean | Kind::Object | Kind::Millis | Kind::Roles => Ok(()),
        }
    }
}

const WORDS: [(&str, Kind); 7] = [
    ("id", Kind::Id),
    ("text", Kind::Text),
    ("number", Kind::Number),
    ("boolean", Kind::Boolean),
    ("object", Kind::Object),
    ("ms", Kind::Millis),
    ("roles", Kind::Roles),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_admit_what_they_say() {
        use ViolationCode::{BadValue, WrongType};
        let one_of = || Kind::OneOf(["sale".into(), "return".into()].into());
        let long = format!("\"{}\"", "x".repeat(257));
        let digits = "9".repeat(300);
        let cases: [(Kind, &str, Option<ViolationCode>); 27] = [
            (Kind::Id, "\"o1\"", None),
            (Kind::Id, "\"\"", Some(BadValue)),
            (Kind::Id, "\"a\\nb\"", Some(BadValue)),
            (Kind::Id, "\"\\udc00\"", Some(BadValue)),
            (Kind::Id, &long, Some(BadValue)),
            (Kind::Id, "7", Some(WrongType)),
            (Kind::Text, "\"\"", None),
            (Kind::Text, "null", Some(WrongType)),
            (Kind::Number, "0", None),
            (Kind::Number, "-1.5e-3", None),
            (Kind::Number, &digits, None),
            (Kind::Number, "1e999", Some(BadValue)),
            (Kind::Number, "\"1\"", Some(WrongType)),
            (Kind::Boolean, "true", None),
            (Kind::Boolean, "0", Some(WrongType)),
            (Kind::Object, "{}", None),
            (Kind::Object, "[]", Some(WrongType)),
            (Kind::Millis, "1700000000000", None),
            (Kind::Millis, "1700000000000.5", Some(BadValue)),
            (Kind::Millis, "-1", Some(BadValue)),
            (Kind::Millis, "9e15", Some(BadValue)),
            (Kind::Millis, "\"2024\"", Some(WrongType)),
            (one_of(), "\"sale\"", None),
            (one_of(), "\"s\\u0061le\"", None),
            (one_of(), "\"Sale\"", Some(BadValue)),
            (one_of(), "1", Some(WrongType)),
            (one_of(), "null", Some(WrongType)),
        ];
        for (kind, raw, expected) in cases {
            let got = kind.check(raw, true).err().map(|(code, _)| code);
            assert_eq!(got, expected, "{kind:?} {raw}");
        }
        assert!(Kind::Id.check("\"\"", false).is_ok());
    }

    #[test]
    fn words_are_two_way() {
        for (word, kind) in WORDS {
            assert_eq!(Kind::named(word).as_ref(), Some(&kind));
            assert_eq!(kind.word(), Some(word));
        }
        assert_eq!(Kind::OneOf(Box::default()).word(), None);
    }
}
