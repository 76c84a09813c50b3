//! Minutes of churn on one node, whose counts, memory and descriptors are looked at all along.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::company::{Company, WITNESSES};
use crate::rows::ROWS;
use crate::support::{descriptors, rss, wait_until};
use crate::table::expect_nothing_left;
use crate::{Dice, node, seed};

/// Threads that do things to it at once.
const VILLAINS: u64 = 6;
/// Between two looks at a node that is left alone for a moment.
const PERIOD: Duration = Duration::from_secs(10);
/// A healthy client waits no longer for an event, on a machine with two cores of which the villains have most.
const STALL_MAX: Duration = Duration::from_secs(5);
/// Memory may grow so much from the first look to the last one.
const GROWTH_MAX: u64 = 24 << 20;

#[test]
fn soak() {
    let seconds = std::env::var("OMNICAST_SOAK_SECONDS").map_or(8, |text| text.parse().unwrap());
    let seed = seed();
    let mut node = node();
    let company = Company::open(&node);
    wait_until("the first requests are gone", || node.metric("sockets") == WITNESSES as f64);
    let descriptors_before = descriptors(node.pid()) + 1;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (done, mut looks) = (AtomicU64::new(0), Vec::new());
    let mut period = 0;
    while Instant::now() < end {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for villain in 0..VILLAINS {
                let (node, stop, done) = (&node, &stop, &done);
                scope.spawn(move || {
                    let mut dice = Dice::new(seed ^ (villain << 32) ^ period);
                    while !stop.load(Ordering::SeqCst) {
                        (ROWS[dice.below(ROWS.len())].run)(node, &mut dice);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let until = end.min(Instant::now() + PERIOD);
            while Instant::now() < until {
                let held = descriptors(node.pid());
                assert!(held < 1_000, "{held} descriptors for {VILLAINS} villains");
                std::thread::sleep(Duration::from_millis(250));
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert!(node.is_running());
        expect_nothing_left(&node, descriptors_before);
        looks.push(rss(node.pid()));
        period += 1;
        eprintln!(
            "{} rows, {} events accepted, resident {} KiB, {} descriptors",
            done.load(Ordering::SeqCst),
            node.metric("events_accepted_total"),
            looks[looks.len() - 1] >> 10,
            descriptors(node.pid())
        );
    }
    let (posted, worst) = company.close();
    eprintln!("{posted} events to everybody who was due them; the slowest took {worst:?}");
    assert!(worst < STALL_MAX, "a healthy client waited {worst:?}");
    assert!(looks[looks.len() - 1] < looks[0] + GROWTH_MAX, "{looks:?}");
    node.signal("TERM");
    assert_eq!(node.wait(Duration::from_secs(15)).code(), Some(0));
}
