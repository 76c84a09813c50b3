//! What every connection of a node is told at birth. Immutable after start.

use ipnet::IpNet;

use crate::base::permits::Rate;
use crate::policy::{Gate, Policy, Rules};
use crate::wire::origin::Origins;

/// Bytes of one message before `auth` is accepted: a token fits, an attack does not pay.
pub const GREETING_MESSAGE_BYTES: usize = 4096;

/// How long a session's end is announced ahead.
pub const EXPIRY_NOTICE_MS: u64 = 60_000;

/// How long a peer may take to answer a close frame, or to read an HTTP answer, before its
/// socket is dropped. A courtesy, not a promise: nothing is lost by it.
pub const CLOSE_TIMEOUT_MS: u64 = 2_000;

/// Everything that a connection must know of its node.
#[derive(Debug)]
pub struct Config {
    /// Roles, namespaces, event types.
    pub policy: Policy,
    /// Who is believed.
    pub gate: Gate,
    /// Which web pages may connect.
    pub origins: Origins,
    /// Proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Name of this node's log of events: positions compare only within one epoch.
    pub epoch: Box<str>,
    /// The body of `GET /api/ws/info` after its first member, `status`; ends with the brace.
    pub info: Box<str>,
    /// How published payloads are checked.
    pub rules: Rules,
    /// Accept to end of head.
    pub head_timeout_ms: u64,
    /// Upgrade to accepted auth.
    pub auth_timeout_ms: u64,
    /// Between two pings to one connection.
    pub ping_interval_ms: u64,
    /// Ping to pong.
    pub pong_timeout_ms: u64,
    /// Text messages, pings and empty fragments a connection may send.
    pub message_rate: Rate,
    /// Refusals by `message_rate` within a minute that end the connection.
    pub rate_abuse: u32,
    /// Bytes of one message after auth.
    pub message_bytes_max: usize,
    /// Compression is agreed to where a client offers it; events of that many bytes and more are compressed.
    /// `None`: it never is.
    pub deflate_min_bytes: Option<usize>,
    /// From the beginning of one pass over the connections to that of the next, at least.
    pub batch_window_ms: u64,
    /// Unsent bytes of one connection.
    pub backlog_bytes_max: usize,
    /// Entities one connection may ask for.
    pub keys_max: usize,
    /// Over this time a drain is spread.
    pub drain_timeout_ms: u64,
}

impl Config {
    /// The body of `GET /api/ws/info`.
    #[must_use]
    pub fn info_body(&self, draining: bool) -> String {
        let status = if draining { "draining" } else { "ok" };
        format!(r#"{{"status":"{status}",{}"#, self.info)
    }
}

#[cfg(test)]
impl Config {
    /// What the defaults of the settings come to, in trusted mode.
    pub(crate) fn sample() -> Config {
        Config {
            policy: Policy::builtin(),
            gate: Gate::Trusted,
            origins: Origins::parse("").expect("an empty list is a list"),
            trusted_proxies: Vec::new(),
            epoch: "epoch".into(),
            info: "}".into(),
            rules: Rules { validate: true, max_event_bytes: 256 << 10 },
            head_timeout_ms: 10_000,
            auth_timeout_ms: 10_000,
            ping_interval_ms: 30_000,
            pong_timeout_ms: 5_000,
            message_rate: Rate::per_minute(100),
            rate_abuse: 20,
            message_bytes_max: 64 << 10,
            deflate_min_bytes: None,
            batch_window_ms: 0,
            backlog_bytes_max: 1 << 20,
            keys_max: 1_024,
            drain_timeout_ms: 10_000,
        }
    }
}
