//! Where the node is: its URL, and a TCP connection to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use tungstenite::http::Uri;

use crate::cli::output;
use crate::node::settings::Settings;

/// How long a connect or an upgrade may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A TCP connection to the first address of `host` that answers.
///
/// # Errors
/// Those of the last address that was tried.
pub fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Where a node on this machine listens, by the same settings that it reads.
pub fn default_url(env: impl Fn(&str) -> Option<String>) -> String {
    let (host, port, is_tls) = match Settings::load(&[], env) {
        Ok(settings) if settings.port != 0 => (settings.host, settings.port, settings.is_tls()),
        _ => (IpAddr::V4(Ipv4Addr::LOCALHOST), 3001, false),
    };
    // "Any address" is for listening; this machine is one of them.
    let host = match host {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    let scheme = if is_tls { "wss" } else { "ws" };
    format!("{scheme}://{}/api/ws", SocketAddr::new(host, port))
}

/// Host and port of a `ws` URL.
///
/// # Errors
/// One sentence that names the URL and what is allowed.
pub fn read_url(url: &str) -> Result<(String, u16), String> {
    let refused = |why: &str| format!("--url is \"{}\": {why}", output::printable(url));
    let uri: Uri = url.parse().map_err(|_| refused("allowed is a URL such as ws://127.0.0.1:3001/api/ws"))?;
    if uri.scheme_str() == Some("wss") {
        return Err(refused(
            "wss:// is not supported by this command; allowed is ws://, as behind a proxy that ends TLS",
        ));
    }
    if uri.scheme_str() != Some("ws") {
        return Err(refused("allowed is a URL that begins with ws://"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refused("credentials do not belong into a URL; use --token or WS_TOKEN"));
    }
    let host = uri.host().ok_or_else(|| refused("it names no host"))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((host.into(), uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        for (url, host, port) in
            [("ws://h:9/api/ws", "h", 9), ("ws://[::1]:3001/api/ws", "::1", 3001), ("ws://h/api/ws", "h", 80)]
        {
            assert_eq!(read_url(url), Ok((host.to_string(), port)));
        }
        for url in ["", "http://h/", "wss://h/", "h:9", "ws://u:p@h/", "ws:///x"] {
            assert!(read_url(url).unwrap_err().contains("--url"), "{url}");
        }
    }

    #[test]
    fn the_default_url_follows_the_settings_of_the_node() {
        let table: [(&[(&str, &str)], &str); 5] = [
            (&[("WS_TLS_CERT", "/c"), ("WS_TLS_KEY", "/k")], "wss://127.0.0.1:3001/api/ws"),
            (&[], "ws://127.0.0.1:3001/api/ws"),
            (&[("WS_PORT", "9")], "ws://127.0.0.1:9/api/ws"),
            (&[("WS_HOST", "::"), ("WS_TRUST_CLIENTS", "on")], "ws://[::1]:3001/api/ws"),
            (&[("WS_PORT", "junk")], "ws://127.0.0.1:3001/api/ws"),
        ];
        for (pairs, url) in table {
            let env = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string());
            assert_eq!(default_url(env), url);
        }
    }
}
