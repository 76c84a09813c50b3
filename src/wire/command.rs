//! Commands: what a client asks of the node, read from the text of one message.
//!
//! Only the shape is checked here. Whether a namespace exists, a credential holds or a type may
//! be published is for others to say; they get the words as the client wrote them.

use crate::wire::json::{self, JsonFault, Scan};
use crate::wire::reply::ErrorCode;
use std::borrow::Cow;

/// Bytes of a request's `id` at most, as JSON text: it is echoed.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Namespaces of one command at most.
pub const NAMESPACES_MAX: usize = 32;
/// Bytes of the name of a namespace at most.
pub const NAMESPACE_BYTES_MAX: usize = 128;
/// Keys of one command at most; the operator's own limit (`WS_MAX_KEYS`) goes no higher.
pub const KEYS_MAX: usize = 16_384;
/// Bytes of a key at most. None is empty.
pub const KEY_BYTES_MAX: usize = 256;
/// Bytes of a client's word repeated in a fault at most.
const ECHO_BYTES_MAX: usize = 64;

/// A command of sound shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// The `id` to echo: JSON text of a string or number, as sent.
    pub id: Option<&'a str>,
    /// What is asked.
    pub body: Body<'a>,
}

/// What a command asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// Believe me: `data`, an object as JSON text.
    Auth(&'a str),
    /// Send me events.
    Subscribe(Subscription<'a>),
    /// Send me no more. Its `since` means nothing.
    Unsubscribe(Subscription<'a>),
    /// Are you there?
    Ping,
    /// How many customers are there?
    Presence,
    /// Tell the others.
    Publish {
        /// The type of the event.
        event: Cow<'a, str>,
        /// Its data, an object as JSON text.
        data: &'a str,
    },
}

/// The data of a `subscribe` or `unsubscribe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// At least one.
    pub namespaces: Vec<Cow<'a, str>>,
    /// Only these entities, at least one; all where none.
    pub keys: Option<Vec<Cow<'a, str>>>,
    /// Replay what came after this.
    pub since: Option<Since<'a>>,
}

/// A position that a client says it has seen. Any text, until someone looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since<'a> {
    /// The epoch of the position.
    pub epoch: Cow<'a, str>,
    /// The id of the last event seen.
    pub id: Cow<'a, str>,
}

/// Which kind of wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultCode {
    /// Not JSON.
    BadJson,
    /// JSON, but not a command.
    BadMessage,
    /// A command that is not known.
    UnknownType,
}

impl From<FaultCode> for ErrorCode {
    fn from(code: FaultCode) -> ErrorCode {
        match code {
            FaultCode::BadJson => ErrorCode::BadJson,
            FaultCode::BadMessage => ErrorCode::BadMessage,
            FaultCode::UnknownType => ErrorCode::UnknownType,
        }
    }
}

/// Why a message is not a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandFault<'a> {
    /// The `id` to echo, where it could be read.
    pub id: Option<&'a str>,
    /// Which kind of wrong.
    pub code: FaultCode,
    /// A sentence for a developer.
    pub message: String,
    /// The field that is wrong, dotted.
    pub field: Option<Cow<'static, str>>,
}

/// A fault whose `id` is not known yet.
struct Fault {
    code: FaultCode,
    message: String,
    field: Option<Cow<'static, str>>,
}

impl Fault {
    fn bad(field: &'static str, what: impl std::fmt::Display) -> Fault {
        Fault { code: FaultCode::BadMessage, message: format!("{field} {what}"), field: Some(field.into()) }
    }
}

/// Reads one text message.
///
/// # Errors
/// See [`CommandFault`].
pub fn parse(text: &str) -> Result<Command<'_>, CommandFault<'_>> {
    let scan = json::scan(text);
    let raw_id = scan.get("id");
    let id = raw_id.filter(|id| is_request_id(id));
    read(text, &scan, raw_id.is_some() && id.is_none())
        .map(|body| Command { id, body })
        .map_err(|Fault { code, message, field }| CommandFault { id, code, message, field })
}

/// A string or number, not too long. A number that is not finite is not echoed: many readers of JSON
/// would fail at the answer.
fn is_request_id(id: &str) -> bool {
    let is_short = id.len() <= REQUEST_ID_BYTES_MAX;
    is_short && (id.starts_with('"') || id.parse().is_ok_and(f64::is_finite))
}

fn read<'a>(text: &'a str, scan: &Scan<'a>, bad_id: bool) -> Result<Body<'a>, Fault> {
    if let Some(fault) = &scan.fault {
        return Err(json_fault(fault));
    }
    if !json::is_object(text.trim_start()) {
        let message = "a message is one JSON object".to_owned();
        return Err(Fault { code: FaultCode::BadMessage, message, field: None });
    }
    if bad_id {
        let what = format!("must be a string or a number of at most {REQUEST_ID_BYTES_MAX} bytes");
        return Err(Fault::bad("id", what));
    }
    let kind = text_of(scan, "type", "type")?;
    match &*kind {
        "auth" => object_of(scan, "data", "data").map(Body::Auth),
        "subscribe" => read_subscribe(&data_of(scan)?).map(Body::Subscribe),
        "unsubscribe" => read_subscribe(&data_of(scan)?).map(Body::Unsubscribe),
        "ping" => Ok(Body::Ping),
        "presence" => Ok(Body::Presence),
        "publish" => {
            let data = data_of(scan)?;
            let event = text_of(&data, "type", "data.type")?;
            Ok(Body::Publish { event, data: object_of(&data, "data", "data.data")? })
        }
        other => Err(Fault {
            code: FaultCode::UnknownType,
            message: format!("there is no command {:?}", start_of(other)),
            field: Some("type".into()),
        }),
    }
}

