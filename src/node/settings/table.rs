//! Every setting of a node, once. Flags, environment names, `--help`, refusals and the
//! operator's page of limits are all read from this table.

/// One setting: an environment variable and a flag of the same meaning.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable, `WS_PORT`.
    pub name: &'static str,
    /// The flag without its dashes, `port`.
    pub flag: &'static str,
    /// The heading under which `--help` and the documentation list it.
    pub group: &'static str,
    /// What a number counts: `ms`, `bytes`, or a plural noun. Empty where there is no number.
    pub unit: &'static str,
    /// What holds when it is not given, as it would be typed, or in words where it cannot be typed.
    pub default: &'static str,
    /// The shape of its value.
    pub takes: Takes,
    /// What one value of it governs: the node, an address, a connection, a request.
    pub scope: &'static str,
    /// What it does, one clause.
    pub help: &'static str,
}

/// What a setting accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A whole number in this range, both ends included.
    Number(u64, u64),
    /// On or off.
    Switch,
    /// An IP address, or `localhost`.
    Host,
    /// An IP address with a port.
    Address,
    /// Networks, comma-separated; may be empty.
    Networks,
    /// Origins, comma-separated; may be empty. Their syntax is checked where they are compiled.
    Origins,
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A Unix socket.
    SocketPath,
    /// A secret of at least so many bytes. Its value is never shown.
    Secret(usize),
    /// A secret that travels in a header. Its value is never shown.
    BearerToken,
    /// A filter of log lines.
    LogFilter,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// Longest path of a Unix socket: `sun_path` has 108 bytes, the last one is a NUL.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Shortest HS256 secret: a key shorter than its hash is the weakest link (RFC 7518 section 3.2).
pub const MIN_JWT_SECRET_BYTES: usize = 32;

impl Setting {
    /// The setting of that environment name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// What is allowed, in words that end a sentence.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self.takes {
            Takes::Number(min, max) if self.unit.is_empty() => format!("a whole number, {min} to {max}"),
            Takes::Number(min, max) => format!("a whole number of {}, {min} to {max}", self.unit),
            Takes::Switch => "on or off".into(),
            Takes::Host => "an IP address or localhost".into(),
            Takes::Address => "an IP address and a port, such as 127.0.0.1:3002".into(),
            Takes::Networks => {
                "networks or addresses separated by commas, such as 10.0.0.0/8, or loopback".into()
            }
            Takes::Origins => "origins separated by commas, such as https://shop.example, or *".into(),
            Takes::File => "the path of a file".into(),
            Takes::Directory => "the path of a directory".into(),
            Takes::SocketPath => format!("a path of 1 to {MAX_SOCKET_PATH_BYTES} bytes"),
            Takes::Secret(min) => format!("at least {min} bytes"),
            Takes::BearerToken => "printable ASCII without spaces".into(),
            Takes::LogFilter => "a filter such as info or omnicast=debug".into(),
            Takes::Word(words) => words.join(" or "),
        }
    }

    /// Whether its value must never be shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self.takes, Takes::Secret(_) | Takes::BearerToken)
    }

    /// Whether nothing at all is a value of it.
    #[must_use]
    pub fn takes_empty(&self) -> bool {
        matches!(self.takes, Takes::Networks | Takes::Origins)
    }

    /// The placeholder of its value in `--help`.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        match self.takes {
            Takes::Number(..) if self.unit == "ms" => "MS",
            Takes::Number(..) if self.unit == "bytes" => "BYTES",
            Takes::Number(..) => "N",
            Takes::Switch => "on|off",
            Takes::Host => "IP",
            Takes::Address => "IP:PORT",
            Takes::Networks | Takes::Origins => "LIST",
            Takes::File | Takes::Directory | Takes::SocketPath => "PATH",
            Takes::Secret(_) | Takes::BearerToken => "SECRET",
            Takes::LogFilter => "FILTER",
            Takes::Word(_) => "WORD",
        }
    }
}

