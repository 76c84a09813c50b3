//! Replies: what the node says to one client, as JSON texts ready for a frame.
//!
//! `id` is always the JSON text that [`crate::wire::command::Command::id`] gave, echoed as it came.

use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The codes of error messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not JSON.
    BadJson,
    /// JSON of the wrong shape.
    BadMessage,
    /// No such command.
    UnknownType,
    /// `auth` comes first.
    NotAuthenticated,
    /// The credential does not hold.
    AuthFailed,
    /// The credential held once.
    TokenExpired,
    /// No such namespace.
    UnknownNamespace,
    /// A namespace that this role may not see.
    ForbiddenNamespace,
    /// An event that this role may not publish.
    ForbiddenEvent,
    /// An event of the wrong shape.
    InvalidEvent,
    /// Too many messages.
    RateLimited,
    /// The node's own fault.
    Internal,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [ErrorCode; 12] = [
        ErrorCode::BadJson,
        ErrorCode::BadMessage,
        ErrorCode::UnknownType,
        ErrorCode::NotAuthenticated,
        ErrorCode::AuthFailed,
        ErrorCode::TokenExpired,
        ErrorCode::UnknownNamespace,
        ErrorCode::ForbiddenNamespace,
        ErrorCode::ForbiddenEvent,
        ErrorCode::InvalidEvent,
        ErrorCode::RateLimited,
        ErrorCode::Internal,
    ];

    /// The code as the client reads it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::BadJson => "bad_json",
            ErrorCode::BadMessage => "bad_message",
            ErrorCode::UnknownType => "unknown_type",
            ErrorCode::NotAuthenticated => "not_authenticated",
            ErrorCode::AuthFailed => "auth_failed",
            ErrorCode::TokenExpired => "token_expired",
            ErrorCode::UnknownNamespace => "unknown_namespace",
            ErrorCode::ForbiddenNamespace => "forbidden_namespace",
            ErrorCode::ForbiddenEvent => "forbidden_event",
            ErrorCode::InvalidEvent => "invalid_event",
            ErrorCode::RateLimited => "rate_limited",
            ErrorCode::Internal => "internal",
        }
    }

    /// Whether the same message may succeed when sent again later.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(self, ErrorCode::RateLimited | ErrorCode::Internal)
    }
}

/// What became of a replay that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// The missed events follow.
    Recovered,
    /// The position is of another epoch.
    EpochChanged,
    /// The position is older than what is kept.
    WindowExceeded,
    /// The position is none that was ever given.
    BadPosition,
}

impl Recovery {
    /// Why not, where not.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Recovery::Recovered => None,
            Recovery::EpochChanged => Some("epoch_changed"),
            Recovery::WindowExceeded => Some("window_exceeded"),
            Recovery::BadPosition => Some("bad_position"),
        }
    }
}

/// The frame of every reply but `pong` and `welcome`.
#[derive(Serialize)]
struct Reply<'a, D> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    data: D,
}

fn reply<D: Serialize>(kind: &'static str, id: Option<&str>, data: D) -> String {
    to_json(&Reply { r#type: kind, id: id.map(raw), data })
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and checked JSON are always JSON")
}

/// JSON text that was checked when it was read, or that the node itself wrote.
fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).expect("the caller hands over JSON text")
}

/// `error`. `extra` are further members of `data`: names and JSON texts.
#[must_use]
pub fn error(id: Option<&str>, code: ErrorCode, message: &str, extra: &[(&str, &str)]) -> String {
    #[derive(Serialize)]
    struct Data<'a> {
        code: &'static str,
        message: &'a str,
        retryable: bool,
        #[serde(flatten)]
        extra: BTreeMap<&'a str, &'a RawValue>,
    }
    let extra = extra.iter().map(|(name, json)| (*name, raw(json))).collect();
    reply("error", id, Data { code: code.as_str(), message, retryable: code.retryable(), extra })
}

/// `subscribed`. `recovery` where a replay was asked for; `last_event_id` is where the client
/// resumes from if it sees nothing more.
#[must_use]
pub fn subscribed(
    id: Option<&str>,
    namespaces: &[impl AsRef<str>],
    epoch: &str,
    last_event_id: &str,
    recovery: Option<Recovery>,
) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data<'a> {
        namespaces: Vec<&'a str>,
        epoch: &'a str,
        last_event_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
    }
    let recovered = recovery.map(|recovery| recovery == Recovery::Recovered);
    let reason = recovery.and_then(Recovery::reason);
    reply("subscribed", id, Data { namespaces: names(namespaces), epoch, last_event_id, recovered, reason })
}

