//! From what was given (flags, then environment, then the default) to typed values.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::Secret;
use super::table::{MAX_SOCKET_PATH_BYTES, Setting, Takes};

/// Longest part of a refused value that a refusal repeats, in characters.
const MAX_SHOWN_CHARS: usize = 60;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Flag => "flag",
            Source::Environment => "environment",
            Source::Default => "default",
        })
    }
}

/// Why a node does not start with these settings. Displays as one sentence that names the setting, the value
/// (escaped, shortened, never a secret's) and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError(String);

impl SettingError {
    /// A refusal that no single value explains.
    pub(super) fn conflict(sentence: String) -> SettingError {
        SettingError(sentence)
    }

    /// A variable whose value is not UTF-8.
    #[must_use]
    pub fn not_text(setting: &Setting) -> SettingError {
        let allowed = setting.allowed();
        SettingError(format!("{} (environment) is not valid UTF-8: allowed is {allowed}", setting.name))
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingError {}

/// `text` between quotes, without control characters, and not longer than a line.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

/// What was given for one setting.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub setting: &'static Setting,
    pub source: Source,
    pub text: String,
}

/// All that was given.
pub(super) struct Given<'a, E> {
    pub flags: &'a [(&'static str, String)],
    pub env: E,
}

impl<E: Fn(&str) -> Option<String>> Given<'_, E> {
    /// The value of a setting as text: its flag, else its variable, else its default.
    pub fn value(&self, setting: &'static Setting) -> Value {
        let flag = self.flags.iter().rev().find(|(name, _)| *name == setting.name);
        if let Some((_, text)) = flag {
            return Value { setting, source: Source::Flag, text: text.clone() };
        }
        match (self.env)(setting.name) {
            Some(text) => Value { setting, source: Source::Environment, text },
            None => Value { setting, source: Source::Default, text: setting.default.into() },
        }
    }

    /// The value by name, refused where it was given as nothing at all: an empty `WS_JWT_SECRET` is a secret
    /// that failed to arrive, not the wish to run without one.
    fn named(&self, name: &str) -> Result<Value, SettingError> {
        let setting = Setting::named(name).expect("every setting that is read stands in the table");
        let value = self.value(setting);
        if value.source != Source::Default && value.text.is_empty() && !setting.takes_empty() {
            return Err(value.refused());
        }
        Ok(value)
    }

    /// Like `named`, and `None` where only a default is there.
    fn optional(&self, name: &str) -> Result<Option<Value>, SettingError> {
        Ok(Some(self.named(name)?).filter(|value| value.source != Source::Default))
    }

    pub fn text(&self, name: &str) -> Result<String, SettingError> {
        Ok(self.named(name)?.text)
    }

    pub fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<T, SettingError> {
        self.named(name)?.number()
    }

    pub fn number_if_given<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, SettingError> {
        self.optional(name)?.map(|value| value.number()).transpose()
    }

    pub fn switch(&self, name: &str) -> Result<bool, SettingError> {
        let value = self.named(name)?;
        match value.text.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Ok(true),
            "off" | "false" | "no" | "0" => Ok(false),
            _ => Err(value.refused()),
        }
    }

    pub fn host(&self, name: &str) -> Result<IpAddr, SettingError> {
        let value = self.named(name)?;
        if value.text.eq_ignore_ascii_case("localhost") {
            return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let bare = value.text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&value.text);
        bare.parse().map_err(|_| value.refused())
    }

    pub fn address(&self, name: &str) -> Result<Option<SocketAddr>, SettingError> {
        let parse = |value: Value| value.text.parse().map_err(|_| value.refused());
        self.optional(name)?.map(parse).transpose()
    }

    pub fn networks(&self, name: &str) -> Result<Vec<IpNet>, SettingError> {
        let value = self.named(name)?;
        let mut networks = Vec::new();
        for item in value.text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if item.eq_ignore_ascii_case("loopback") {
                networks.extend(
                    ["127.0.0.0/8", "::1/128"].map(|n| n.parse::<IpNet>().expect("a literal network")),
                );
            } else if let Ok(network) = item.parse::<IpNet>() {
                networks.push(network.trunc());
            } else if let Ok(address) = item.parse::<IpAddr>() {
                networks.push(address.into());
            } else {
                return Err(value.refused());
            }
        }
        Ok(networks)
    }

    pub fn file(&self, name: &str) -> Result<Option<PathBuf>, SettingError> {
        Ok(self.optional(name)?.map(|value| value.text.into()))
    }

    pub fn socket_path(&self, name: &str) -> Result<Option<PathBuf>, SettingError> {
        match self.optional(name)? {
            Some(value) if value.text.len() > MAX_SOCKET_PATH_BYTES => Err(value.refused()),
            value => Ok(value.map(|value| value.text.into())),
        }
    }

    pub fn secret(&self, name: &str) -> Result<Option<Secret>, SettingError> {
        let Some(value) = self.optional(name)? else { return Ok(None) };
        let good = match value.setting.takes {
            Takes::Secret(min) => value.text.len() >= min,
            _ => value.text.bytes().all(|b| b.is_ascii_graphic()),
        };
        if good { Ok(Some(Secret::new(value.text))) } else { Err(value.refused()) }
    }

    pub fn log_filter(&self, name: &str) -> Result<String, SettingError> {
        let value = self.named(name)?;
        match EnvFilter::try_new(&value.text) {
            Ok(_) => Ok(value.text),
            Err(_) => Err(value.refused()),
        }
    }

    /// The index of the word that was given.
    pub fn word(&self, name: &str) -> Result<usize, SettingError> {
        let value = self.named(name)?;
        let Takes::Word(words) = value.setting.takes else { return Err(value.refused()) };
        words.iter().position(|word| *word == value.text).ok_or_else(|| value.refused())
    }
}

