//! Settings of the log that show over time: how soon it is forced to the disk, how long it is kept.

use serde_json::{Value, json};

use crate::site::{Site, ids};
use crate::support::{order, wait_until};

#[test]
fn the_policy_says_when_the_log_is_forced_to_the_disk() {
    let synced = |settings: &[(&str, &str)]| {
        let mut site = Site::new(settings);
        site.start_ready();
        let before = site.metric("journal_syncs_total");
        for n in 0..3 {
            site.post(&order(&format!("o_{n}"), "c"));
        }
        let after = site.metric("journal_syncs_total");
        (site, after - before)
    };
    let (_site, syncs) = synced(&[("WS_JOURNAL_SYNC", "always")]);
    assert!(syncs >= 3, "{syncs}: each was on the disk before it was answered");
    let (_site, syncs) = synced(&[("WS_JOURNAL_SYNC", "never")]);
    assert_eq!(syncs, 0);
    let (_site, syncs) = synced(&[("WS_JOURNAL_SYNC", "interval"), ("WS_JOURNAL_INTERVAL", "3600000")]);
    assert_eq!(syncs, 0, "an hour is not over");
    let (site, _) = synced(&[("WS_JOURNAL_SYNC", "interval"), ("WS_JOURNAL_INTERVAL", "20")]);
    wait_until("synced", || site.metric("journal_syncs_total") >= 1);
}

#[test]
fn what_is_too_old_goes() {
    let mut site = Site::new(&[("WS_JOURNAL_MAX_AGE", "1000"), ("WS_HISTORY_EVENTS", "1")]);
    site.start_ready();
    site.post(&Value::Array((0..10).map(|n| order(&format!("o_{n}"), "c")).collect()));
    // Segments are given up as a whole, once another has been begun.
    wait_until("the first ten gone", || {
        site.post(&json!([order("later", "c")]));
        site.metric("journal_first_event") > 10
    });
    let (events, gap) = site.history(0);
    assert!(gap && ids(&events)[0] > 10);
}