/// `caught_up`: the replay is over, live events follow.
#[must_use]
pub fn caught_up(namespaces: &[impl AsRef<str>], replayed: u64) -> String {
    #[derive(Serialize)]
    struct Data<'a> {
        namespaces: Vec<&'a str>,
        replayed: u64,
    }
    reply("caught_up", None, Data { namespaces: names(namespaces), replayed })
}

/// `unsubscribed`.
#[must_use]
pub fn unsubscribed(id: Option<&str>, namespaces: &[impl AsRef<str>]) -> String {
    #[derive(Serialize)]
    struct Data<'a> {
        namespaces: Vec<&'a str>,
    }
    reply("unsubscribed", id, Data { namespaces: names(namespaces) })
}

fn names(namespaces: &[impl AsRef<str>]) -> Vec<&str> {
    namespaces.iter().map(AsRef::as_ref).collect()
}

/// `pong`, with the node's time in ms since the epoch.
#[must_use]
pub fn pong(id: Option<&str>, timestamp: u64) -> String {
    #[derive(Serialize)]
    struct Pong<'a> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RawValue>,
        timestamp: u64,
    }
    to_json(&Pong { r#type: "pong", id: id.map(raw), timestamp })
}

/// `presence`.
#[must_use]
pub fn presence(id: Option<&str>, customers_online: u64) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        customers_online: u64,
    }
    reply("presence", id, Data { customers_online })
}

/// `published`.
#[must_use]
pub fn published(id: Option<&str>, event_id: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data<'a> {
        event_id: &'a str,
    }
    reply("published", id, Data { event_id })
}

/// `session_expiring`, with the end of the session in ms since the epoch.
#[must_use]
pub fn session_expiring(expires_at: u64) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        expires_at: u64,
    }
    reply("session_expiring", None, Data { expires_at })
}

/// `closing`: the close code and reason that follow, whether to come back, and after how long.
#[must_use]
pub fn closing(code: u16, reason: &str, retry: bool, retry_after_ms: u64) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data<'a> {
        code: u16,
        reason: &'a str,
        retry: bool,
        retry_after_ms: u64,
    }
    reply("closing", None, Data { code, reason, retry, retry_after_ms })
}

/// The answer to an accepted `auth`: a `system:notification` that has no position.
#[derive(Debug, Clone, Copy)]
pub struct Welcome<'a, N> {
    /// The `id` of the `auth`, told as `replyTo`.
    pub reply_to: Option<&'a str>,
    /// Now, in ms since the epoch.
    pub timestamp: u64,
    /// Which connection this is.
    pub connection_id: &'a str,
    /// Who the client is.
    pub user_id: &'a str,
    /// As what.
    pub role: &'a str,
    /// What that role may subscribe to.
    pub namespaces: &'a [N],
    /// When the session ends, in ms since the epoch.
    pub expires_at: u64,
    /// The epoch of the positions.
    pub epoch: &'a str,
    /// The id of the last event.
    pub last_event_id: &'a str,
}

/// See [`Welcome`].
#[must_use]
pub fn welcome<N: AsRef<str>>(welcome: &Welcome<'_, N>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Event<'a> {
        r#type: &'static str,
        namespace: &'static str,
        data: Data<'a>,
        timestamp: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_to: Option<&'a RawValue>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Data<'a> {
        title: &'static str,
        message: &'static str,
        severity: &'static str,
        connection_id: &'a str,
        user_id: &'a str,
        role: &'a str,
        namespaces: Vec<&'a str>,
        expires_at: u64,
        epoch: &'a str,
        last_event_id: &'a str,
    }
    to_json(&Event {
        r#type: "system:notification",
        namespace: "system",
        data: Data {
            // The type of the event asks for one.
            title: "Connected",
            message: "Authentication successful",
            severity: "success",
            connection_id: welcome.connection_id,
            user_id: welcome.user_id,
            role: welcome.role,
            namespaces: names(welcome.namespaces),
            expires_at: welcome.expires_at,
            epoch: welcome.epoch,
            last_event_id: welcome.last_event_id,
        },
        timestamp: welcome.timestamp,
        reply_to: welcome.reply_to.map(raw),
    })
}

#[cfg(test)]
mod tests;
