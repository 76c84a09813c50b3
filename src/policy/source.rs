//! From the text of a policy file to a compiled policy, or to the place where it is wrong.
//!
//! ```text
//! { "version": 1,
//!   "roles": [NAME, ...],
//!   "namespaces": { NAME: { "owner"?: FIELD, "key"?: FIELD, "roles"?: FIELD, "addressed"?: true } },
//!   "sees": { ROLE: { NAMESPACE: "all" | "own" | "none" } },              what is not there is "none"
//!   "events": { NAME: { "namespace": NAMESPACE, "fields": { FIELD: KIND, "FIELD?": KIND },
//!                       "owner"?: FIELD, "key"?: FIELD, "roles"?: FIELD, "everybody"?: true } },
//!   "publishes"?: { ROLE: [EVENT, ...] },
//!   "presence"?: { "role": ROLE, "online": EVENT, "offline": EVENT } }
//! ```
//!
//! KIND is a word of [`Kind`] or a list of the texts allowed; a field whose name ends in `?` is
//! optional. `owner`, `key` and `roles` of an event take the place of its namespace's. Anything
//! not written here is an error: a misspelt right must not become a missing one.

use std::collections::HashMap;

use crate::base::masks::Mask;
use crate::policy::compiled::{EventRow, NamespaceRow, Policy, PolicyError, Presence, RoleRow};
use crate::policy::json::{self, Fault, Members};
use crate::policy::names::{EventType, Namespace, Role};
use crate::policy::schema::{Field, Kind};

/// The version of the file format.
const VERSION: &str = "1";
/// Event types of one policy.
const MAX_EVENTS: usize = 512;
/// Fields of one event type: which were seen is one machine word.
pub(super) const MAX_FIELDS: usize = 64;
/// Texts that one field may allow.
const MAX_WORDS: usize = 64;
/// Bytes of a name.
const MAX_NAME_BYTES: usize = 64;
/// Characters of a name that a path shows: every legal one fits, and each of many paths holds it.
const SHOWN_CHARS: usize = 2 * MAX_NAME_BYTES + 1;

impl Policy {
    /// Compiles the text of a policy file.
    ///
    /// # Errors
    /// The first place where the file is not as this module's head says it must be.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let sections = ["version", "roles", "namespaces", "sees", "events", "publishes", "presence"];
        let top = At { path: String::new(), raw: text }.object(&sections)?;
        let version = top.need("version")?;
        if version.raw != VERSION {
            return Err(version.error(format!("must be {VERSION}")));
        }
        let mut policy = Policy {
            roles: roles(&top.need("roles")?)?,
            namespaces: Vec::new(),
            events: Vec::new(),
            by_name: HashMap::new(),
            presence: None,
        };
        let defaults = namespaces(&mut policy, &top.need("namespaces")?)?;
        table(&mut policy, &top.need("sees")?)?;
        events(&mut policy, &defaults, &top.need("events")?)?;
        if let Some(publishes) = top.get("publishes") {
            publishers(&mut policy, publishes)?;
        }
        if let Some(at) = top.get("presence") {
            policy.presence = Some(presence(&policy, at)?);
        }
        Ok(policy)
    }
}

fn roles(at: &At<'_>) -> Result<Vec<RoleRow>, PolicyError> {
    let mut rows: Vec<RoleRow> = Vec::new();
    for item in at.list(1, Mask::CAPACITY)? {
        let name = item.text()?;
        item.check_name(&name)?;
        if rows.iter().any(|r| *r.name == *name) {
            return Err(item.error("is there twice".to_owned()));
        }
        rows.push(RoleRow { name: name.into(), sees_all: Mask::EMPTY, sees_own: Mask::EMPTY });
    }
    Ok(rows)
}

/// The fields of address that a namespace names for its events.
#[derive(Default)]
struct AddressFields<'a> {
    owner: Option<At<'a>>,
    key: Option<At<'a>>,
    roles: Option<At<'a>>,
}

