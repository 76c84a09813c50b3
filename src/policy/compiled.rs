//! The policy after start: names to indexes, indexes to masks, events to their schemas.
//!
//! Immutable and shared. An index given to a method must come from the same policy; one
//! that does not is a fault of ours and panics.

use std::collections::HashMap;
use std::fmt;

use crate::base::masks::Mask;
use crate::policy::audience::{Audience, Reach};
use crate::policy::names::{EventType, Namespace, Role};
use crate::policy::schema::Field;

/// Who sees and publishes what, and what events look like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    pub(super) roles: Vec<RoleRow>,
    pub(super) namespaces: Vec<NamespaceRow>,
    pub(super) events: Vec<EventRow>,
    pub(super) by_name: HashMap<Box<str>, EventType>,
    pub(super) presence: Option<Presence>,
}

/// A role and its row of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RoleRow {
    pub name: Box<str>,
    /// Namespaces.
    pub sees_all: Mask,
    /// Namespaces.
    pub sees_own: Mask,
}

/// A namespace and its column of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NamespaceRow {
    pub name: Box<str>,
    /// Whether an event that names roles or users needs no subscription and no cell.
    pub addressed: bool,
    /// Roles.
    pub seen_by_all: Mask,
    /// Roles.
    pub seen_by_own: Mask,
    pub events: Vec<EventType>,
}

/// An event type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct EventRow {
    pub name: Box<str>,
    pub namespace: Namespace,
    pub fields: Box<[Field]>,
    /// Field of the user whose event it is.
    pub owner: Option<Box<str>>,
    /// Field of the entity it is about.
    pub key: Option<Box<str>>,
    /// Field that lists the roles it is for.
    pub roles: Option<Box<str>>,
    /// Whether it reaches everybody when it names nobody.
    pub everybody: bool,
    /// Roles.
    pub publishers: Mask,
}

/// Whose coming and going the node tells, and as which events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    /// The role whose users are told about.
    pub role: Role,
    /// The event of a user's first connection.
    pub online: EventType,
    /// The event after a user's last connection.
    pub offline: EventType,
    /// Whoever may see this may ask how many are online.
    pub namespace: Namespace,
    /// The field that names the user.
    pub owner_field: Box<str>,
}

/// Why a policy file was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyError {
    /// Where, dotted: `events.order:created.fields.total`; for what is not JSON, line and column.
    pub path: String,
    /// What is wrong there and what is allowed.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy: at {}: {}", self.path, self.message)
    }
}

impl std::error::Error for PolicyError {}

/// What an event says about whom it is for, read and checked.
#[derive(Default)]
pub(super) struct Address {
    pub roles: Option<Mask>,
    pub users: Option<Box<[Box<str>]>>,
    pub exclude_users: Box<[Box<str>]>,
    pub exclude_session: Option<Box<str>>,
    pub owner: Option<Box<str>>,
    pub key: Option<Box<str>>,
}

impl Policy {
    /// The default policy, which is part of the program.
    #[must_use]
    pub fn builtin() -> Policy {
        Policy::parse(include_str!("default.json")).expect("a test compiles the embedded policy")
    }

