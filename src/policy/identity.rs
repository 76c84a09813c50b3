//! Who a connection is, once its credential was accepted, and the ways it is not.

use crate::policy::names::Role;

/// An accepted credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The user, 1 to 256 bytes without control characters.
    pub user: Box<str>,
    /// The session, likewise.
    pub session: Box<str>,
    /// The role.
    pub role: Role,
    /// When it ends, in ms since the epoch. Later than when it was checked.
    pub expires_at: u64,
}

/// Why an `auth` was not accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthFault {
    /// Not of the shape that this node takes: `bad_message`, told to the client; the connection stays open.
    Shape(String),
    /// It was good once: `token_expired`, close 4101.
    Expired {
        /// For the client.
        message: String,
    },
    /// A bad credential: `auth_failed`, close 4002. The client learns nothing more.
    Refused {
        /// For the log only.
        detail: String,
    },
}

impl AuthFault {
    pub(super) fn shape(message: impl Into<String>) -> Self {
        AuthFault::Shape(message.into())
    }

    pub(super) fn expired(message: impl Into<String>) -> Self {
        AuthFault::Expired { message: message.into() }
    }

    pub(super) fn refused(detail: impl Into<String>) -> Self {
        AuthFault::Refused { detail: detail.into() }
    }
}
