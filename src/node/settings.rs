//! The settings of a node: one struct, read from flags and environment by one table.
//!
//! Reading is pure (the environment is an argument) and refuses rather than corrects: whoever starts a node with a bad
//! value learns it before anything is bound. Secrets show in no text that comes from here.

mod read;
mod sockets;
mod table;
mod unknown;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::journal::options::SyncPolicy;

pub use read::{SettingError, Source};
pub use sockets::{default_control_socket, find_control_socket};
pub use table::{MAX_SOCKET_PATH_BYTES, MIN_JWT_SECRET_BYTES, SETTINGS, Setting, Takes};
pub use unknown::unknown_variables;

use read::Given;

/// Text that `Debug` does not show. Reads as a `str`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }
}

impl Deref for Secret {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything a node can be told. Each field is the setting of its name in [`SETTINGS`], which also holds unit, range
/// and default; durations end in `_ms`, sizes in `_bytes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `WS_HOST`; `localhost` has become 127.0.0.1.
    pub host: IpAddr,
    /// `WS_PORT`; 0 is any free port.
    pub port: u16,
    /// `WS_SHARDS`, at least 1.
    pub shards: usize,
    /// `ALLOWED_ORIGINS` as given.
    pub allowed_origins: String,
    /// `WS_TRUSTED_PROXIES`, without host bits.
    pub trusted_proxies: Vec<IpNet>,
    /// `WS_JWT_SECRET`, at least [`MIN_JWT_SECRET_BYTES`] long.
    pub jwt_secret: Option<Secret>,
    /// `WS_JWKS`; not opened yet.
    pub jwks: Option<PathBuf>,
    /// `WS_TRUST_CLIENTS`.
    pub trust_clients: bool,
    /// `WS_POLICY`; not opened yet. `None` is the built-in policy.
    pub policy: Option<PathBuf>,
    /// `WS_VALIDATE`.
    pub validate: bool,
    /// `WS_MAX_CONNECTIONS`.
    pub max_connections: usize,
    /// `WS_MAX_CONNECTIONS_PER_IP`.
    pub max_connections_per_ip: u32,
    /// `WS_CONNECT_RATE_PER_IP`, a minute.
    pub connect_rate_per_ip: u32,
    /// `WS_HEAD_TIMEOUT`.
    pub head_timeout_ms: u64,
    /// `WS_AUTH_TIMEOUT`.
    pub auth_timeout_ms: u64,
    /// `WS_PING_INTERVAL`.
    pub ping_interval_ms: u64,
    /// `WS_PONG_TIMEOUT`.
    pub pong_timeout_ms: u64,
    /// `WS_RATE_LIMIT`, messages a minute.
    pub rate_limit: u32,
    /// `WS_RATE_ABUSE`, refusals a minute.
    pub rate_abuse: u32,
    /// `WS_MAX_MESSAGE_SIZE`.
    pub max_message_bytes: usize,
    /// `WS_COMPRESSION`.
    pub compression: bool,
    /// `WS_COMPRESSION_THRESHOLD`.
    pub compression_threshold_bytes: usize,
    /// `WS_BATCH_WINDOW`.
    pub batch_window_ms: u64,
    /// `WS_MAX_BACKLOG`.
    pub max_backlog_bytes: usize,
    /// `WS_MAX_KEYS`.
    pub max_keys: usize,
    /// `WS_PRESENCE_GRACE`.
    pub presence_grace_ms: u64,
    /// `WS_HISTORY_EVENTS`.
    pub history_events: usize,
    /// `WS_HISTORY_BYTES`.
    pub history_bytes: usize,
    /// `WS_IDEMPOTENCY_WINDOW`.
    pub idempotency_window_ms: u64,
    /// `WS_JOURNAL`; not opened yet.
    pub journal: Option<PathBuf>,
    /// `WS_JOURNAL_SYNC` and, for `interval`, `WS_JOURNAL_INTERVAL`.
    pub journal_sync: SyncPolicy,
    /// `WS_JOURNAL_MAX_BYTES`.
    pub journal_max_bytes: u64,
    /// `WS_JOURNAL_MAX_AGE`.
    pub journal_max_age_ms: u64,
    /// `WS_JOURNAL_SEGMENT`; what holds is [`Settings::journal_segment_that_holds`].
    pub journal_segment_bytes: u64,
    /// `WS_MAX_BODY`.
    pub max_body_bytes: usize,
    /// `WS_MAX_EVENT_SIZE`.
    pub max_event_bytes: usize,
    /// `WS_CONTROL_SOCKET`; `None` is [`default_control_socket`].
    pub control_socket: Option<PathBuf>,
    /// `WS_CONTROL_ADDR`; only ever there together with a token.
    pub control_addr: Option<SocketAddr>,
    /// `WS_CONTROL_TOKEN`.
    pub control_token: Option<Secret>,
    /// `WS_DRAIN_TIMEOUT`.
    pub drain_timeout_ms: u64,
    /// `WS_TLS_CERT`; not opened yet. There only together with the key.
    pub tls_cert: Option<PathBuf>,
    /// `WS_TLS_KEY`; not opened yet.
    pub tls_key: Option<PathBuf>,
    /// `WS_LOG`, a filter that was parsed once and is good.
    pub log: String,
    /// `WS_LOG_FORMAT`.
    pub log_format: LogFormat,
}

