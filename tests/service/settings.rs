//! Settings that refuse to start, and those whose effect no other test shows.

use std::io::Write;

use serde_json::json;

use crate::support::{Client, Node, SECRET, omnicast, order};

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_bad_setting_ends_with_2_before_anything_is_bound() {
    let no_json = file("{ \"version\": 1, ");
    let policy = include_str!("../../src/policy/default.json");
    let typo = file(&policy.replacen("\"own\"", "\"mine\"", 1));
    let stranger =
        file(&policy.replacen("\"customer\": [\"customer:activity\"", "\"customer\": [\"customer:x\"", 1));
    let jwks = file("{}");
    let path = |f: &tempfile::NamedTempFile| f.path().to_str().unwrap().to_owned();
    let (no_json, typo, stranger, jwks) = (path(&no_json), path(&typo), path(&stranger), path(&jwks));
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let table: &[Row<'_>] = &[
        (&[("WS_PORT", "65536")], &["WS_PORT", "65536", "65535"]),
        (&[("WS_PORT", "http")], &["WS_PORT", "http"]),
        (&[("WS_SHARDS", "0")], &["WS_SHARDS", "0", "1024"]),
        (&[("WS_MAX_CONNECTIONS", "-1")], &["WS_MAX_CONNECTIONS", "-1"]),
        (&[("WS_PING_INTERVAL", "30s")], &["WS_PING_INTERVAL", "30s", "30000"]),
        (&[("WS_MAX_BODY", "8MiB")], &["WS_MAX_BODY", "8MiB"]),
        (&[("WS_VALIDATE", "perhaps")], &["WS_VALIDATE", "perhaps", "off"]),
        (&[("WS_HOST", "example.com")], &["WS_HOST", "example.com"]),
        (&[("WS_HOST", "0.0.0.0")], &["WS_HOST", "0.0.0.0", "WS_TRUST_CLIENTS"]),
        (&[("ALLOWED_ORIGINS", "shop.example")], &["ALLOWED_ORIGINS", "shop.example"]),
        (&[("ALLOWED_ORIGINS", "https://shop.example/path")], &["ALLOWED_ORIGINS", "shop.example/path"]),
        (&[("WS_TRUSTED_PROXIES", "10.0.0.0/33")], &["WS_TRUSTED_PROXIES", "10.0.0.0/33"]),
        (&[("WS_JWT_SECRET", "too short")], &["WS_JWT_SECRET", "9 bytes", "32"]),
        (&[("WS_JWKS", "/nowhere")], &["WS_JWKS", "/nowhere"]),
        (&[("WS_JWKS", &jwks)], &["WS_JWKS"]),
        (&[("WS_POLICY", "/nowhere")], &["WS_POLICY", "/nowhere"]),
        (&[("WS_POLICY", &no_json)], &["WS_POLICY", &no_json, "line"]),
        (&[("WS_POLICY", &typo)], &["WS_POLICY", &typo, "sees.customer.orders"]),
        (&[("WS_POLICY", &stranger)], &["WS_POLICY", &stranger, "customer:x"]),
        (&[("WS_CONTROL_ADDR", "somewhere")], &["WS_CONTROL_ADDR", "somewhere"]),
        (&[("WS_LOG", "omnicast=loud")], &["WS_LOG", "loud"]),
        (&[("WS_LOG_FORMAT", "xml")], &["WS_LOG_FORMAT", "xml", "json"]),
    ];
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    for (bad, told) in table {
        let mut settings = vec![("WS_PORT", "0"), ("WS_CONTROL_SOCKET", socket.to_str().unwrap())];
        settings.extend_from_slice(bad);
        for arguments in [&[][..], &["serve"], &["check"]] {
            let output = omnicast(arguments, &settings, "");
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{bad:?} {arguments:?}: {stderr}");
            assert!(output.stdout.is_empty(), "{bad:?} {arguments:?}");
            for part in *told {
                assert!(stderr.contains(part), "{part:?} in {stderr}");
            }
            assert!(!stderr.contains("too short"), "a secret is never shown: {stderr}");
            assert!(!socket.exists(), "{bad:?}: bound before it was refused");
        }
    }
}

#[test]
fn a_flag_wins_over_its_variable() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_omnicast"));
    command.args(["--shards", "3", "--max-keys=5"]);
    let node = Node::launch(command, &[("WS_SHARDS", "1"), ("WS_MAX_KEYS", "nonsense")]);
    assert_eq!(node.stats()["shards"], 3);
    assert_eq!(node.get("/api/ws/info").json()["limits"]["maxKeys"], 5);
}

#[test]
fn a_node_listens_where_it_is_told() {
    let node = Node::start(&[("WS_HOST", "127.0.0.2")]);
    assert_eq!(node.address.ip().to_string(), "127.0.0.2");
    assert!(std::net::TcpStream::connect(("127.0.0.1", node.address.port())).is_err());
    let node = Node::start(&[("WS_HOST", "0.0.0.0"), ("WS_TRUST_CLIENTS", "on")]);
    assert!(std::net::TcpStream::connect(("127.0.0.3", node.address.port())).is_ok());
    let node = Node::start(&[("WS_HOST", "0.0.0.0"), ("WS_JWT_SECRET", SECRET)]);
    assert!(!node.log().contains("TRUSTED MODE"));
    let node = Node::start(&[]);
    crate::support::wait_until("it warns", || node.log().contains("TRUSTED MODE"));
}

#[test]
fn a_policy_of_its_own_decides_who_sees_what() {
    let policy = include_str!("../../src/policy/default.json");
    let open =
        policy.replacen("\"guest\": { \"products\": \"all\" }", "\"guest\": { \"orders\": \"all\" }", 1);
    assert_ne!(policy, open);
    let file = file(&open);
    let node = Node::start(&[("WS_POLICY", file.path().to_str().unwrap())]);
    let mut guest = Client::connect(&node);
    assert_eq!(guest.auth("g", "guest")["data"]["namespaces"], json!(["orders"]));
    guest.send(&json!({"type": "subscribe", "data": {"namespace": "products"}}));
    assert_eq!(guest.expect_error().0, "forbidden_namespace");
    guest.subscribe(&["orders"]);
    node.post(&order("o", "c"));
    guest.expect("order:created");
}

#[test]
fn the_log_has_the_level_and_the_shape_that_were_asked_for() {
    let node = Node::start(&[("WS_LOG", "error")]);
    assert_eq!(node.log(), "");
    let node = Node::start(&[("WS_LOG", "debug"), ("WS_LOG_FORMAT", "json")]);
    drop(Client::connect(&node));
    crate::support::wait_until("the end is logged", || node.log().contains("peer_gone"));
    for line in node.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string());
    }
}

#[test]
fn a_setting_that_does_not_exist_is_pointed_out() {
    let node = Node::start(&[("WS_MAX_CONECTIONS", "5")]);
    assert!(node.log().contains("did you mean WS_MAX_CONNECTIONS"), "it says so before it starts");
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_program_without_tls_refuses_its_settings() {
    let file = file("");
    let path = file.path().to_str().unwrap();
    let settings = [("WS_PORT", "0"), ("WS_TLS_CERT", path), ("WS_TLS_KEY", path)];
    for arguments in [&[][..], &["check"]] {
        let output = omnicast(arguments, &settings, "");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("WS_TLS_CERT") && stderr.contains("built without TLS"), "{stderr}");
    }
}
