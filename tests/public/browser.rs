//! The browser snippet of the design, run by another implementation of the protocol: `ws` of npm.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::{Node, order};

/// The directory of the client, with its packages installed as its lock file says.
fn client_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ws-client");
        if !dir.join("node_modules/ws/package.json").exists() {
            let npm = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&dir).output();
            let npm = npm.expect("npm is installed");
            assert!(npm.status.success(), "npm ci: {}", String::from_utf8_lossy(&npm.stderr));
        }
        dir
    })
}

#[test]
fn the_browser_snippet_of_the_design_sees_an_order() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Command::new("node")
            .arg("run.mjs")
            .arg(format!("ws://{}/api/ws", node.address))
            .current_dir(client_dir())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is installed");
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        let welcome = next();
        assert_eq!(welcome["type"], "system:notification");
        assert_eq!(welcome["data"]["message"], "Authentication successful");
        assert_eq!(welcome["data"]["userId"], "test_user");
        let subscribed = next();
        assert_eq!(
            (&subscribed["type"], &subscribed["data"]["namespaces"]),
            (&json!("subscribed"), &json!(["orders"]))
        );
        let ids = node.post(&order("order_\u{1f4e6}", "cust_1"));
        let event = next();
        assert_eq!((&event["type"], &event["id"]), (&json!("order:created"), &json!(ids[0])));
        assert_eq!(event["data"], order("order_\u{1f4e6}", "cust_1")["data"]);
        assert_eq!(next(), json!({"type": "closed", "code": 1000, "clean": true}));
        assert!(client.wait().unwrap().success());
    }
}