fn namespaces<'a>(policy: &mut Policy, at: &At<'a>) -> Result<Vec<AddressFields<'a>>, PolicyError> {
    let mut defaults = Vec::new();
    for (name, item) in at.entries(1, Mask::CAPACITY)? {
        item.check_name(&name)?;
        let flags = item.object(&["owner", "key", "roles", "addressed"])?;
        policy.namespaces.push(NamespaceRow {
            name: name.into(),
            addressed: flags.flag("addressed")?,
            seen_by_all: Mask::EMPTY,
            seen_by_own: Mask::EMPTY,
            events: Vec::new(),
        });
        let field = |name| flags.get(name).cloned();
        defaults.push(AddressFields { owner: field("owner"), key: field("key"), roles: field("roles") });
    }
    Ok(defaults)
}

fn table(policy: &mut Policy, at: &At<'_>) -> Result<(), PolicyError> {
    for (role, row) in at.entries(0, Mask::CAPACITY)? {
        let role = row.role(policy, &role)?;
        for (namespace, cell) in row.entries(0, Mask::CAPACITY)? {
            let namespace = cell.namespace(policy, &namespace)?;
            let seen = &mut policy.roles[usize::from(role.0)];
            let by = &mut policy.namespaces[usize::from(namespace.0)];
            match &*cell.text()? {
                "all" => {
                    seen.sees_all = seen.sees_all | Mask::only(namespace.0);
                    by.seen_by_all = by.seen_by_all | Mask::only(role.0);
                }
                "own" => {
                    seen.sees_own = seen.sees_own | Mask::only(namespace.0);
                    by.seen_by_own = by.seen_by_own | Mask::only(role.0);
                }
                "none" => {}
                _ => return Err(cell.error("must be \"all\", \"own\" or \"none\"".to_owned())),
            }
        }
    }
    Ok(())
}

fn events(policy: &mut Policy, defaults: &[AddressFields<'_>], at: &At<'_>) -> Result<(), PolicyError> {
    for (index, (name, item)) in at.entries(1, MAX_EVENTS)?.into_iter().enumerate() {
        let row = event(policy, defaults, &name, &item)?;
        let event = EventType(index as u16);
        policy.namespaces[usize::from(row.namespace.0)].events.push(event);
        policy.by_name.insert(name.into(), event);
        policy.events.push(row);
    }
    for (column, fields) in policy.namespaces.iter().zip(defaults) {
        for at in [&fields.owner, &fields.key, &fields.roles].into_iter().flatten() {
            // A name that no event of the namespace has is a slip of the pen.
            let name = at.text()?;
            let has = |e: &EventType| policy.event(*e).fields.iter().any(|f| *f.name == *name);
            if !column.events.iter().any(has) {
                return Err(at.error(format!("no event of {} has this field", column.name)));
            }
        }
    }
    Ok(())
}

fn event(
    policy: &Policy,
    defaults: &[AddressFields<'_>],
    name: &str,
    at: &At<'_>,
) -> Result<EventRow, PolicyError> {
    let (group, verb) = name.split_once(':').unwrap_or((name, ""));
    at.check_name(group).and_then(|()| at.check_name(verb)).map_err(|e| PolicyError {
        message: "an event is named GROUP:VERB, each 1 to 64 of a-z, 0-9, _ and -".to_owned(),
        ..e
    })?;
    let parts = at.object(&["namespace", "fields", "owner", "key", "roles", "everybody"])?;
    let namespace = parts.need("namespace")?;
    let namespace = namespace.namespace(policy, &namespace.text()?)?;
    let fields = fields(&parts.need("fields")?)?;
    let default = &defaults[usize::from(namespace.0)];
    let address_field = |part: &str, default: &Option<At<'_>>, kind: &Kind| {
        let own = parts.get(part);
        let Some(at) = own.or(default.as_ref()) else { return Ok(None) };
        let field = at.text()?;
        match fields.iter().find(|f| *f.name == *field) {
            Some(f) if f.kind == *kind => {}
            None if own.is_none() => {}
            Some(_) => {
                let word = kind.word().unwrap_or_default();
                return Err(at.error(format!("{name} has a field {field} that is not of kind {word}")));
            }
            None => return Err(at.error(format!("{name} has no field {field}"))),
        }
        Ok(Some(Box::from(field)))
    };
    let owner = address_field("owner", &default.owner, &Kind::Id)?;
    let key = address_field("key", &default.key, &Kind::Id)?;
    let roles = address_field("roles", &default.roles, &Kind::Roles)?;
    if let Some(f) = fields.iter().find(|f| f.kind == Kind::Roles && roles.as_deref() != Some(&*f.name)) {
        let path = format!("{}.fields.{}", at.path, f.name);
        let message = "a field of kind roles must be the one that \"roles\" names".to_owned();
        return Err(PolicyError { path, message });
    }
    let everybody = parts.flag("everybody")?;
    if everybody && !policy.column(namespace).addressed {
        // Else naming a role would turn "everybody" into "those of that role who subscribed".
        return Err(at.error("\"everybody\" is for namespaces that are \"addressed\"".to_owned()));
    }
    let publishers = Mask::EMPTY;
    Ok(EventRow { name: name.into(), namespace, fields, owner, key, roles, everybody, publishers })
}

fn fields(at: &At<'_>) -> Result<Box<[Field]>, PolicyError> {
    let mut fields: Vec<Field> = Vec::new();
    for (name, item) in at.entries(0, MAX_FIELDS)? {
        let (name, required) = name.strip_suffix('?').map_or((&*name, true), |n| (n, false));
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(item.error("a field's name is 1 to 64 bytes of text".to_owned()));
        }
        if fields.iter().any(|f| *f.name == *name) {
            return Err(item.error("is there twice".to_owned()));
        }
        fields.push(Field { name: name.into(), kind: kind(&item)?, required });
    }
    Ok(fields.into())
}

