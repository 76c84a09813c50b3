//! The command line against a real node.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::support::{Client, Node, PATIENCE, SECRET, omnicast, order, wait_until};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command that finds `node` by its control socket.
fn run(node: &Node, arguments: &[&str], stdin: &str) -> Output {
    omnicast(arguments, &[("WS_CONTROL_SOCKET", node.control.to_str().unwrap())], stdin)
}

#[test]
fn emit_posts_what_its_arguments_say() {
    let node = Node::start(&[]);
    let mut admin = Client::live(&node, "boss", "admin", &["products"]);
    let mut bob = Client::live(&node, "bob", "staff", &["products"]);
    let data = r#"{"productId":"p_1","n":12345678901234567890123}"#;
    let output = run(&node, &["emit", "product:deleted", data], "");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let event = admin.message_text();
    assert!(event.contains(data), "{event}");
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!(text(&output.stdout).trim(), event["id"]);
    assert_eq!(bob.message()["id"], event["id"]);
    let control = node.control.to_str().unwrap();
    let arguments = ["emit", "--control", control, "--data", r#"{"productId":"p_2"}"#, "product:deleted"];
    let addressed = ["--user-ids", "bob, ann", "--idempotency-key", "k"];
    let arguments: Vec<_> = arguments.iter().chain(&addressed).copied().collect();
    let first = omnicast(&arguments, &[], "");
    assert_eq!(first.status.code(), Some(0));
    assert_eq!(omnicast(&arguments, &[], "").stdout, first.stdout, "the same key, the same id");
    assert_eq!(bob.settle(&node).len(), 1);
    assert!(admin.settle(&node).is_empty());
    let system =
        ["emit", "system:alert", r#"{"title":"t","message":"m","severity":"info"}"#, "--roles", "staff"];
    assert_eq!(run(&node, &system, "").status.code(), Some(0));
    bob.expect("system:alert");
}

#[test]
fn emit_posts_what_stdin_brings() {
    let node = Node::start(&[]);
    let mut admin = Client::live(&node, "boss", "admin", &["orders"]);
    let lines: String = (0..2500).map(|i| format!("{}\n", order(&format!("o_{i}"), "c"))).collect();
    let output = run(&node, &["emit"], &lines);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let ids: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), 2500);
    for (i, id) in ids.iter().enumerate() {
        let event = admin.message();
        assert_eq!((&event["id"], &event["data"]["orderId"]), (&json!(id), &json!(format!("o_{i}"))));
    }
    let array = json!([order("a", "c"), order("b", "c")]).to_string();
    assert_eq!(text(&run(&node, &["emit", "-"], &array).stdout).lines().count(), 2);
}

