//! One node and everything that may be done to it: the table of bad input row by row, shuffled, and for minutes on end,
//! while normal clients are served.
//!
//! ```text
//! cargo test --test abuse
//! OMNICAST_SOAK_SECONDS=300 cargo test --release --test abuse -- --nocapture soak
//! OMNICAST_ABUSE_SEED=17 cargo test --test abuse
//! ```

#[path = "../support/mod.rs"]
mod support;

mod company;
mod crowd;
mod dice;
mod rows;
mod soak;
mod table;

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use dice::Dice;
use support::Node;

/// The seed of this run: given, or of the moment, and printed.
fn seed() -> u64 {
    let of_the_moment = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let seed = std::env::var("OMNICAST_ABUSE_SEED").map_or_else(|_| of_the_moment(), |s| s.parse().unwrap());
    eprintln!("OMNICAST_ABUSE_SEED={seed}");
    seed
}

/// Deadlines are short, so that rows need not wait long; rates are open, but for the addresses that rows invent.
fn node() -> Node {
    Node::start(&[
        ("WS_SHARDS", "2"),
        ("WS_HEAD_TIMEOUT", "700"),
        ("WS_AUTH_TIMEOUT", "4000"),
        ("WS_MAX_CONNECTIONS", "4000"),
        ("WS_MAX_CONNECTIONS_PER_IP", "20"),
        ("WS_MAX_BACKLOG", "65536"),
        ("WS_PRESENCE_GRACE", "0"),
        ("WS_MAX_BODY", "1048576"),
        // Not what the rows are about, and different each time.
        ("WS_HISTORY_BYTES", "4194304"),
    ])
}
