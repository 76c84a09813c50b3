//! Settings into what the rooms want: policy, gate, origins, and the one page about the node.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::base::permits::Rate;
use crate::conn::config::{Config, GREETING_MESSAGE_BYTES};
use crate::node::settings::Settings;
use crate::policy::{Gate, Policy, Rules};
use crate::wire::origin::Origins;

/// Where a client connects.
pub const PATH: &str = "/api/ws";

/// What every connection is told at birth, or one sentence why the node cannot start with these
/// settings.
///
/// # Errors
/// The sentence.
pub fn config(settings: &Settings, epoch: &str) -> Result<Config, String> {
    let policy = policy(settings.policy.as_deref())?;
    let jwks = match &settings.jwks {
        None => None,
        Some(path) => Some(read("WS_JWKS", path)?),
    };
    let gate = Gate::keys(settings.jwt_secret.as_deref(), jwks.as_deref())
        .map_err(|fault| format!("WS_JWT_SECRET or WS_JWKS: {fault}"))?;
    let origins =
        Origins::parse(&settings.allowed_origins).map_err(|fault| format!("ALLOWED_ORIGINS: {fault}"))?;
    if let Some(dir) = settings.journal.as_deref().filter(|path| path.exists() && !path.is_dir()) {
        return Err(format!("WS_JOURNAL={}: it is no directory", dir.display()));
    }
    let info = info(settings, &policy, &gate);
    Ok(Config {
        policy,
        gate,
        origins,
        trusted_proxies: settings.trusted_proxies.clone(),
        epoch: epoch.into(),
        info: info.into(),
        rules: Rules { validate: settings.validate, max_event_bytes: settings.max_event_bytes },
        head_timeout_ms: settings.head_timeout_ms,
        auth_timeout_ms: settings.auth_timeout_ms,
        ping_interval_ms: settings.ping_interval_ms,
        pong_timeout_ms: settings.pong_timeout_ms,
        message_rate: Rate::per_minute(settings.rate_limit),
        rate_abuse: settings.rate_abuse,
        message_bytes_max: settings.max_message_bytes,
        deflate_min_bytes: settings.compression.then_some(settings.compression_threshold_bytes),
        batch_window_ms: settings.batch_window_ms,
        backlog_bytes_max: settings.max_backlog_bytes,
        keys_max: settings.max_keys,
        drain_timeout_ms: settings.drain_timeout_ms,
    })
}

/// The policy of a file, or the built-in one. Refusals name the setting, the file and the place in it.
fn policy(path: Option<&Path>) -> Result<Policy, String> {
    let Some(path) = path else { return Ok(Policy::builtin()) };
    let text = read("WS_POLICY", path)?;
    Policy::parse(&text).map_err(|fault| format!("WS_POLICY is \"{}\": {fault}", path.display()))
}

/// The text of the file that a setting names.
///
/// # Errors
/// One sentence.
pub fn read(setting: &str, path: &Path) -> Result<String, String> {
    fs::read_to_string(path)
        .map_err(|e| format!("{setting} is \"{}\" and can't be read: {e}", path.display()))
}

/// The body of `info` but for its first member, `status`, which changes.
fn info(settings: &Settings, policy: &Policy, gate: &Gate) -> String {
    let namespaces: serde_json::Map<_, _> = policy
        .namespaces()
        .map(|n| {
            let types: Vec<&str> = policy.events_of(n).map(|t| policy.event_name(t)).collect();
            (policy.namespace_name(n).to_owned(), json!(types))
        })
        .collect();
    let fields = match gate {
        Gate::Trusted => json!(["userId", "role", "sessionId", "expiresAt"]),
        Gate::Keys(_) => json!(["token"]),
    };
    let page = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "path": PATH,
        "namespaces": namespaces,
        "roles": policy.roles().map(|r| policy.role_name(r)).collect::<Vec<_>>(),
        "auth": { "mode": gate.mode(), "fields": fields, "timeoutMs": settings.auth_timeout_ms },
        "heartbeat": {
            "pingIntervalMs": settings.ping_interval_ms,
            "pongTimeoutMs": settings.pong_timeout_ms,
        },
        "limits": {
            "maxConnections": settings.max_connections,
            "maxConnectionsPerAddress": settings.max_connections_per_ip,
            "connectsPerMinutePerAddress": settings.connect_rate_per_ip,
            "messagesPerMinute": settings.rate_limit,
            "maxMessageBytes": settings.max_message_bytes,
            "maxMessageBytesBeforeAuth": GREETING_MESSAGE_BYTES.min(settings.max_message_bytes),
            "maxBacklogBytes": settings.max_backlog_bytes,
            "maxKeys": settings.max_keys,
            "maxEventBytes": settings.max_event_bytes,
            "historyEvents": settings.history_events,
        },
    });
    let text = page.to_string();
    text.strip_prefix('{').map(str::to_owned).unwrap_or(text)
}
