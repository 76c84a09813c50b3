//! An event's `data` and lists, read once: checked against the schema, made one line, and asked
//! for the owner, the key and the roles it names.

use crate::base::masks::Mask;
use crate::policy::compiled::{EventRow, Policy};
use crate::policy::draft::{Report, ViolationCode};
use crate::policy::json::{self, Fault, Members};
use crate::policy::names::EventType;
use crate::policy::schema::{Field, Kind};

/// Entries of one list of users or roles: what a delivery may have to look up.
pub(super) const MAX_LIST_ENTRIES: usize = 1024;
/// How deep `data` may nest, itself counted. Receivers parse it, some of them recursively.
const MAX_DEPTH: usize = 64;

/// What `data` holds for the node.
#[derive(Default)]
pub(super) struct Payload {
    /// Compact, one line.
    pub text: String,
    pub owner: Option<Box<str>>,
    pub key: Option<Box<str>>,
    pub roles: Option<Mask>,
}

impl Policy {
    /// Reads `data`. Where `shape` is false the schema is left alone; what tells for whom the event is gets
    /// checked all the same. Without an event type there is only the form to check.
    pub(super) fn read_payload(
        &self,
        event: Option<EventType>,
        raw: &str,
        shape: bool,
        report: &mut Report,
    ) -> Payload {
        let mut payload = Payload::default();
        let members = match Members::read(raw) {
            Ok(members) => members,
            Err(Fault::Kind) => {
                report.add("data", ViolationCode::WrongType, "must be an object");
                return payload;
            }
            Err(Fault::Syntax(error)) => {
                report.add("data", ViolationCode::BadValue, error.to_string());
                return payload;
            }
        };
        if let Some(name) = members.duplicate() {
            let message = format!("has the field {} twice", json::quoted(name));
            report.add("data", ViolationCode::BadValue, message);
        }
        if json::compact_into(raw, &mut payload.text) > MAX_DEPTH {
            let message = format!("nests deeper than {MAX_DEPTH}");
            report.add("data", ViolationCode::BadValue, message);
        }
        if let Some(event) = event {
            self.read_fields(self.event(event), &members, shape, &mut payload, report);
        }
        payload
    }

    fn read_fields(
        &self,
        row: &EventRow,
        members: &Members<'_>,
        shape: bool,
        payload: &mut Payload,
        report: &mut Report,
    ) {
        let mut seen = 0u64;
        for (name, raw) in &members.0 {
            let declared = row.fields.iter().position(|f| *f.name == **name);
            if let Some(index) = declared {
                seen |= 1 << index;
                let field = &row.fields[index];
                if shape && let Err((code, message)) = field.kind.check(raw, field.required) {
                    report.add(&data_path(name), code, message);
                    continue;
                }
            }
            let is = |field: &Option<Box<str>>| field.as_deref() == Some(&**name);
            if is(&row.owner) {
                payload.owner = read_id(raw, &data_path(name), report);
            }
            if is(&row.key) && raw.starts_with('"') && *raw != "\"\"" {
                payload.key = read_id(raw, &data_path(name), report);
            }
            if is(&row.roles) {
                payload.roles = self.read_roles(raw, &data_path(name), report);
            }
        }
        if shape {
            let lacks = |(i, f): &(usize, &Field)| f.required && seen & (1 << i) == 0;
            for (_, field) in row.fields.iter().enumerate().filter(lacks) {
                report.add(&data_path(&field.name), ViolationCode::Missing, need(&field.kind));
            }
        }
    }

    /// The roles of a list of names. `None` after a violation.
    pub(super) fn read_roles(&self, raw: &str, path: &str, report: &mut Report) -> Option<Mask> {
        let before = report.len();
        let mut mask = Mask::EMPTY;
        for item in read_list(raw, path, report)? {
            match json::text(item).ok().map(|name| self.role(&name).ok_or(name)) {
                Some(Ok(role)) => mask = mask | Mask::only(role.0),
                Some(Err(name)) => {
                    let message = format!("there is no role {}", json::quoted(&name));
                    report.add(path, ViolationCode::UnknownRole, message);
                }
                None => report.add(path, ViolationCode::WrongType, "must be a list of role names"),
            }
        }
        (report.len() == before).then_some(mask)
    }
}

/// The users of a list, each once. `None` after a violation.
pub(super) fn read_users(raw: &str, path: &str, report: &mut Report) -> Option<Box<[Box<str>]>> {
    let before = report.len();
    let items = read_list(raw, path, report)?;
    let mut users: Vec<Box<str>> = items.iter().filter_map(|item| read_id(item, path, report)).collect();
    users.sort_unstable();
    users.dedup();
    (report.len() == before).then(|| users.into())
}

/// An id that is part of the address. `None` after a violation.
pub(super) fn read_id(raw: &str, path: &str, report: &mut Report) -> Option<Box<str>> {
    let fault = match json::text(raw) {
        Ok(id) => match json::id_fault(&id) {
            None => return Some(id.into()),
            Some(fault) => (ViolationCode::BadValue, fault),
        },
        Err(json::TextFault::Kind) => (ViolationCode::WrongType, "must be a text"),
        Err(json::TextFault::Escape) => (ViolationCode::BadValue, "must be valid Unicode"),
    };
    report.add(path, fault.0, fault.1);
    None
}

/// The elements of a list that may not be empty. `null` is no list: were it taken for an absent
/// one, a publisher's slip would turn an event for a few into one for all.
fn read_list<'a>(raw: &'a str, path: &str, report: &mut Report) -> Option<Vec<&'a str>> {
    let (code, message) = match json::elements(raw) {
        Ok(items) if items.is_empty() => {
            (ViolationCode::EmptyList, "must not be empty; leave it out to name nobody".to_owned())
        }
        Ok(items) if items.len() > MAX_LIST_ENTRIES => {
            (ViolationCode::TooLarge, format!("holds {} entries, at most {MAX_LIST_ENTRIES}", items.len()))
        }
        Ok(items) => return Some(items),
        Err(_) => (ViolationCode::WrongType, "must be a list of texts".to_owned()),
    };
    report.add(path, code, message);
    None
}

fn data_path(name: &str) -> String {
    format!("data.{name}")
}

fn need(kind: &Kind) -> String {
    match kind {
        Kind::OneOf(words) => format!("is required (one of {})", words.join(", ")),
        kind => format!("is required ({})", kind.word().unwrap_or_default()),
    }
}