/// One line of what [`Settings::listing`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name of the setting.
    pub name: &'static str,
    /// Its value as given, escaped; a mask for a secret.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

impl Settings {
    /// Reads all settings: a flag wins over a variable, a variable over the default. `flags` are pairs of a setting's
    /// name (`WS_PORT`) and its value.
    ///
    /// # Errors
    /// [`SettingError`] for the first value that is not allowed, or for values that do not go together.
    pub fn load(
        flags: &[(&'static str, String)],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Settings, SettingError> {
        let given = Given { flags, env };
        let settings = Settings {
            host: given.host("WS_HOST")?,
            port: given.number("WS_PORT")?,
            shards: given.number_if_given("WS_SHARDS")?.unwrap_or_else(cores),
            allowed_origins: given.text("ALLOWED_ORIGINS")?,
            trusted_proxies: given.networks("WS_TRUSTED_PROXIES")?,
            jwt_secret: given.secret("WS_JWT_SECRET")?,
            jwks: given.file("WS_JWKS")?,
            trust_clients: given.switch("WS_TRUST_CLIENTS")?,
            policy: given.file("WS_POLICY")?,
            validate: given.switch("WS_VALIDATE")?,
            max_connections: given.number("WS_MAX_CONNECTIONS")?,
            max_connections_per_ip: given.number("WS_MAX_CONNECTIONS_PER_IP")?,
            connect_rate_per_ip: given.number("WS_CONNECT_RATE_PER_IP")?,
            head_timeout_ms: given.number("WS_HEAD_TIMEOUT")?,
            auth_timeout_ms: given.number("WS_AUTH_TIMEOUT")?,
            ping_interval_ms: given.number("WS_PING_INTERVAL")?,
            pong_timeout_ms: given.number("WS_PONG_TIMEOUT")?,
            rate_limit: given.number("WS_RATE_LIMIT")?,
            rate_abuse: given.number("WS_RATE_ABUSE")?,
            max_message_bytes: given.number("WS_MAX_MESSAGE_SIZE")?,
            compression: given.switch("WS_COMPRESSION")?,
            compression_threshold_bytes: given.number("WS_COMPRESSION_THRESHOLD")?,
            batch_window_ms: given.number("WS_BATCH_WINDOW")?,
            max_backlog_bytes: given.number("WS_MAX_BACKLOG")?,
            max_keys: given.number("WS_MAX_KEYS")?,
            presence_grace_ms: given.number("WS_PRESENCE_GRACE")?,
            history_events: given.number("WS_HISTORY_EVENTS")?,
            history_bytes: given.number("WS_HISTORY_BYTES")?,
            idempotency_window_ms: given.number("WS_IDEMPOTENCY_WINDOW")?,
            journal: given.file("WS_JOURNAL")?,
            journal_sync: match given.word("WS_JOURNAL_SYNC")? {
                0 => SyncPolicy::Always,
                1 => SyncPolicy::Interval { ms: given.number("WS_JOURNAL_INTERVAL")? },
                _ => SyncPolicy::Never,
            },
            journal_max_bytes: given.number("WS_JOURNAL_MAX_BYTES")?,
            journal_max_age_ms: given.number("WS_JOURNAL_MAX_AGE")?,
            journal_segment_bytes: given.number("WS_JOURNAL_SEGMENT")?,
            max_body_bytes: given.number("WS_MAX_BODY")?,
            max_event_bytes: given.number("WS_MAX_EVENT_SIZE")?,
            control_socket: given.socket_path("WS_CONTROL_SOCKET")?,
            control_addr: given.address("WS_CONTROL_ADDR")?,
            control_token: given.secret("WS_CONTROL_TOKEN")?,
            drain_timeout_ms: given.number("WS_DRAIN_TIMEOUT")?,
            tls_cert: given.file("WS_TLS_CERT")?,
            tls_key: given.file("WS_TLS_KEY")?,
            log: given.log_filter("WS_LOG")?,
            log_format: [LogFormat::Text, LogFormat::Json][given.word("WS_LOG_FORMAT")?],
        };
        settings.check_together()?;
        Ok(settings)
    }

    /// Whether the node believes the plain identity of its clients: it does while no key is configured.
    #[must_use]
    pub fn is_trusted_mode(&self) -> bool {
        self.jwt_secret.is_none() && self.jwks.is_none()
    }

    /// Bytes of a file of the log: a quarter of all at most, since it goes by whole files.
    #[must_use]
    pub fn journal_segment_that_holds(&self) -> u64 {
        self.journal_segment_bytes.min(self.journal_max_bytes / 4)
    }

    /// Whether the public listener speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Every setting with the value that holds and where it comes from, in the order of the table, secrets masked.
    #[must_use]
    pub fn listing(flags: &[(&'static str, String)], env: impl Fn(&str) -> Option<String>) -> Vec<Listed> {
        let given = Given { flags, env };
        let listed = |setting: &'static Setting| {
            let value = given.value(setting);
            let hidden = setting.is_secret() && value.source != Source::Default;
            let shown = if hidden { "(set)".into() } else { value.text.escape_debug().to_string() };
            Listed { name: setting.name, value: shown, source: value.source }
        };
        SETTINGS.iter().map(listed).collect()
    }

    /// What no single value shows.
    fn check_together(&self) -> Result<(), SettingError> {
        if let Some(address) = self.control_addr
            && self.control_token.is_none()
        {
            return Err(SettingError::conflict(format!(
                "WS_CONTROL_ADDR is {address} and WS_CONTROL_TOKEN is not set: allowed is an address only with a token"
            )));
        }
        for (set, other, one_is_missing) in [
            ("WS_TLS_CERT", "WS_TLS_KEY", self.tls_cert.is_some() && self.tls_key.is_none()),
            ("WS_TLS_KEY", "WS_TLS_CERT", self.tls_key.is_some() && self.tls_cert.is_none()),
        ] {
            if one_is_missing {
                return Err(SettingError::conflict(format!(
                    "{set} is set and {other} is not: allowed are both, for TLS, or neither"
                )));
            }
        }
        if self.is_trusted_mode() && !self.host.to_canonical().is_loopback() && !self.trust_clients {
            return Err(SettingError::conflict(format!(
                "WS_HOST is {} and no key is set, so anybody could claim any identity: allowed is a loopback address, or a key \
                 (WS_JWT_SECRET, WS_JWKS), or WS_TRUST_CLIENTS=on (--trust-clients) to trust every client",
                self.host
            )));
        }
        Ok(())
    }
}

/// One shard per core; a machine that will not say how many it has gets one.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&'static str, &str)], env: &[(&str, &str)]) -> Result<Settings, String> {
        let flags: Vec<_> = flags.iter().map(|(name, value)| (*name, (*value).to_string())).collect();
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_string());
        Settings::load(&flags, env).map_err(|e| e.to_string())
    }