fn kind(at: &At<'_>) -> Result<Kind, PolicyError> {
    if at.raw.starts_with('[') {
        let words = at.list(1, MAX_WORDS)?;
        let words: Result<Vec<Box<str>>, _> = words.iter().map(|w| w.text().map(Box::from)).collect();
        return Ok(Kind::OneOf(words?.into()));
    }
    Kind::named(&at.text()?).ok_or_else(|| {
        at.error("must be id, text, number, boolean, object, ms, roles, or a list of texts".to_owned())
    })
}

fn publishers(policy: &mut Policy, at: &At<'_>) -> Result<(), PolicyError> {
    for (role, events) in at.entries(0, Mask::CAPACITY)? {
        let role = events.role(policy, &role)?;
        for item in events.list(0, MAX_EVENTS)? {
            let event = item.event(policy)?;
            let row = &mut policy.events[usize::from(event.0)];
            row.publishers = row.publishers | Mask::only(role.0);
        }
    }
    Ok(())
}

fn presence(policy: &Policy, at: &At<'_>) -> Result<Presence, PolicyError> {
    let parts = at.object(&["role", "online", "offline"])?;
    let role = parts.need("role")?;
    let role = role.role(policy, &role.text()?)?;
    let (online, owner_field) = presence_event(policy, &parts.need("online")?)?;
    let (offline, other) = presence_event(policy, &parts.need("offline")?)?;
    let namespace = policy.event_namespace(online);
    if owner_field != other || policy.event_namespace(offline) != namespace {
        return Err(at.error("both events must have one namespace and one owner field".to_owned()));
    }
    Ok(Presence { role, online, offline, namespace, owner_field })
}

/// An event type that the node can fill by itself, and the field that names the user.
fn presence_event(policy: &Policy, at: &At<'_>) -> Result<(EventType, Box<str>), PolicyError> {
    let event = at.event(policy)?;
    let row = policy.event(event);
    let owner = row.owner.clone().ok_or_else(|| at.error("this event has no owner field".to_owned()))?;
    let said = [(&*owner, Kind::Id), ("isOnline", Kind::Boolean), ("lastSeen", Kind::Millis)];
    let fits = |f: &&Field| match said.iter().find(|(name, _)| **name == *f.name) {
        Some((_, kind)) => f.kind == *kind,
        None => !f.required,
    };
    match row.fields.iter().find(|f| !fits(f)) {
        Some(f) => Err(at.error(format!("the node can't fill the field {} of this event", f.name))),
        None => Ok((event, owner)),
    }
}

/// A value of the file and where it is.
#[derive(Clone)]
struct At<'a> {
    path: String,
    raw: &'a str,
}

/// The members of an object whose names are all known.
struct Parts<'a> {
    at: At<'a>,
    list: Vec<(String, At<'a>)>,
}

