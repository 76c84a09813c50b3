//! The table in its order, and in any order.

use crate::company::{Company, WITNESSES};
use crate::rows::ROWS;
use crate::support::{Node, descriptors, rss, wait_until};
use crate::{Dice, node, seed};

/// What a node may hold after the rows and did not before: sockets of both kernels take none of it, and histories,
/// queues and buffers have their own bounds.
const GROWTH_MAX: u64 = 24 << 20;

/// Nothing is left of anybody but the company.
pub fn expect_nothing_left(node: &Node, descriptors_before: usize) {
    wait_until("only the company is there", || node.metric("sockets") == WITNESSES as f64);
    let stats = node.stats();
    assert_eq!(stats["totalConnections"], WITNESSES, "{stats}");
    assert_eq!(stats["authenticatedConnections"], WITNESSES, "{stats}");
    assert_eq!(stats["connectionsByNamespace"]["orders"], WITNESSES, "{stats}");
    assert_eq!(stats["connectionsByNamespace"]["products"], 0, "{stats}");
    assert_eq!(node.metric("backlog_bytes"), 0.0);
    wait_until("no descriptor leaks", || descriptors(node.pid()) <= descriptors_before);
}

#[test]
fn every_row_is_answered_in_any_order_and_leaves_nothing() {
    let mut dice = Dice::new(seed());
    let mut node = node();
    let company = Company::open(&node);
    wait_until("the first requests are gone", || node.metric("sockets") == WITNESSES as f64);
    let descriptors_before = descriptors(node.pid()) + 1; // A question on the control socket may be under way.
    let mut after_first = 0;
    let mut order: Vec<usize> = (0..ROWS.len()).collect();
    for round in 0..3 {
        for row in order.iter().map(|index| &ROWS[*index]) {
            (row.run)(&node, &mut dice);
            assert!(node.is_running(), "{} ends it", row.name);
        }
        expect_nothing_left(&node, descriptors_before);
        match round {
            0 => after_first = rss(node.pid()),
            _ => {
                assert!(rss(node.pid()) < after_first + GROWTH_MAX, "{} then {after_first}", rss(node.pid()))
            }
        }
        dice.shuffle(&mut order);
    }
    let (posted, worst) = company.close();
    eprintln!("{} rows three times; {posted} events meanwhile, the slowest {worst:?}", ROWS.len());
    assert!(posted > 0 && worst.as_secs() < 5, "{posted} events, the slowest {worst:?}");
    let log = node.log();
    assert!(log.lines().all(|line| line.len() < 2_000 && !line.contains('\u{1b}')), "{log}");
    assert!(log.lines().count() < 400, "no log flood: {} lines", log.lines().count());
    node.signal("TERM");
    assert_eq!(node.wait(std::time::Duration::from_secs(15)).code(), Some(0));
}