    fn numbers(s: &Settings) -> Vec<(&'static str, u64)> {
        vec![
            ("WS_PORT", s.port.into()),
            ("WS_SHARDS", s.shards as u64),
            ("WS_MAX_CONNECTIONS", s.max_connections as u64),
            ("WS_MAX_CONNECTIONS_PER_IP", s.max_connections_per_ip.into()),
            ("WS_CONNECT_RATE_PER_IP", s.connect_rate_per_ip.into()),
            ("WS_HEAD_TIMEOUT", s.head_timeout_ms),
            ("WS_AUTH_TIMEOUT", s.auth_timeout_ms),
            ("WS_PING_INTERVAL", s.ping_interval_ms),
            ("WS_PONG_TIMEOUT", s.pong_timeout_ms),
            ("WS_RATE_LIMIT", s.rate_limit.into()),
            ("WS_RATE_ABUSE", s.rate_abuse.into()),
            ("WS_MAX_MESSAGE_SIZE", s.max_message_bytes as u64),
            ("WS_COMPRESSION_THRESHOLD", s.compression_threshold_bytes as u64),
            ("WS_BATCH_WINDOW", s.batch_window_ms),
            ("WS_MAX_BACKLOG", s.max_backlog_bytes as u64),
            ("WS_MAX_KEYS", s.max_keys as u64),
            ("WS_PRESENCE_GRACE", s.presence_grace_ms),
            ("WS_HISTORY_EVENTS", s.history_events as u64),
            ("WS_HISTORY_BYTES", s.history_bytes as u64),
            ("WS_IDEMPOTENCY_WINDOW", s.idempotency_window_ms),
            ("WS_DRAIN_TIMEOUT", s.drain_timeout_ms),
            ("WS_JOURNAL_INTERVAL", interval_ms(s)),
            ("WS_JOURNAL_MAX_BYTES", s.journal_max_bytes),
            ("WS_JOURNAL_MAX_AGE", s.journal_max_age_ms),
            ("WS_JOURNAL_SEGMENT", s.journal_segment_bytes),
            ("WS_MAX_BODY", s.max_body_bytes as u64),
            ("WS_MAX_EVENT_SIZE", s.max_event_bytes as u64),
        ]
    }