    /// The role of this name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<Role> {
        self.roles.iter().position(|r| *r.name == *name).map(|i| Role(i as u8))
    }

    /// The name of a role.
    #[must_use]
    pub fn role_name(&self, role: Role) -> &str {
        &self.row(role).name
    }

    /// All roles, in the order of the policy file.
    pub fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        (0..self.roles.len() as u8).map(Role)
    }

    /// The namespace of this name.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<Namespace> {
        self.namespaces.iter().position(|n| *n.name == *name).map(|i| Namespace(i as u8))
    }

    /// The name of a namespace.
    #[must_use]
    pub fn namespace_name(&self, namespace: Namespace) -> &str {
        &self.column(namespace).name
    }

    /// All namespaces, in the order of the policy file.
    pub fn namespaces(&self) -> impl Iterator<Item = Namespace> + use<> {
        (0..self.namespaces.len() as u8).map(Namespace)
    }

    /// The event type of this name.
    #[must_use]
    pub fn event_type(&self, name: &str) -> Option<EventType> {
        self.by_name.get(name).copied()
    }

    /// The name of an event type.
    #[must_use]
    pub fn event_name(&self, event: EventType) -> &str {
        &self.event(event).name
    }

    /// All event types, in the order of the policy file.
    pub fn event_types(&self) -> impl Iterator<Item = EventType> + use<> {
        (0..self.events.len() as u16).map(EventType)
    }

    /// The namespace of an event type.
    #[must_use]
    pub fn event_namespace(&self, event: EventType) -> Namespace {
        self.event(event).namespace
    }

    /// The event types of a namespace, in the order of the policy file.
    pub fn events_of(&self, namespace: Namespace) -> impl Iterator<Item = EventType> + '_ {
        self.column(namespace).events.iter().copied()
    }

    /// The payload fields of an event type, in the order of the policy file.
    #[must_use]
    pub fn fields(&self, event: EventType) -> &[Field] {
        &self.event(event).fields
    }

    /// The payload field that names the owner of an event of this type.
    #[must_use]
    pub fn owner_field(&self, event: EventType) -> Option<&str> {
        self.event(event).owner.as_deref()
    }

    /// The payload field that is the entity key of an event of this type.
    #[must_use]
    pub fn key_field(&self, event: EventType) -> Option<&str> {
        self.event(event).key.as_deref()
    }

    /// The payload field that lists the roles an event of this type is for.
    #[must_use]
    pub fn roles_field(&self, event: EventType) -> Option<&str> {
        self.event(event).roles.as_deref()
    }

    /// The namespaces whose cell is `all`.
    #[must_use]
    pub fn sees_all(&self, role: Role) -> Mask {
        self.row(role).sees_all
    }

    /// The namespaces whose cell is `own`.
    #[must_use]
    pub fn sees_own(&self, role: Role) -> Mask {
        self.row(role).sees_own
    }

    /// The namespaces that the role may subscribe to.
    #[must_use]
    pub fn visible(&self, role: Role) -> Mask {
        self.sees_all(role) | self.sees_own(role)
    }

    /// Whether a connection of this role may publish this type.
    #[must_use]
    pub fn may_publish(&self, role: Role, event: EventType) -> bool {
        self.event(event).publishers.has(role.0)
    }

    /// Whose presence the node tells, if anybody's.
    #[must_use]
    pub fn presence(&self) -> Option<&Presence> {
        self.presence.as_ref()
    }

    /// Compiles an address to the roles and persons it admits (rules 2 to 5).
    pub(super) fn audience(&self, event: EventType, address: Address) -> Audience {
        let row = self.event(event);
        let column = self.column(row.namespace);
        let everyone = Mask::first(self.roles.len());
        let named = address.roles.unwrap_or(everyone);
        let names_somebody = address.roles.is_some() || address.users.is_some();
        let (reach, roles, own_roles) = if column.addressed && names_somebody {
            (Reach::Addressed, named, Mask::EMPTY)
        } else if row.everybody {
            // It names nobody: such a type is only ever in an addressed namespace.
            (Reach::Everybody, everyone, Mask::EMPTY)
        } else {
            (Reach::Subscribers, column.seen_by_all & named, column.seen_by_own & named)
        };
        debug_assert!(address.users.as_ref().is_none_or(|users| users.is_sorted()), "read sorted");
        debug_assert!(address.exclude_users.is_sorted(), "read sorted");
        Audience {
            namespace: row.namespace,
            reach,
            roles,
            own_roles,
            owner: address.owner,
            users: address.users,
            exclude_users: address.exclude_users,
            exclude_session: address.exclude_session,
            key: address.key,
        }
    }

    pub(super) fn event(&self, event: EventType) -> &EventRow {
        &self.events[usize::from(event.0)]
    }

    fn row(&self, role: Role) -> &RoleRow {
        &self.roles[usize::from(role.0)]
    }

    pub(super) fn column(&self, namespace: Namespace) -> &NamespaceRow {
        &self.namespaces[usize::from(namespace.0)]
    }
}
