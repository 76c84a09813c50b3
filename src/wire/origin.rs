//! Which web pages may connect: the `Origin` of a request against the allowed ones (RFC 6454).
//!
//! Hosts are compared label by label, never as text: `evil-shop.example` and
//! `shop.example.evil.com` are not `shop.example`. Whatever does not parse is not admitted.
//! Internationalised hosts come in their ASCII form, as browsers send them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a host at most (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// The allowed origins, as set by the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    scheme: String,
    /// The host, or what stands behind `*.`.
    host: String,
    /// Whether only hosts below `host` match.
    below: bool,
    port: Option<u16>,
}

/// An origin taken apart; the port is that of the scheme where none is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Site<'a> {
    scheme: &'a str,
    host: Host<'a>,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
enum Host<'a> {
    Name(&'a str),
    V6(Ipv6Addr),
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (Host::V6(a), Host::V6(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

impl Origins {
    /// Reads a comma-separated list. Entries: `https://shop.example`, with `:port` where it is not
    /// the scheme's own; `https://*.shop.example` for one or more whole labels in front, but not
    /// `shop.example` itself; `*` for any origin. An empty list is the request's own host.
    ///
    /// # Errors
    /// A sentence that names the entry and says what is allowed.
    pub fn parse(list: &str) -> Result<Origins, String> {
        let mut origins = Origins::default();
        if list.trim().is_empty() {
            return Ok(origins);
        }
        for entry in list.split(',').map(str::trim) {
            if entry == "*" {
                origins.any = true;
            } else {
                origins.entries.push(Entry::parse(entry).ok_or_else(|| {
                    format!(
                        "{entry:?} is not an origin: allowed are *, scheme://host, scheme://host:port and \
                         scheme://*.host, without a path or a slash at the end"
                    )
                })?);
            }
        }
        Ok(origins)
    }

    /// Whether a request of that `Origin` may connect, or read what the public endpoints answer.
    ///
    /// `host` is the request's `Host`. `null` is never admitted, not even by `*`. Where the list
    /// is empty: the request's own host, whatever the scheme (a proxy may end TLS), and with
    /// `trusted_mode` every loopback host on every port.
    #[must_use]
    pub fn admits(&self, origin: &[u8], host: Option<&[u8]>, trusted_mode: bool) -> bool {
        let Some(site) = std::str::from_utf8(origin).ok().and_then(Site::parse) else { return false };
        if self.any || self.entries.iter().any(|entry| entry.matches(&site)) {
            return true;
        }
        self.entries.is_empty()
            && matches!(default_port(site.scheme), Some(80 | 443))
            && (is_own_host(&site, host) || (trusted_mode && is_loopback(&site.host)))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Entry> {
        let (scheme, rest) = text.split_once("://")?;
        let (below, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let plain = format!("{scheme}://{rest}");
        let site = Site::parse(&plain)?;
        let host = match site.host {
            Host::V6(_) if below => return None,
            Host::Name(name) if below && name.parse::<Ipv4Addr>().is_ok() => return None,
            Host::V6(address) => format!("[{address}]"),
            Host::Name(name) => name.to_owned(),
        };
        Some(Entry { scheme: scheme.to_owned(), host, below, port: site.port })
    }

    fn matches(&self, site: &Site<'_>) -> bool {
        if !self.scheme.eq_ignore_ascii_case(site.scheme) || self.port != site.port {
            return false;
        }
        match site.host {
            Host::Name(name) if self.below => is_below(name, &self.host),
            _ => !self.below && parse_host(&self.host) == Some(site.host),
        }
    }
}

impl<'a> Site<'a> {
    fn parse(text: &'a str) -> Option<Site<'a>> {
        let (scheme, authority) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        if !letters.next()?.is_ascii_alphabetic()
            || !letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        {
            return None;
        }
        let (host, port) = parse_authority(authority)?;
        Some(Site { scheme, host, port: port.or(default_port(scheme)) })
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
    }
}

/// `host` or `host:port`, without user information.
fn parse_authority(text: &str) -> Option<(Host<'_>, Option<u16>)> {
    let end = text.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match text[end..].find(':') {
        Some(colon) => (&text[..end + colon], Some(parse_port(&text[end + colon + 1..])?)),
        None => (text, None),
    };
    Some((parse_host(host)?, port))
}

fn parse_port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?.filter(|port| *port != 0)
}

/// A name of whole labels, or an IPv6 address in brackets. No dot at the end.
fn parse_host(text: &str) -> Option<Host<'_>> {
    if let Some(address) = text.strip_prefix('[') {
        return address.strip_suffix(']')?.parse().ok().map(Host::V6);
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label)).then_some(Host::Name(text))
}

/// Whether `name` has at least one whole label in front of `parent`.
fn is_below(name: &str, parent: &str) -> bool {
    let mut labels = name.rsplit('.');
    parent.rsplit('.').all(|label| labels.next().is_some_and(|own| own.eq_ignore_ascii_case(label)))
        && labels.next().is_some()
}

/// A `Host` without a port means the port of the origin's scheme.
fn is_own_host(site: &Site<'_>, host: Option<&[u8]>) -> bool {
    let own = host.and_then(|host| std::str::from_utf8(host).ok()).and_then(parse_authority);
    own.is_some_and(|(name, port)| name == site.host && port.or(default_port(site.scheme)) == site.port)
}

fn is_loopback(host: &Host<'_>) -> bool {
    match host {
        Host::V6(address) => address.is_loopback(),
        Host::Name(name) => match name.parse::<Ipv4Addr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => name.eq_ignore_ascii_case("localhost") || is_below(name, "localhost"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(list: &str, origin: &str, host: Option<&str>, trusted_mode: bool) -> bool {
        Origins::parse(list).unwrap().admits(origin.as_bytes(), host.map(str::as_bytes), trusted_mode)
    }

    #[test]
    fn a_list_admits_what_it_names() {
        let list = " https://shop.example, http://127.0.0.1:8080,https://*.wild.example ,http://[::1],app://localhost";
        for (origin, expected) in [
            ("https://shop.example", true),
            ("HTTPS://Shop.Example", true),
            ("https://shop.example:443", true),
            ("https://shop.example:8443", false),
            ("http://shop.example", false),
            ("http://shop.example:443", false),
            ("https://shop.example.evil.com", false),
            ("https://evil-shop.example", false),
            ("https://evil.shop.example", false),
            ("https://shop.example.", false),
            ("https://shop.example/", false),
            ("https://shop.example?x", false),
            ("https://user@shop.example", false),
            ("https://evil.com:80@shop.example", false),
            ("https://shop.example https://shop.example", false),
            ("https://shop.example:", false),
            ("https://shop.example:+443", false),
            ("https://shop.example:0443", true),
            ("https://shop.example:65979", false),
            ("https://", false),
            ("shop.example", false),
            ("null", false),
            ("", false),
            ("http://127.0.0.1:8080", true),
            ("http://127.0.0.1", false),
            ("https://a.wild.example", true),
            ("https://a.b.WILD.example", true),
            ("https://wild.example", false),
            ("https://awild.example", false),
            ("https://a.wild.example.evil.com", false),
            ("https://.wild.example", false),
            ("http://[::1]", true),
            ("http://[0:0::1]:80", true),
            ("http://[::2]", false),
            ("http://[::1", false),
            ("http://[::1]x", false),
            ("app://localhost", true),
            ("app://localhost:1", false),
        ] {
            assert_eq!(admits(list, origin, Some("shop.example"), true), expected, "{origin}");
        }
        // A list replaces the request's own host and the loopback.
        assert!(!admits(list, "http://own.example", Some("own.example"), true));
        assert!(!admits(list, "http://localhost:3000", None, true));
        assert!(!Origins::default().admits(b"https://sh\xffop", None, true));
    }

    #[test]
    fn any_is_any_origin_that_is_one() {
        for (origin, expected) in
            [("https://a.example", true), ("app://x", true), ("null", false), ("https://a/b", false)]
        {
            assert_eq!(admits("*", origin, None, false), expected, "{origin}");
        }
    }

    #[test]
    fn an_empty_list_is_the_own_host() {
        for (origin, host, expected) in [
            ("https://shop.example", "shop.example", true),
            ("http://shop.example", "SHOP.example", true),
            ("http://shop.example", "shop.example:80", true),
            ("https://shop.example", "shop.example:443", true),
            ("https://shop.example", "shop.example:80", false),
            ("http://shop.example:3001", "shop.example:3001", true),
            ("http://shop.example:3000", "shop.example:3001", false),
            ("http://shop.example:3001", "shop.example", false),
            ("http://evil.example", "shop.example", false),
            ("http://[::1]:9", "[::1]:9", true),
            ("http://shop.example", "user@shop.example", false),
            ("app://shop.example", "shop.example", false),
            ("null", "null", false),
        ] {
            assert_eq!(admits("", origin, Some(host), false), expected, "{origin} at {host}");
        }
        assert!(!admits("", "http://shop.example", None, false));
    }

    #[test]
    fn trusted_mode_adds_the_loopback() {
        for (origin, expected) in [
            ("http://localhost:3000", true),
            ("https://LOCALHOST", true),
            ("http://app.localhost:5173", true),
            ("http://127.0.0.1:3000", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:3000", true),
            ("http://localhost.evil.com", false),
            ("http://evillocalhost", false),
            ("http://127.0.0.1.evil.com", false),
            ("http://128.0.0.1", false),
            ("http://[::2]", false),
        ] {
            assert_eq!(admits("  ", origin, Some("127.0.0.1:3001"), true), expected, "{origin}");
            assert!(!admits("", origin, Some("127.0.0.1:3001"), false), "{origin}");
        }
    }

    #[test]
    fn a_bad_entry_is_named() {
        for entry in [
            "https://shop.example/",
            "https://shop.example/a",
            "shop.example",
            "null",
            "https://a b",
            "https://*",
            "https://*shop.example",
            "https://a.*.example",
            "https://*.*.example",
            "https://*.127.0.0.1",
            "https://*.[::1]",
            "https://shop.example:99999",
            "https://shop.example:*",
            "https://shop.example:0",
            "https://user:a@shop.example",
            "://shop.example",
        ] {
            let fault = Origins::parse(&format!("https://fine.example,{entry}")).unwrap_err();
            assert!(fault.contains(&format!("{entry:?}")), "{fault}");
        }
        assert!(Origins::parse("https://a.example,").unwrap_err().contains("\"\""));
    }
}