impl<'a> Parts<'a> {
    fn get(&self, name: &str) -> Option<&At<'a>> {
        self.list.iter().find(|(n, _)| n == name).map(|(_, at)| at)
    }

    fn need(&self, name: &str) -> Result<At<'a>, PolicyError> {
        self.get(name).cloned().ok_or_else(|| self.at.error(format!("\"{name}\" is missing")))
    }

    fn flag(&self, name: &str) -> Result<bool, PolicyError> {
        match self.get(name) {
            None => Ok(false),
            Some(at) if at.raw == "true" || at.raw == "false" => Ok(at.raw == "true"),
            Some(at) => Err(at.error("must be true or false".to_owned())),
        }
    }
}

impl<'a> At<'a> {
    fn error(&self, message: String) -> PolicyError {
        let path = if self.path.is_empty() { "the top level".to_owned() } else { self.path.clone() };
        PolicyError { path, message }
    }

    fn inside(&self, name: &str, raw: &'a str) -> At<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        let mut path = format!("{}{dot}", self.path);
        path.extend(name.chars().take(SHOWN_CHARS).flat_map(char::escape_debug));
        if name.chars().nth(SHOWN_CHARS).is_some() {
            path.push('…');
        }
        At { path, raw }
    }

    fn fault(&self, fault: &Fault, wanted: &str) -> PolicyError {
        match fault {
            Fault::Kind => self.error(format!("must be {wanted}")),
            // Only the whole text can be broken: what is inside was read once already.
            Fault::Syntax(error) => PolicyError {
                path: format!("line {}, column {}", error.line(), error.column()),
                message: error.to_string(),
            },
        }
    }

    fn entries(&self, least: usize, most: usize) -> Result<Vec<(String, At<'a>)>, PolicyError> {
        let members = Members::read(self.raw).map_err(|fault| self.fault(&fault, "an object"))?;
        if let Some(name) = members.duplicate() {
            return Err(self.inside(name, "").error("is there twice".to_owned()));
        }
        self.check_count(members.0.len(), least, most)?;
        let entry = |(name, raw): &(_, &'a str)| {
            let name: &std::borrow::Cow<'_, str> = name;
            (name.to_string(), self.inside(name, raw))
        };
        Ok(members.0.iter().map(entry).collect())
    }

    fn object(&self, known: &[&str]) -> Result<Parts<'a>, PolicyError> {
        let list = self.entries(0, usize::MAX)?;
        match list.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((_, at)) => Err(at.error(format!("is not known here; known are {}", known.join(", ")))),
            None => Ok(Parts { at: self.clone(), list }),
        }
    }

    fn list(&self, least: usize, most: usize) -> Result<Vec<At<'a>>, PolicyError> {
        let items = json::elements(self.raw).map_err(|fault| self.fault(&fault, "a list"))?;
        self.check_count(items.len(), least, most)?;
        Ok(items.iter().enumerate().map(|(i, raw)| self.inside(&i.to_string(), raw)).collect())
    }

    fn check_count(&self, count: usize, least: usize, most: usize) -> Result<(), PolicyError> {
        if (least..=most).contains(&count) {
            return Ok(());
        }
        Err(self.error(format!("must hold {least} to {most} entries, holds {count}")))
    }

    fn text(&self) -> Result<String, PolicyError> {
        json::text(self.raw).map(String::from).map_err(|_| self.error("must be a text".to_owned()))
    }

    fn check_name(&self, name: &str) -> Result<(), PolicyError> {
        let legal = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(legal) {
            return Ok(());
        }
        Err(self.error("a name is 1 to 64 of a-z, 0-9, _ and -".to_owned()))
    }

    fn role(&self, policy: &Policy, name: &str) -> Result<Role, PolicyError> {
        policy.role(name).ok_or_else(|| self.error(format!("there is no role {}", json::quoted(name))))
    }

    fn namespace(&self, policy: &Policy, name: &str) -> Result<Namespace, PolicyError> {
        policy
            .namespace(name)
            .ok_or_else(|| self.error(format!("there is no namespace {}", json::quoted(name))))
    }

    fn event(&self, policy: &Policy) -> Result<EventType, PolicyError> {
        let name = self.text()?;
        policy
            .event_type(&name)
            .ok_or_else(|| self.error(format!("there is no event {}", json::quoted(&name))))
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
