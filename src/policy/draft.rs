//! An event that was checked and has its audience, but no position yet.
//!
//! Three ways lead here: a backend posts, a connection publishes, the node tells presence. All
//! use the same reader. Values are copied as text, never through a number type, so what goes
//! out is what came in. A posted event that is not right is refused with everything that
//! is wrong with it; nothing of it is repaired.
//!
//! What the wire contract leaves open, decided here: `null` for a list (`roles`, `targetRoles`, `userIds`,
//! `excludeUserIds`) is refused, since a slip must not become a broadcast; `null` for another optional
//! field of the envelope counts as absent; `null` in `data` is a value of a wrong type. A name that
//! occurs twice in the envelope or at the top of `data` is refused, since two readers could see two owners.

use crate::policy::audience::Audience;
use crate::policy::compiled::{Address, Policy};
use crate::policy::json::{self, Fault, Members};
use crate::policy::names::{EventType, Role};
use crate::policy::payload::{self, Payload};

/// Violations told of one event. The rest is left out: who made sixteen mistakes can ask again.
pub const MAX_VIOLATIONS: usize = 16;

/// The fields of a posted event.
const ENVELOPE: [&str; 11] = [
    "type",
    "data",
    "namespace",
    "timestamp",
    "roles",
    "targetRoles",
    "userIds",
    "excludeUserIds",
    "excludeSessionId",
    "key",
    "idempotencyKey",
];

/// A checked event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// Its type.
    pub event: EventType,
    /// To whom it goes.
    pub audience: Audience,
    /// Its payload: a JSON object on one line, without whitespace outside strings.
    pub data: Box<str>,
    /// When it happened, in ms since the epoch, if its publisher says.
    pub timestamp: Option<u64>,
    /// The same key within the window is the same event.
    pub idempotency_key: Option<Box<str>>,
    /// Whom its publisher named beside the payload: a JSON object of the envelope's fields that say
    /// so, as posted; none where there was none. See [`Policy::restore`].
    pub addressing: Option<Box<str>>,
}

/// What kind of wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ViolationCode {
    /// Required and not there.
    Missing,
    /// Another kind of value.
    WrongType,
    /// The right kind, and a value that is not allowed.
    BadValue,
    /// No such event type.
    UnknownType,
    /// No such role.
    UnknownRole,
    /// No such field of an event.
    UnknownField,
    /// Not the namespace of this type.
    NamespaceMismatch,
    /// A list of nobody.
    EmptyList,
    /// Over a bound.
    TooLarge,
}

impl ViolationCode {
    /// The word of the wire contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ViolationCode::Missing => "missing",
            ViolationCode::WrongType => "wrong_type",
            ViolationCode::BadValue => "bad_value",
            ViolationCode::UnknownType => "unknown_type",
            ViolationCode::UnknownRole => "unknown_role",
            ViolationCode::UnknownField => "unknown_field",
            ViolationCode::NamespaceMismatch => "namespace_mismatch",
            ViolationCode::EmptyList => "empty_list",
            ViolationCode::TooLarge => "too_large",
        }
    }
}

/// One thing that is wrong with an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Where, dotted: `data.total`; a list as a whole: `userIds`; empty for the event itself.
    pub path: String,
    /// What kind of wrong.
    pub code: ViolationCode,
    /// In words, for people.
    pub message: String,
}

/// How strictly events are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Whether `data` must have its type's shape (`WS_VALIDATE`). What tells for whom an event is
    /// gets checked either way.
    pub validate: bool,
    /// The longest text of one event, in bytes (`WS_MAX_EVENT_SIZE`).
    pub max_event_bytes: usize,
}

/// Why a connection's event was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublishError {
    /// No such event type.
    UnknownType,
    /// Its role may not publish this type.
    Forbidden,
    /// The payload is wrong: the first violation.
    Invalid(Violation),
}

/// The violations of one event, bounded.
#[derive(Default)]
pub(super) struct Report(Vec<Violation>);

