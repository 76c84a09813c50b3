//! The names of a policy as small indexes: what masks hold and tables are indexed by.
//!
//! An index means something only together with the [`Policy`](crate::policy::Policy) that gave it out.

/// A role, in the order of the policy file. Always below 32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Role(pub u8);

/// A namespace, in the order of the policy file. Always below 32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Namespace(pub u8);

/// An event type, in the order of the policy file. Always below 512.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct EventType(pub u16);
