//! What the tests over real sockets share: a node as a child process, a client that speaks the
//! protocol byte by byte, and requests to either listener.

#![allow(dead_code, unused_imports, reason = "every test binary uses its own part of this")]

mod client;
mod http;
mod node;

pub use client::{Client, Frame, deflate, frame, inflate, reset};
pub use http::{Control, Response, Stream, exchange, read_response, request};
pub use node::Node;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

/// Nothing that is awaited takes longer, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// A secret for tokens.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Milliseconds since the epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Waits until `holds`, asking again and again.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A plain identity that is good for an hour, with a session of its own.
pub fn identity(user: &str, role: &str) -> Value {
    json!({"userId": user, "role": role, "sessionId": unique("session"), "expiresAt": now_ms() + 3_600_000})
}

/// An `order:created` of `customer` that is good.
pub fn order(order: &str, customer: &str) -> Value {
    json!({"type": "order:created", "data": {
        "orderId": order, "customerId": customer, "customerName": "Ada Lovelace",
        "total": 129.9, "status": "pending", "channel": "web",
    }})
}

/// Runs the binary with these arguments and settings; nothing else is in its environment.
pub fn omnicast(arguments: &[&str], settings: &[(&str, &str)], stdin: &str) -> std::process::Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_omnicast"))
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// Resident memory of a process, in bytes.
pub fn rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).unwrap().count()
}