/// Rows of `name flag takes, unit, default, scope, help;` under their group.
macro_rules! settings {
    ($($group:literal { $($name:literal $flag:literal $takes:expr, $unit:literal, $default:literal, $scope:literal,
        $help:literal;)* })*) => {
        &[$($(Setting {
            name: $name, flag: $flag, group: $group, unit: $unit, default: $default, takes: $takes,
            scope: $scope, help: $help,
        },)*)*]
    };
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Upper end of plain counts: beyond it a number is a typing error, not a wish.
const MILLION: u64 = 1_000_000;

use Takes::{
    Address, BearerToken, Directory, File, Host, LogFilter, Networks, Number, Origins, Secret, SocketPath,
    Switch, Word,
};

/// All settings, in the order in which they are told. Ranges start where a node still works: timeouts of
/// 10 ms are of use to tests only, but they do what they say.
pub const SETTINGS: &[Setting] = settings! {
    "Listening" {
        "WS_HOST" "host" Host, "", "127.0.0.1", "node",
            "address that clients connect to";
        "WS_PORT" "port" Number(0, 65_535), "", "3001", "node",
            "port that clients connect to; 0 takes any free one and prints it";
        "WS_SHARDS" "shards" Number(1, 1024), "threads", "cores", "node",
            "threads that hold connections";
        "ALLOWED_ORIGINS" "allowed-origins" Origins, "", "", "node",
            "origins whose pages may connect; * is any, empty is the request's own host (and loopback pages in trusted mode)";
        "WS_TRUSTED_PROXIES" "trusted-proxies" Networks, "", "loopback", "node",
            "networks whose X-Forwarded-For counts; replaces the default, empty trusts nobody";
        "WS_TLS_CERT" "tls-cert" File, "", "none", "node",
            "certificate chain in PEM, the node's own first; with it and its key the public listener speaks TLS only; read again at SIGHUP";
        "WS_TLS_KEY" "tls-key" File, "", "none", "node",
            "private key of that certificate in PEM, without a passphrase; read again at SIGHUP";
    }
    "Identity" {
        "WS_JWT_SECRET" "jwt-secret" Secret(MIN_JWT_SECRET_BYTES), "", "none", "node",
            "HS256 secret, raw text; with a key only tokens count, without one the node trusts what clients say (prefer the variable: flags are visible to other users)";
        "WS_JWKS" "jwks" File, "", "none", "node",
            "file with the public keys of tokens (JWKS)";
        "WS_TRUST_CLIENTS" "trust-clients" Switch, "", "off", "node",
            "without a key, listen beyond loopback all the same: anybody may then claim any identity";
        "WS_POLICY" "policy" File, "", "built in", "node",
            "file that says who may see and publish what";
        "WS_VALIDATE" "validate" Switch, "", "on", "node",
            "refuse events whose payload has not the shape of its type";
    }
    "Admission" {
        "WS_MAX_CONNECTIONS" "max-connections" Number(1, MILLION), "connections", "10000", "node",
            "connections at a time; beyond them 503";
        "WS_MAX_CONNECTIONS_PER_IP" "max-connections-per-ip" Number(1, MILLION), "connections", "200", "address",
            "connections of one IPv4 address or IPv6 /64 at a time; beyond them 429";
        "WS_CONNECT_RATE_PER_IP" "connect-rate-per-ip" Number(1, MILLION), "connections a minute", "300", "address",
            "new connections of one IPv4 address or IPv6 /64; beyond them 429";
        "WS_HEAD_TIMEOUT" "head-timeout" Number(10, HOUR_MS), "ms", "10000", "connection",
            "from accept to the end of the request head, then 408";
        "WS_AUTH_TIMEOUT" "auth-timeout" Number(10, HOUR_MS), "ms", "10000", "connection",
            "from the upgrade to an accepted auth, then 4001";
    }
    "Connections" {
        "WS_PING_INTERVAL" "ping-interval" Number(10, HOUR_MS), "ms", "30000", "connection",
            "how often a client is pinged";
        "WS_PONG_TIMEOUT" "pong-timeout" Number(10, HOUR_MS), "ms", "5000", "connection",
            "how long its pong may take, then 4201";
        "WS_RATE_LIMIT" "rate-limit" Number(1, MILLION), "messages a minute", "100", "connection",
            "messages of a client (token bucket of that size), then rate_limited";
        "WS_RATE_ABUSE" "rate-abuse" Number(1, 10_000), "refusals a minute", "20", "connection",
            "the refusal within a minute that closes with 4102";
        "WS_MAX_MESSAGE_SIZE" "max-message-size" Number(KIB, 16 * MIB), "bytes", "65536", "connection",
            "longest message of a client, at most 4096 before auth; beyond it 1009";
        "WS_COMPRESSION" "compression" Switch, "", "off", "node",
            "compress long events for clients that offer permessage-deflate, and take compressed messages of theirs";
        "WS_COMPRESSION_THRESHOLD" "compression-threshold" Number(0, 16 * MIB), "bytes", "1024", "event",
            "shorter events go out as they are";
        "WS_BATCH_WINDOW" "batch-window" Number(0, 1_000), "ms", "0", "event",
            "after an event has gone out, those of the next so many ms wait and go out together; 0 is never";
        "WS_MAX_BACKLOG" "max-backlog" Number(4 * KIB, GIB), "bytes", "1048576", "connection",
            "unsent bytes kept for a slow client, then 4103";
        "WS_MAX_KEYS" "max-keys" Number(1, 16_384), "keys", "1024", "connection",
            "entity keys that a client may ask for; a subscribe beyond them is bad_message";
        "WS_PRESENCE_GRACE" "presence-grace" Number(0, HOUR_MS), "ms", "5000", "user",
            "how long a customer without a connection still counts as online; 0 is not at all";
    }
    "Events" {
        "WS_HISTORY_EVENTS" "history-events" Number(1, 1 << 24), "events", "65536", "node",
            "events kept in memory for clients that come back";
        "WS_HISTORY_BYTES" "history-bytes" Number(1, 1024 * GIB), "bytes", "67108864", "node",
            "bytes kept in memory for clients that come back; whichever is reached first";
        "WS_IDEMPOTENCY_WINDOW" "idempotency-window" Number(0, DAY_MS), "ms", "600000", "node",
            "how long an idempotencyKey is remembered; 0 is for one request only";
        "WS_MAX_BODY" "max-body" Number(KIB, GIB), "bytes", "8388608", "request",
            "longest body of a post; beyond it 413";
        "WS_MAX_EVENT_SIZE" "max-event-size" Number(256, 16 * MIB), "bytes", "262144", "event",
            "longest event in a post; beyond it 413";
    }
    "Journal" {
        "WS_JOURNAL" "journal" Directory, "", "none", "node",
            "directory of the log of events on disk; without one events are kept in memory only";
        "WS_JOURNAL_SYNC" "journal-sync" Word(&["always", "interval", "never"]), "", "interval", "node",
            "when the log is forced to the disk: before a post is answered, within WS_JOURNAL_INTERVAL, or when the system likes";
        "WS_JOURNAL_INTERVAL" "journal-interval" Number(1, HOUR_MS), "ms", "200", "node",
            "with interval: events of so long at most can be lost when the power fails";
        "WS_JOURNAL_MAX_BYTES" "journal-max-bytes" Number(MIB, 1024 * GIB), "bytes", "1073741824", "node",
            "size of the log; beyond it the oldest segment goes";
        "WS_JOURNAL_MAX_AGE" "journal-max-age" Number(1_000, 3_650 * DAY_MS), "ms", "604800000", "node",
            "age of events in the log; a segment goes when its last event is older";
        "WS_JOURNAL_SEGMENT" "journal-segment" Number(64 * KIB, GIB), "bytes", "67108864", "node",
            "size at which a new file of the log is begun; at most a quarter of the log";
    }
    "Operating" {
        "WS_CONTROL_SOCKET" "control-socket" SocketPath, "", "in the run-time directory of the user or service", "node",
            "Unix socket for backend services and operators, mode 0660";
        "WS_CONTROL_ADDR" "control-addr" Address, "", "none", "node",
            "TCP address for backend services and operators; needs a token";
        "WS_CONTROL_TOKEN" "control-token" BearerToken, "", "none", "node",
            "bearer token that the TCP address asks for (prefer the variable)";
        "WS_DRAIN_TIMEOUT" "drain-timeout" Number(0, HOUR_MS), "ms", "10000", "node",
            "how long a stop may take; with 0 everybody is told and closed at once";
        "WS_LOG" "log" LogFilter, "", "info", "node",
            "which log lines are written";
        "WS_LOG_FORMAT" "log-format" Word(&["text", "json"]), "", "text", "node",
            "shape of a log line";
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_follow_from_names_and_nothing_is_listed_twice() {
        for (i, setting) in SETTINGS.iter().enumerate() {
            let derived = setting.name.trim_start_matches("WS_").to_lowercase().replace('_', "-");
            assert_eq!(setting.flag, derived);
            assert!(SETTINGS[..i].iter().all(|other| other.name != setting.name), "{}", setting.name);
            assert!(!setting.help.is_empty() && !setting.scope.is_empty());
        }
    }

    #[test]
    fn defaults_that_are_numbers_lie_in_their_range() {
        for setting in SETTINGS {
            if let Takes::Number(min, max) = setting.takes
                && setting.name != "WS_SHARDS"
            {
                let default: u64 = setting.default.parse().expect("a default that can be typed");
                assert!((min..=max).contains(&default), "{}", setting.name);
            }
        }
    }
}