    fn interval_ms(settings: &Settings) -> u64 {
        let SyncPolicy::Interval { ms } = settings.journal_sync else { panic!("not the default") };
        ms
    }

    fn number(settings: &Settings, name: &str) -> u64 {
        numbers(settings).into_iter().find(|(n, _)| *n == name).expect("a number that the table has").1
    }

    /// The contract's defaults, written out a second time on purpose.
    #[test]
    fn defaults_are_those_of_the_contract() {
        let s = load(&[], &[]).unwrap();
        let expected = [
            3001,
            cores() as u64,
            10_000,
            200,
            300,
            10_000,
            10_000,
            30_000,
            5000,
            100,
            20,
            65_536,
            1024,
            0,
            1_048_576,
            1024,
            5000,
            65_536,
            67_108_864,
            600_000,
            10_000,
            200,
            1_073_741_824,
            604_800_000,
            67_108_864,
            8_388_608,
            262_144,
        ];
        assert_eq!(numbers(&s).into_iter().map(|(_, n)| n).collect::<Vec<_>>(), expected);
        assert_eq!((s.host.to_string().as_str(), s.allowed_origins.as_str()), ("127.0.0.1", ""));
        assert_eq!(s.trusted_proxies, ["127.0.0.0/8", "::1/128"].map(|n| n.parse::<IpNet>().unwrap()));
        assert!(s.validate && !s.trust_clients && s.is_trusted_mode());
        assert_eq!((s.jwt_secret, s.jwks, s.policy), (None, None, None));
        assert_eq!((s.control_socket, s.control_addr, s.control_token), (None, None, None));
        assert_eq!((s.log.as_str(), s.log_format), ("info", LogFormat::Text));
        assert_eq!(s.journal, None);
        assert_eq!((s.tls_cert, s.tls_key), (None, None));
    }

    #[test]
    fn every_number_keeps_its_range_and_a_flag_wins() {
        let mut seen = 0;
        for setting in SETTINGS {
            let Takes::Number(min, max) = setting.takes else { continue };
            seen += 1;
            let (name, low, high) = (setting.name, min.to_string(), max.to_string());
            assert_eq!(number(&load(&[], &[(name, &low)]).unwrap(), name), min, "{name}");
            assert_eq!(number(&load(&[], &[(name, &high)]).unwrap(), name), max, "{name}");
            assert_eq!(number(&load(&[(name, &high)], &[(name, &low)]).unwrap(), name), max, "{name}");
            assert_eq!(number(&load(&[(name, &high)], &[(name, "junk")]).unwrap(), name), max, "{name}");
            let below = min.checked_sub(1).map_or("-1".into(), |n| n.to_string());
            let above = (max + 1).to_string();
            for bad in [&below, &above, "junk", "", "+1", " 1", "1e3", "0x10", "١", "99999999999999999999999"]
            {
                let shown = if bad.is_empty() { "is empty".into() } else { format!("is \"{bad}\"") };
                let from_env = load(&[], &[(name, bad)]).unwrap_err();
                let from_flag = load(&[(name, bad)], &[]).unwrap_err();
                for part in [name, "(environment)", &shown, &low, &high] {
                    assert!(from_env.contains(part), "{part} in {from_env}");
                }
                assert!(from_flag.contains(&format!("{name} (flag --{})", setting.flag)), "{from_flag}");
            }
        }
        assert_eq!(seen, numbers(&load(&[], &[]).unwrap()).len());
    }