impl Report {
    pub fn add(&mut self, path: &str, code: ViolationCode, message: impl Into<String>) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(Violation { path: path.to_owned(), code, message: message.into() });
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Policy {
    /// Reads one event as a backend posts it. `raw` is the JSON text of one value.
    ///
    /// # Errors
    /// Everything that is wrong with it, at most [`MAX_VIOLATIONS`], at least one.
    pub fn draft_posted(&self, raw: &str, rules: &Rules) -> Result<Draft, Vec<Violation>> {
        let mut report = Report::default();
        let Some(envelope) = read_envelope(raw, rules, &mut report) else { return Err(report.0) };
        let event = self.read_type(&envelope, &mut report);
        let payload = match envelope.get("data") {
            Some(data) => self.read_payload(event, data, rules.validate, &mut report),
            None if rules.validate => {
                report.add("data", ViolationCode::Missing, "is required (an object)");
                Payload::default()
            }
            None => Payload { text: "{}".to_owned(), ..Payload::default() },
        };
        let timestamp = optional(&envelope, "timestamp").and_then(|raw| read_timestamp(raw, &mut report));
        let idempotency_key = optional_id(&envelope, "idempotencyKey", &mut report);
        let Payload { text, owner, key, roles } = payload;
        let address =
            self.read_address(&envelope, Address { owner, key, roles, ..Address::default() }, &mut report);
        match event {
            Some(event) if report.0.is_empty() => {
                let audience = self.audience(event, address);
                let addressing = addressing(&envelope);
                Ok(Draft { event, audience, data: text.into(), timestamp, idempotency_key, addressing })
            }
            _ => Err(report.0),
        }
    }

    /// Reads one event as a connection publishes it: `data` is the JSON text of its payload, in which the
    /// owner is overwritten with (or set to) `user`.
    ///
    /// # Errors
    /// The client's fault, as the wire contract tells them apart.
    pub fn draft_published(
        &self,
        role: Role,
        user: &str,
        event: &str,
        data: &str,
        rules: &Rules,
    ) -> Result<Draft, PublishError> {
        let event = self.event_type(event).ok_or(PublishError::UnknownType)?;
        if !self.may_publish(role, event) {
            return Err(PublishError::Forbidden);
        }
        let mut report = Report::default();
        if data.len() > rules.max_event_bytes {
            report.add("data", ViolationCode::TooLarge, too_large(data.len(), rules));
        }
        let owned = self.owner_field(event).and_then(|field| with_owner(data, field, user));
        let payload = match report.len() {
            0 => {
                self.read_payload(Some(event), owned.as_deref().unwrap_or(data), rules.validate, &mut report)
            }
            _ => Payload::default(),
        };
        if let Some(violation) = report.0.into_iter().next() {
            return Err(PublishError::Invalid(violation));
        }
        Ok(self.unaddressed(event, payload))
    }

    /// The event that tells of a user's coming or going. `last_seen` in ms since the epoch. `None` where the
    /// policy has no presence.
    #[must_use]
    pub fn draft_presence(&self, user: &str, online: bool, last_seen: u64) -> Option<Draft> {
        let presence = self.presence()?;
        let event = if online { presence.online } else { presence.offline };
        let field = &presence.owner_field;
        let (name, id) = (json_text(field), json_text(user));
        let text = format!("{{{name}:{id},\"isOnline\":{online},\"lastSeen\":{last_seen}}}");
        let key = (self.key_field(event) == Some(field)).then(|| user.into());
        let owner = Some(user.into());
        Some(self.unaddressed(event, Payload { text, owner, key, roles: None }))
    }

    /// A draft of which only the payload says for whom it is.
    fn unaddressed(&self, event: EventType, payload: Payload) -> Draft {
        let Payload { text, owner, key, roles } = payload;
        let audience = self.audience(event, Address { owner, key, roles, ..Address::default() });
        let data = text.into();
        Draft { event, audience, data, timestamp: None, idempotency_key: None, addressing: None }
    }

    /// What an event is by the policy of now, and to whom it goes, from what was kept of it: the JSON
    /// text that clients get, and [`Draft::addressing`]. `None` where this policy does not know its
    /// type or somebody whom it names: it is for nobody then, since what is not understood must not
    /// widen an audience.
    #[must_use]
    pub fn restore(&self, payload: &str, addressing: Option<&str>) -> Option<(EventType, Audience)> {
        let event = Members::read(payload).ok()?;
        let named = match addressing {
            Some(text) => Members::read(text).ok()?,
            None => Members::default(),
        };
        let mut report = Report::default();
        let kind = self.event_type(&json::text(event.get("type")?).ok()?)?;
        let Payload { owner, key, roles, .. } =
            self.read_payload(Some(kind), event.get("data")?, false, &mut report);
        let address =
            self.read_address(&named, Address { owner, key, roles, ..Address::default() }, &mut report);
        (report.len() == 0).then(|| (kind, self.audience(kind, address)))
    }

    fn read_type(&self, envelope: &Members<'_>, report: &mut Report) -> Option<EventType> {
        let Some(raw) = envelope.get("type") else {
            report.add("type", ViolationCode::Missing, "is required (a text)");
            return None;
        };
        let Ok(name) = json::text(raw) else {
            report.add("type", ViolationCode::WrongType, "must be a text");
            return None;
        };
        let Some(event) = self.event_type(&name) else {
            let message = format!("there is no event type {}", json::quoted(&name));
            report.add("type", ViolationCode::UnknownType, message);
            return None;
        };
        if let Some(raw) = optional(envelope, "namespace") {
            let namespace = self.namespace_name(self.event_namespace(event));
            match json::text(raw) {
                Ok(said) if said == namespace => {}
                Err(json::TextFault::Kind) => {
                    report.add("namespace", ViolationCode::WrongType, "must be a text");
                }
                _ => {
                    let message = format!("the namespace of {name} is {namespace}");
                    report.add("namespace", ViolationCode::NamespaceMismatch, message);
                }
            }
        }
        Some(event)
    }

    /// Whom the envelope names, joined with what the payload says.
    fn read_address(&self, envelope: &Members<'_>, mut address: Address, report: &mut Report) -> Address {
        for path in ["roles", "targetRoles"] {
            let Some(roles) = envelope.get(path).and_then(|raw| self.read_roles(raw, path, report)) else {
                continue;
            };
            if *address.roles.get_or_insert(roles) != roles {
                let message =
                    "roles, targetRoles and those in data must be the same set where several are there";
                report.add(path, ViolationCode::BadValue, message);
            }
        }
        let mut users = |path| envelope.get(path).and_then(|raw| payload::read_users(raw, path, report));
        address.users = users("userIds");
        address.exclude_users = users("excludeUserIds").unwrap_or_default();
        address.exclude_session = optional_id(envelope, "excludeSessionId", report);
        address.key = optional_id(envelope, "key", report).or(address.key);
        address
    }
}

/// The fields of the envelope that tell for whom an event is.
const ADDRESSING: [&str; 6] =
    ["roles", "targetRoles", "userIds", "excludeUserIds", "excludeSessionId", "key"];

/// Those of them that are there, as they were posted.
fn addressing(envelope: &Members<'_>) -> Option<Box<str>> {
    let mut text = String::new();
    for name in ADDRESSING {
        let Some(raw) = optional(envelope, name) else { continue };
        text.push_str(if text.is_empty() { "{\"" } else { ",\"" });
        text.push_str(name);
        text.push_str("\":");
        text.push_str(raw);
    }
    if text.is_empty() {
        return None;
    }
    text.push('}');
    Some(text.into())
}

/// The members of the envelope. What is merely wrong in it is reported; `None` where nothing more can be read.
fn read_envelope<'a>(raw: &'a str, rules: &Rules, report: &mut Report) -> Option<Members<'a>> {
    if raw.len() > rules.max_event_bytes {
        report.add("", ViolationCode::TooLarge, too_large(raw.len(), rules));
        return None;
    }
    let envelope = match Members::read(raw) {
        Ok(envelope) => envelope,
        Err(Fault::Kind) => {
            report.add("", ViolationCode::WrongType, "an event must be an object");
            return None;
        }
        Err(Fault::Syntax(error)) => {
            report.add("", ViolationCode::BadValue, format!("not JSON: {error}"));
            return None;
        }
    };
    if let Some(name) = envelope.duplicate() {
        report.add(&shown(name), ViolationCode::BadValue, "is there twice");
    }
    for (name, _) in envelope.0.iter().filter(|(name, _)| !ENVELOPE.contains(&&**name)).take(MAX_VIOLATIONS) {
        let message = format!("an event has no such field; it has {}", ENVELOPE.join(", "));
        report.add(&shown(name), ViolationCode::UnknownField, message);
    }
    Some(envelope)
}

