//! `omnicast history` against a real node.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Node, Response, omnicast, order, wait_until};

fn history(node: &Node, arguments: &[&str]) -> Output {
    let arguments: Vec<_> = ["history"].iter().chain(arguments).copied().collect();
    omnicast(&arguments, &[("WS_CONTROL_SOCKET", node.control.to_str().unwrap())], "")
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The ids that were printed by a command that succeeded and had nothing to say.
fn ids(output: &Output) -> Vec<String> {
    assert_eq!((output.status.code(), told(output)), (Some(0), String::new()));
    let out = String::from_utf8(output.stdout.clone()).unwrap();
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    out.lines().map(id).collect()
}

fn epoch(node: &Node) -> String {
    node.stats()["epoch"].as_str().unwrap().to_owned()
}

#[test]
fn history_prints_what_was_asked_for_and_ends() {
    let node = Node::start(&[]);
    assert!(ids(&history(&node, &[])).is_empty());
    let product = json!({"type": "product:deleted", "data": {"productId": "p"}});
    let payment = json!({"type": "payment:refunded", "data":
        {"paymentId": "p", "orderId": "o", "customerId": "c", "amount": 1}});
    let posted = node.post(&json!([order("o_1", "c"), product, payment, order("o_2", "c")]));
    let print = |arguments: &[&str]| ids(&history(&node, arguments));
    assert_eq!(print(&[]), posted);
    assert_eq!(print(&["--since", &posted[0]]), posted[1..]);
    assert_eq!(print(&["--since", &posted[0], "--epoch", &epoch(&node), "--limit", "2"]), posted[1..3]);
    assert_eq!(print(&["--namespace", "products,payments"]), posted[1..3]);
    assert_eq!(print(&["--type", "payment:refunded,product:deleted"]), posted[1..3]);
    assert_eq!(print(&["--type", "order:created", "--key", "o_2"]), posted[3..]);
    let out = history(&node, &[]).stdout;
    assert_eq!(out, node.control("GET", "/api/events", "").body.as_bytes(), "digit for digit");
    let control = node.control.to_str().unwrap();
    assert_eq!(ids(&omnicast(&["history", "--control", control], &[], "")), posted);
}

#[test]
fn history_says_why_it_fails() {
    let node = Node::start(&[]);
    for (arguments, part) in [
        (&["--epoch", "0"][..], "that epoch is over"),
        (&["--since", "9"], "since is no id"),
        (&["--namespace", "nowhere"], "nowhere"),
        (&["--type", "order:create"], "order:create"),
        (&["--control", "/nowhere/s"], "/nowhere/s"),
    ] {
        let output = history(&node, arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        assert!(told(&output).contains(part), "{}", told(&output));
    }
    assert_eq!(history(&node, &["--limit", "0"]).status.code(), Some(2));
}

#[test]
fn a_gap_is_told_once() {
    let node = Node::start(&[("WS_HISTORY_EVENTS", "5")]);
    let posted = node.post(&Value::Array(vec![order("o", "c"); 9]));
    let output = history(&node, &["--since", &posted[0]]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(told(&output).matches("events are missing").count(), 1, "{}", told(&output));
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 5);
}

/// Posts so many events.
fn fill(node: &Node, events: usize) {
    let body: String = (0..events).map(|i| format!("{}\n", order(&format!("o_{i}"), "c"))).collect();
    let Response { status, body, .. } = node.control("POST", "/api/events", &body);
    assert_eq!(status, 200, "{body}");
}

#[test]
fn a_long_history_is_printed_whole_and_not_held() {
    const EVENTS: usize = 100_000;
    let node = Node::start(&[("WS_HISTORY_EVENTS", "200000")]);
    (0..4).for_each(|_| fill(&node, EVENTS / 4));
    let mut child = Command::new(env!("CARGO_BIN_EXE_omnicast"))
        .args(["history", "--control", node.control.to_str().unwrap()])
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut position, mut most) = (0, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        position += 1;
        assert!(line.unwrap().ends_with(&format!("\"id\":\"{position}\"}}")), "{position}");
        if position % 10_000 == 0 && position < EVENTS {
            most = most.max(crate::support::rss(child.id()));
        }
    }
    assert_eq!((position, child.wait().unwrap().code()), (EVENTS, Some(0)));
    assert!(most < 24 << 20, "some 22 MB of events, and {most} bytes of memory");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let node = Node::start(&[]);
    fill(&node, 20_000);
    let mut child = Command::new(env!("CARGO_BIN_EXE_omnicast"))
        .args(["history", "--control", node.control.to_str().unwrap()])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""));
}

#[test]
fn what_memory_holds_is_shown_though_the_log_let_go_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&[
        ("WS_JOURNAL", dir.path().join("log").to_str().unwrap()),
        ("WS_JOURNAL_MAX_BYTES", "1048576"),
        ("WS_JOURNAL_SEGMENT", "65536"),
        ("WS_HISTORY_EVENTS", "9000"),
    ]);
    (0..12).for_each(|_| fill(&node, 1_000));
    wait_until("the log lets go of the oldest", || node.metric("journal_bytes") < 1_200_000.0);
    let walk = |arguments: &[&str]| {
        let output = history(&node, arguments);
        let out = String::from_utf8(output.stdout).unwrap();
        let ids: Vec<u64> = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().parse().unwrap())
            .collect();
        (ids, String::from_utf8(output.stderr).unwrap())
    };
    for since in ["0", "1", "2999", "3000", "3001", "11999"] {
        let (ids, told) = walk(&["--since", since]);
        let since: u64 = since.parse().unwrap();
        assert_eq!(ids, (since.max(3_000) + 1..=12_000).collect::<Vec<_>>(), "since {since}");
        assert_eq!(told.contains("events are missing"), since < 3_000, "since {since}: {told}");
    }
    // A window that holds less than the log: one answer has both.
    let small = tempfile::tempdir().unwrap();
    let node = Node::start(&[
        ("WS_JOURNAL", small.path().join("log").to_str().unwrap()),
        ("WS_HISTORY_EVENTS", "10"),
    ]);
    fill(&node, 50);
    let page = node.control("GET", "/api/events?since=5", "");
    assert_eq!(page.body.lines().count(), 45);
    assert_eq!(page.header("omnicast-more"), None);
    let page = node.control("GET", "/api/events?since=5&limit=35", "");
    assert_eq!((page.body.lines().count(), page.header("omnicast-cursor")), (35, Some("40")));
    assert_eq!(page.header("omnicast-more"), Some("true"));
}