fn json_fault(fault: &JsonFault<'_>) -> Fault {
    let (message, field) = match fault {
        JsonFault::Syntax(at) => {
            let message = format!("not JSON, as seen at byte {at}");
            return Fault { code: FaultCode::BadJson, message, field: None };
        }
        JsonFault::TooDeep => (format!("nested deeper than {}", json::DEPTH_MAX), None),
        JsonFault::TooManyKeys => (format!("an object has more than {} keys", json::OBJECT_KEYS_MAX), None),
        JsonFault::DuplicateKey(key) => {
            let key = start_of(key);
            (format!("the key {key:?} is there twice"), Some(Cow::Owned(key.to_owned())))
        }
        JsonFault::ProtoKey => ("__proto__ is not allowed as a key".to_owned(), Some("__proto__".into())),
        JsonFault::Nul => ("a text contains NUL".to_owned(), None),
        JsonFault::NumberRange => ("a number is too large".to_owned(), None),
    };
    Fault { code: FaultCode::BadMessage, message, field }
}

/// The start of a client's word, at most [`ECHO_BYTES_MAX`] of it.
fn start_of(word: &str) -> &str {
    let end = (0..=word.len().min(ECHO_BYTES_MAX)).rev().find(|end| word.is_char_boundary(*end));
    &word[..end.unwrap_or(0)]
}

fn data_of<'a>(scan: &Scan<'a>) -> Result<Scan<'a>, Fault> {
    object_of(scan, "data", "data").map(json::scan)
}

fn object_of<'a>(scan: &Scan<'a>, key: &str, field: &'static str) -> Result<&'a str, Fault> {
    match scan.get(key) {
        None => Err(Fault::bad(field, "is missing")),
        Some(value) if json::is_object(value) => Ok(value),
        Some(_) => Err(Fault::bad(field, "must be an object")),
    }
}

fn text_of<'a>(scan: &Scan<'a>, key: &str, field: &'static str) -> Result<Cow<'a, str>, Fault> {
    let value = scan.get(key).ok_or_else(|| Fault::bad(field, "is missing"))?;
    json::text(value).ok_or_else(|| Fault::bad(field, "must be a text"))
}

fn read_subscribe<'a>(data: &Scan<'a>) -> Result<Subscription<'a>, Fault> {
    let namespaces = read_namespaces(data)?;
    let keys = data.get("keys").map(|list| texts(list, "data.keys", KEYS_MAX, KEY_BYTES_MAX)).transpose()?;
    let since = match data.get("since") {
        None => None,
        Some(since) if json::is_object(since) => {
            let since = json::scan(since);
            let epoch = text_of(&since, "epoch", "data.since.epoch")?;
            Some(Since { epoch, id: text_of(&since, "id", "data.since.id")? })
        }
        Some(_) => return Err(Fault::bad("data.since", "must be an object of epoch and id")),
    };
    Ok(Subscription { namespaces, keys, since })
}

fn read_namespaces<'a>(data: &Scan<'a>) -> Result<Vec<Cow<'a, str>>, Fault> {
    match (data.get("namespace"), data.get("namespaces")) {
        (None, None) => Err(Fault::bad("data.namespace", "or data.namespaces is missing")),
        (Some(_), Some(_)) => Err(Fault::bad("data.namespace", "and data.namespaces exclude each other")),
        (Some(one), None) => bounded_text(one, NAMESPACE_BYTES_MAX).map(|name| vec![name]).ok_or_else(|| {
            Fault::bad("data.namespace", format!("must be a text of 1 to {NAMESPACE_BYTES_MAX} bytes"))
        }),
        (None, Some(list)) => texts(list, "data.namespaces", NAMESPACES_MAX, NAMESPACE_BYTES_MAX),
    }
}

/// A list of 1 to `items_max` texts of 1 to `bytes_max` bytes.
fn texts<'a>(
    list: &'a str,
    field: &'static str,
    items_max: usize,
    bytes_max: usize,
) -> Result<Vec<Cow<'a, str>>, Fault> {
    let fault = || {
        Fault::bad(field, format!("must be a list of 1 to {items_max} texts of 1 to {bytes_max} bytes each"))
    };
    let items: Vec<&'a serde_json::value::RawValue> = serde_json::from_str(list).map_err(|_| fault())?;
    if items.is_empty() || items.len() > items_max {
        return Err(fault());
    }
    items.into_iter().map(|item| bounded_text(item.get(), bytes_max).ok_or_else(fault)).collect()
}

fn bounded_text(value: &str, bytes_max: usize) -> Option<Cow<'_, str>> {
    json::text(value).filter(|text| (1..=bytes_max).contains(&text.len()))
}

#[cfg(test)]
mod tests;