#[test]
fn emit_says_which_event_is_wrong_and_where() {
    let node = Node::start(&[]);
    let output = run(&node, &["emit", "product:created", r#"{"productId":"p"}"#], "");
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("data.price") && told.contains("data.category"), "{told}");
    let good = order("o", "c");
    let lines = format!(
        "{good}\n{}\n{good}\n",
        json!({"type": "order:created", "data": good["data"], "userIds": []})
    );
    let output = run(&node, &["emit"], &lines);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("line 2") && told.contains("userIds"), "{told}");
    let array = json!([good, good, {"type": "order:create", "data": {}}]).to_string();
    let output = run(&node, &["emit"], &array);
    let told = text(&output.stderr);
    assert!(told.contains("event 2") && told.contains("type"), "{told}");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let output = run(&node, &["emit", "product:deleted", "{no json"], "");
    assert_eq!(output.status.code(), Some(2), "refused before it asked anybody");
    drop(node);
    let output = omnicast(&["emit", "--control", "/nowhere/s", "product:deleted", "{}"], &[], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nowhere/s"));
}

/// A `tail` under way.
struct Tail {
    child: Child,
    lines: Receiver<String>,
}

impl Tail {
    fn start(url: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Tail {
        let mut child = Command::new(env!("CARGO_BIN_EXE_omnicast"))
            .args(["tail", "--url", url])
            .args(arguments)
            .env_clear()
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Tail { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line was due")
    }

    fn wait(&mut self) -> ExitStatus {
        wait_until("tail ends", || self.child.try_wait().unwrap().is_some());
        self.child.try_wait().unwrap().expect("it ended")
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(node: &Node) -> String {
    format!("ws://{}/api/ws", node.address)
}

fn subscribed(node: &Node, namespace: &str, n: u64) {
    wait_until("tail has subscribed", || node.stats()["connectionsByNamespace"][namespace] == n);
}

#[test]
fn tail_prints_what_its_role_sees() {
    let node = Node::start(&[]);
    let mut staff = Tail::start(&url(&node), &["--json", "--role", "staff", "--count", "2"], &[]);
    let mut keyed = Tail::start(&url(&node), &["--namespace", "orders", "--key", "o_2", "--count=1"], &[]);
    subscribed(&node, "orders", 2);
    let payment = json!({"type": "payment:refunded", "data":
        {"paymentId": "p", "orderId": "o_2", "customerId": "c", "amount": 1}});
    let mut big = order("o_2", "c");
    big["data"]["channel"] = "\u{1b}[2Jweb".into();
    let ids = node.post(&json!([payment, order("o_1", "c"), big]));
    for id in &ids[1..] {
        let event: Value = serde_json::from_str(&staff.line()).unwrap();
        assert_eq!((&event["id"], &event["type"]), (&json!(id), &json!("order:created")));
    }
    let line = keyed.line();
    assert!(line.contains("order:created") && line.contains(&ids[2]), "{line}");
    assert!(!line.contains('\u{1b}'), "a terminal obeys nothing in it: {line:?}");
    for mut tail in [staff, keyed] {
        assert_eq!(tail.wait().code(), Some(0), "it ended after its count");
        assert!(tail.lines.recv().is_err(), "and printed no more");
    }
}

#[test]
fn tail_comes_back_after_the_node_was_restarted() {
    let mut node = Node::start(&[("WS_DRAIN_TIMEOUT", "300")]);
    let port = node.address.port().to_string();
    let mut tail = Tail::start(&url(&node), &["--json", "--namespace", "orders", "--count", "2"], &[]);
    subscribed(&node, "orders", 1);
    node.post(&order("before", "c"));
    assert!(tail.line().contains("before"));
    node.signal("TERM");
    assert_eq!(node.wait(PATIENCE).code(), Some(0));
    let node = Node::start(&[("WS_PORT", &port)]);
    subscribed(&node, "orders", 1);
    node.post(&order("after", "c"));
    assert!(tail.line().contains("after"));
    assert_eq!(tail.wait().code(), Some(0));
}

#[test]
fn a_minted_token_is_accepted_by_a_node_with_the_secret() {
    let node = Node::start_with_key(&[]);
    let secret = [("WS_JWT_SECRET", SECRET)];
    let arguments = ["token", "--user", "ü_1", "--role", "manager", "--session", "s_1", "--ttl", "60"];
    let output = omnicast(&arguments, &secret, "");
    assert_eq!(output.status.code(), Some(0));
    let token = text(&output.stdout).trim().to_owned();
    let mut client = Client::connect(&node);
    client.send(&json!({"type": "auth", "data": {"token": token}}));
    let welcome = client.expect_welcome();
    assert_eq!((&welcome["data"]["userId"], &welcome["data"]["role"]), (&json!("ü_1"), &json!("manager")));
    let left = welcome["data"]["expiresAt"].as_u64().unwrap() - crate::support::now_ms();
    assert!((1..=61_000).contains(&left), "{left}");
    // The same secret makes tail a client of that node; the wrong one does not.
    let tail = Tail::start(&url(&node), &["--json", "--count", "1", "--role", "staff"], &secret);
    subscribed(&node, "orders", 1);
    drop(tail);
    let wrong = [("WS_JWT_SECRET", "ffffffffffffffffffffffffffffffff")];
    let mut refused = Tail::start(&url(&node), &[], &wrong);
    assert_eq!(refused.wait().code(), Some(1), "a bad credential is not tried again");
    for (arguments, settings) in [(&arguments[..], &[][..]), (&arguments, &[("WS_JWT_SECRET", "short")])] {
        let output = omnicast(arguments, settings, "");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(text(&output.stderr).contains("WS_JWT_SECRET"));
    }
}

#[test]
fn stats_prints_the_counts_of_the_node() {
    let node = Node::start(&[]);
    let _clients: Vec<_> = (0..3).map(|_| Client::live(&node, "u", "staff", &["orders"])).collect();
    for arguments in [&["stats", "--json"][..], &["stats"]] {
        let output = run(&node, arguments, "");
        assert_eq!(output.status.code(), Some(0));
        let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&stats["totalConnections"], &stats["connectionsByRole"]["staff"]),
            (&json!(3), &json!(3))
        );
    }
    assert_eq!(omnicast(&["stats", "--control", "/nowhere/s"], &[], "").status.code(), Some(1));
}

#[test]
fn commands_reach_a_node_over_tcp_with_the_token() {
    let node = Node::start(&[("WS_CONTROL_ADDR", "127.0.0.1:0"), ("WS_CONTROL_TOKEN", "secret-token")]);
    let address = crate::listeners::control_address(&node).to_string();
    let arguments = ["emit", "--control", &*address, "product:deleted", r#"{"productId":"p"}"#];
    let output = omnicast(&arguments, &[("WS_CONTROL_TOKEN", "secret-token")], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for settings in [&[][..], &[("WS_CONTROL_TOKEN", "wrong")]] {
        let output = omnicast(&arguments, settings, "");
        assert_eq!(output.status.code(), Some(1));
        assert!(!text(&output.stderr).is_empty());
    }
    assert_eq!(node.stats()["eventsAccepted"], 1);
}

#[test]
fn check_prints_what_would_hold() {
    let settings = [("WS_PORT", "1234"), ("WS_JWT_SECRET", SECRET)];
    let output = omnicast(&["check", "--max-keys", "9"], &settings, "");
    assert_eq!(output.status.code(), Some(0));
    let told = text(&output.stdout);
    let line = |name: &str| {
        let found = told.lines().find(|line| line.split_whitespace().next() == Some(name));
        found.unwrap_or_else(|| panic!("{name} in {told}")).split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(line("WS_PORT"), ["WS_PORT", "1234", "environment"]);
    assert_eq!(line("WS_MAX_KEYS"), ["WS_MAX_KEYS", "9", "flag"]);
    assert_eq!(line("WS_RATE_LIMIT"), ["WS_RATE_LIMIT", "100", "default"]);
    assert!(!told.contains(SECRET), "a secret is never shown");
    assert_eq!(line("customer"), ["customer", "own", "-", "all", "-", "-", "-"]);
    assert_eq!(line("staff"), ["staff", "all", "all", "all", "all", "-", "-"]);
    for (name, ..) in crate::catalogue::TYPES {
        line(name);
    }
}

#[test]
fn help_tells_every_setting_and_version_the_version() {
    let help = text(&omnicast(&["--help"], &[], "").stdout);
    for name in SETTINGS.split_whitespace() {
        let flag = format!("--{}", name.trim_start_matches("WS_").to_lowercase().replace('_', "-"));
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}[")), "{flag} in {help}");
        assert!(help.contains(&format!("[{name}")), "{name} in {help}");
    }
    for command in ["serve", "emit", "tail", "history", "token", "stats", "check", "bench"] {
        assert!(help.contains(&format!("  {command} ")), "{command}");
        let output = omnicast(&[command, "--help"], &[], "");
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Usage:"));
    }
    let output = omnicast(&["--version"], &[], "");
    assert_eq!(text(&output.stdout), format!("omnicast {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(omnicast(&["--no-such-flag"], &[], "").status.code(), Some(2));
}

/// The contract's settings.
const SETTINGS: &str = "WS_HOST WS_PORT WS_SHARDS ALLOWED_ORIGINS WS_MAX_CONNECTIONS WS_MAX_CONNECTIONS_PER_IP \
    WS_CONNECT_RATE_PER_IP WS_TRUSTED_PROXIES WS_HEAD_TIMEOUT WS_AUTH_TIMEOUT WS_PING_INTERVAL WS_PONG_TIMEOUT \
    WS_RATE_LIMIT WS_RATE_ABUSE WS_MAX_MESSAGE_SIZE WS_MAX_BACKLOG WS_MAX_KEYS WS_PRESENCE_GRACE \
    WS_HISTORY_EVENTS WS_HISTORY_BYTES WS_IDEMPOTENCY_WINDOW WS_DRAIN_TIMEOUT WS_VALIDATE WS_POLICY \
    WS_CONTROL_SOCKET WS_CONTROL_ADDR WS_CONTROL_TOKEN WS_JWT_SECRET WS_JWKS WS_TRUST_CLIENTS WS_MAX_BODY \
    WS_MAX_EVENT_SIZE WS_JOURNAL WS_JOURNAL_SYNC WS_JOURNAL_INTERVAL WS_JOURNAL_MAX_BYTES WS_JOURNAL_MAX_AGE \
    WS_JOURNAL_SEGMENT";