/// A foreign name as a path: short and without control characters.
fn shown(name: &str) -> String {
    let quoted = json::quoted(name);
    quoted.trim_matches('"').to_owned()
}

/// An optional field of the envelope that is no list: `null` is absent.
fn optional<'a>(envelope: &Members<'a>, name: &str) -> Option<&'a str> {
    envelope.get(name).filter(|raw| *raw != "null")
}

fn optional_id(envelope: &Members<'_>, name: &str, report: &mut Report) -> Option<Box<str>> {
    optional(envelope, name).and_then(|raw| payload::read_id(raw, name, report))
}

fn read_timestamp(raw: &str, report: &mut Report) -> Option<u64> {
    let ms = json::whole_ms(raw);
    if ms.is_none() {
        let number = json::is_number(raw);
        let code = if number { ViolationCode::BadValue } else { ViolationCode::WrongType };
        report.add("timestamp", code, "must be whole ms since the epoch, from 0 to 8640000000000000");
    }
    ms
}

fn too_large(bytes: usize, rules: &Rules) -> String {
    format!("has {bytes} bytes, at most {} are allowed", rules.max_event_bytes)
}

/// The text of an object with `field` set to `user`. `None` where it is no object; then reading it tells why.
/// Of a name that is there twice only the first is set, and reading it refuses the other.
fn with_owner(data: &str, field: &str, user: &str) -> Option<String> {
    let members = Members::read(data).ok()?;
    let id = json_text(user);
    if let Some(old) = members.get(field) {
        // The value is a part of `data`; where it begins there is the distance of the two.
        let start = old.as_ptr() as usize - data.as_ptr() as usize;
        return Some([&data[..start], &id, &data[start + old.len()..]].concat());
    }
    let inside = data.find('{')? + 1;
    let comma = if members.0.is_empty() { "" } else { "," };
    Some([&data[..inside], &json_text(field), ":", &id, comma, &data[inside..]].concat())
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("a text can always be written as JSON")
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;
