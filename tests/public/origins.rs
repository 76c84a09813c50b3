//! Which pages may connect.

use crate::support::{Client, Node};

/// Whether an upgrade with these `Origin` lines is accepted; else it must be a 403.
fn admits(node: &Node, host: Option<&str>, origins: &[&str]) -> bool {
    let lines: String = origins.iter().map(|origin| format!("Origin: {origin}\r\n")).collect();
    let outcome = match host {
        None => Client::connect_with(node, &lines).map(drop),
        Some(host) => {
            let request = Client::upgrade_request(node)
                .replace(&format!("Host: {}", node.address), &format!("Host: {host}"))
                .replace("\r\n\r\n", &format!("\r\n{lines}\r\n"));
            match node.public(&request) {
                response if response.status == 101 => Ok(()),
                response => Err(response),
            }
        }
    };
    match outcome {
        Ok(()) => true,
        Err(response) => {
            assert_eq!(
                (response.status, response.code().as_str()),
                (403, "origin_not_allowed"),
                "{origins:?}"
            );
            assert_eq!(response.header("access-control-allow-origin"), None);
            false
        }
    }
}

/// Never admitted, whatever is allowed.
const NEVER: [&[&str]; 9] = [
    &["null"],
    &[""],
    &["shop.example"],
    &["https://"],
    &["https://shop.example/"],
    &["https://user@shop.example"],
    &["https://shop.example:port"],
    &["https://shop.example", "https://shop.example"],
    &["https://shop.example https://shop.example"],
];

#[test]
fn who_sends_no_origin_is_no_browser_and_comes_in() {
    for origins in ["", "https://shop.example"] {
        let node = Node::start_with_key(&[("ALLOWED_ORIGINS", origins)]);
        assert!(admits(&node, None, &[]));
    }
}

#[test]
fn only_the_listed_origins_come_in_label_by_label() {
    let list = "https://shop.example, https://*.stores.example,http://dev.example:3000";
    let node = Node::start(&[("ALLOWED_ORIGINS", list)]);
    for origin in [
        "https://shop.example",
        "https://SHOP.example",
        "https://shop.example:443",
        "https://a.stores.example",
        "https://a.b.stores.example",
        "http://dev.example:3000",
    ] {
        assert!(admits(&node, None, &[origin]), "{origin}");
    }
    for origin in [
        "http://shop.example",
        "https://shop.example:8443",
        "https://evil-shop.example",
        "https://shop.example.evil.com",
        "https://xshop.example",
        "https://a.shop.example",
        "https://stores.example",
        "https://evilstores.example",
        "https://a.stores.example.evil.com",
        "http://dev.example",
        "http://localhost:3000",
        "file://",
    ] {
        assert!(!admits(&node, None, &[origin]), "{origin}");
    }
    for origins in NEVER {
        assert!(!admits(&node, None, origins), "{origins:?}");
    }
    let own = format!("http://{}", node.address);
    assert!(!admits(&node, None, &[&own]), "a list replaces the node's own host");
}

#[test]
fn a_star_lets_every_real_origin_in() {
    let node = Node::start(&[("ALLOWED_ORIGINS", "*")]);
    for origin in ["https://anything.example", "http://10.0.0.1:81", "http://[2001:db8::1]:8080"] {
        assert!(admits(&node, None, &[origin]), "{origin}");
    }
    for origins in NEVER {
        assert!(!admits(&node, None, origins), "{origins:?}");
    }
}

#[test]
fn without_a_list_the_own_host_comes_in() {
    let node = Node::start_with_key(&[]);
    for (host, origin, allowed) in [
        ("shop.example", "https://shop.example", true),
        ("shop.example", "http://shop.example", true),
        ("shop.example:8443", "https://shop.example:8443", true),
        ("shop.example:8443", "https://shop.example", false),
        ("shop.example", "https://shop.example.evil.com", false),
        ("shop.example", "https://evil-shop.example", false),
        ("shop.example", "http://localhost:3000", false),
        ("127.0.0.1:3001", "http://127.0.0.1:3000", false),
    ] {
        assert_eq!(admits(&node, Some(host), &[origin]), allowed, "{origin} at {host}");
    }
    for origins in NEVER {
        assert!(!admits(&node, Some("shop.example"), origins), "{origins:?}");
    }
}

#[test]
fn in_trusted_mode_every_loopback_page_comes_in() {
    let node = Node::start(&[]);
    for (origin, allowed) in [
        ("http://localhost:3000", true),
        ("https://localhost", true),
        ("http://127.0.0.1:5173", true),
        ("http://127.9.9.9", true),
        ("http://[::1]:3000", true),
        ("http://app.localhost:3000", true),
        ("http://localhost.evil.com", false),
        ("http://evil-localhost", false),
        ("http://127.0.0.1.evil.com", false),
        ("http://10.0.0.1", false),
        ("https://shop.example", false),
    ] {
        assert_eq!(admits(&node, None, &[origin]), allowed, "{origin}");
    }
    for origins in NEVER {
        assert!(!admits(&node, None, origins), "{origins:?}");
    }
}