    #[test]
    fn values_that_are_no_numbers() {
        let trust = ("WS_TRUST_CLIENTS", "on");
        for (text, host) in
            [("0.0.0.0", "0.0.0.0"), ("::", "::"), ("[::1]", "::1"), ("LocalHost", "127.0.0.1")]
        {
            assert_eq!(load(&[], &[trust, ("WS_HOST", text)]).unwrap().host.to_string(), host);
        }
        for (text, on) in [("on", true), ("OFF", false), ("true", true), ("0", false)] {
            assert_eq!(load(&[], &[("WS_VALIDATE", text)]).unwrap().validate, on);
        }
        for (text, networks) in [
            ("", vec![]),
            ("10.1.2.3/8, ::1", vec!["10.0.0.0/8", "::1/128"]),
            ("loopback,192.0.2.7", vec!["127.0.0.0/8", "::1/128", "192.0.2.7/32"]),
        ] {
            let found = load(&[], &[("WS_TRUSTED_PROXIES", text)]).unwrap().trusted_proxies;
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), networks);
        }
        let s = load(
            &[("WS_LOG_FORMAT", "json"), ("WS_POLICY", "/p.json")],
            &[
                ("WS_LOG", "warn,omnicast=debug"),
                ("WS_CONTROL_ADDR", "[::1]:9"),
                ("WS_CONTROL_TOKEN", "t"),
                ("WS_CONTROL_SOCKET", "/c.sock"),
                ("WS_JWKS", "/k.json"),
                ("ALLOWED_ORIGINS", "*"),
            ],
        )
        .unwrap();
        assert_eq!(
            (s.log.as_str(), s.log_format, s.allowed_origins.as_str()),
            ("warn,omnicast=debug", LogFormat::Json, "*")
        );
        for (word, sync) in [
            ("always", SyncPolicy::Always),
            ("interval", SyncPolicy::Interval { ms: 7 }),
            ("never", SyncPolicy::Never),
        ] {
            let given = [("WS_JOURNAL", "/j"), ("WS_JOURNAL_SYNC", word), ("WS_JOURNAL_INTERVAL", "7")];
            let s = load(&[], &given).unwrap();
            assert_eq!((s.journal, s.journal_sync), (Some("/j".into()), sync));
        }
        assert_eq!(s.policy, Some("/p.json".into()));
        assert_eq!((s.control_addr.unwrap().port(), s.control_token.as_deref()), (9, Some("t")));
        assert_eq!((s.control_socket, s.jwks.clone()), (Some("/c.sock".into()), Some("/k.json".into())));
    }

    #[test]
    fn refusals_name_setting_value_and_what_is_allowed() {
        let long = "x".repeat(108);
        let table: &[(&[(&str, &str)], &str)] = &[
            (
                &[("WS_HOST", "example.com")],
                r#"WS_HOST (environment) is "example.com": allowed is an IP address or localhost"#,
            ),
            (&[("WS_VALIDATE", "maybe")], r#"WS_VALIDATE (environment) is "maybe": allowed is on or off"#),
            (&[("WS_TRUSTED_PROXIES", "10.0.0.0/40")], "10.0.0.0/40\": allowed is networks or addresses"),
            (&[("WS_CONTROL_ADDR", "localhost:1")], "allowed is an IP address and a port"),
            (&[("WS_LOG_FORMAT", "xml")], r#"is "xml": allowed is text or json"#),
            (&[("WS_JOURNAL_SYNC", "often")], r#"is "often": allowed is always or interval or never"#),
            (&[("WS_JOURNAL", "")], "WS_JOURNAL (environment) is empty: allowed is the path of a directory"),
            (
                &[("WS_LOG", "omnicast=loud")],
                "WS_LOG (environment) is \"omnicast=loud\": allowed is a filter",
            ),
            (&[("WS_POLICY", "")], "WS_POLICY (environment) is empty"),
            (&[("WS_CONTROL_SOCKET", &long)], "allowed is a path of 1 to 107 bytes"),
            (&[("WS_JWT_SECRET", "")], "WS_JWT_SECRET (environment) is empty: allowed is at least 32 bytes"),
            (
                &[("WS_JWT_SECRET", "0123456789012345678901234567890")],
                "has 31 bytes: allowed is at least 32 bytes",
            ),
            (
                &[("WS_CONTROL_TOKEN", "a b")],
                "WS_CONTROL_TOKEN (environment) has characters that a header cannot carry",
            ),
            (
                &[("WS_CONTROL_ADDR", "127.0.0.1:1")],
                "WS_CONTROL_ADDR is 127.0.0.1:1 and WS_CONTROL_TOKEN is not set",
            ),
            (&[("WS_TLS_CERT", "/c.pem")], "WS_TLS_CERT is set and WS_TLS_KEY is not"),
            (&[("WS_TLS_KEY", "/k.pem")], "WS_TLS_KEY is set and WS_TLS_CERT is not"),
            (&[("WS_HOST", "0.0.0.0")], "WS_HOST is 0.0.0.0 and no key is set"),
            (&[("WS_HOST", "::ffff:10.0.0.1")], "no key is set"),
            (&[("WS_PING_INTERVAL", "30s")], "(durations are in milliseconds: write 30000)"),
            (&[("WS_MAX_BACKLOG", "1 MiB")], "(sizes are in bytes: write 1048576)"),
            (&[("WS_PORT", "a\r\n\u{1b}[31m")], r#""a\r\n\u{1b}[31m""#),
        ];
        for (env, part) in table {
            let refusal = load(&[], env).unwrap_err();
            assert!(refusal.contains(part), "{refusal}");
            assert_eq!(refusal.lines().count(), 1);
        }
        assert!(load(&[], &[("WS_PORT", &"9".repeat(1_000_000))]).unwrap_err().len() < 200);
    }

    #[test]
    fn a_key_or_a_decision_opens_the_node() {
        let key = "0123456789abcdef0123456789abcdef";
        for extra in [("WS_JWT_SECRET", key), ("WS_JWKS", "/keys.json"), ("WS_TRUST_CLIENTS", "on")] {
            assert!(load(&[], &[("WS_HOST", "0.0.0.0"), extra]).is_ok(), "{extra:?}");
        }
        assert!(load(&[], &[("WS_HOST", "::ffff:127.0.0.1")]).is_ok());
    }

    #[test]
    fn secrets_are_never_shown() {
        let (key, token) = ("0123456789abcdef0123456789abcdef", "hush-hush");
        let pairs = [("WS_JWT_SECRET", key), ("WS_CONTROL_TOKEN", token)];
        let debug = format!("{:?}", load(&[], &pairs).unwrap());
        let env = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string());
        let listing = format!("{:?}", Settings::listing(&[], env));
        let refusal = load(&[], &[("WS_JWT_SECRET", "short-secret")]).unwrap_err();
        for text in [&debug, &listing, &refusal] {
            assert!(![key, token, "short-secret"].iter().any(|secret| text.contains(secret)), "{text}");
        }
    }

    #[test]
    fn the_listing_says_what_holds_and_why() {
        let env = |name: &str| (name == "WS_PORT" || name == "WS_SHARDS").then(|| "7".to_string());
        let listing = Settings::listing(&[("WS_PORT", "8".into())], env);
        let line = |name| listing.iter().find(|listed| listed.name == name).expect("every setting is listed");
        assert_eq!((line("WS_PORT").value.as_str(), line("WS_PORT").source), ("8", Source::Flag));
        assert_eq!((line("WS_SHARDS").value.as_str(), line("WS_SHARDS").source), ("7", Source::Environment));
        assert_eq!((line("WS_LOG").value.as_str(), line("WS_LOG").source), ("info", Source::Default));
        assert_eq!(listing.len(), SETTINGS.len());
    }
}