impl Value {
    fn number<T: TryFrom<u64>>(&self) -> Result<T, SettingError> {
        let Takes::Number(min, max) = self.setting.takes else { return Err(self.refused()) };
        // `parse` alone would take "+5"; one spelling of a number is enough.
        let digits = self.text.bytes().all(|b| b.is_ascii_digit());
        let number = self.text.parse::<u64>().ok().filter(|n| digits && (min..=max).contains(n));
        number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| self.refused())
    }

    fn refused(&self) -> SettingError {
        let Setting { name, flag, .. } = self.setting;
        let source = match self.source {
            Source::Flag => format!("flag --{flag}"),
            source => source.to_string(),
        };
        let is = match self.text.len() {
            0 => "is empty".into(),
            bytes if self.setting.is_secret() => match self.setting.takes {
                Takes::Secret(_) => format!("has {bytes} bytes"),
                _ => "has characters that a header cannot carry".into(),
            },
            _ => format!("is {}", quoted(&self.text)),
        };
        let hint = self.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        SettingError(format!("{name} ({source}) {is}: allowed is {}{hint}", self.setting.allowed()))
    }

    /// What somebody who wrote a unit behind the number should have written.
    fn hint(&self) -> Option<String> {
        let split = self.text.find(|c: char| !c.is_ascii_digit())?;
        let (digits, suffix) = self.text.split_at(split);
        let number: u64 = digits.parse().ok()?;
        let suffix = suffix.trim().to_ascii_lowercase();
        let (what, factor) = match (self.setting.unit, suffix.as_str()) {
            ("ms", "ms") => ("durations are in milliseconds", 1),
            ("ms", "s" | "sec") => ("durations are in milliseconds", 1000),
            ("ms", "m" | "min") => ("durations are in milliseconds", 60_000),
            ("ms", "h") => ("durations are in milliseconds", 3_600_000),
            ("bytes", "b") => ("sizes are in bytes", 1),
            ("bytes", "k" | "kb" | "kib") => ("sizes are in bytes", 1 << 10),
            ("bytes", "m" | "mb" | "mib") => ("sizes are in bytes", 1 << 20),
            ("bytes", "g" | "gb" | "gib") => ("sizes are in bytes", 1 << 30),
            _ => return None,
        };
        Some(format!("{what}: write {}", number.checked_mul(factor)?))
    }
}
