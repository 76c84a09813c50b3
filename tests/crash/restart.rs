//! What a restart leaves as it was: ids, epoch, history, and the keys of posts.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::{Site, ids};
use crate::support::{order, wait_until};

/// An order that is posted once.
fn with_key(id: &str, key: &str) -> Value {
    let mut event = order(id, "c");
    event["idempotencyKey"] = key.into();
    event
}

/// The ways of a node to end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Kill,
    Terminate,
}

fn end(site: &mut Site, ending: Ending) {
    match ending {
        Ending::Kill => site.kill(),
        Ending::Terminate => assert_eq!(site.terminate().code(), Some(0), "{}", site.log()),
    }
}

#[test]
fn ids_epoch_history_and_keys_survive_every_end() {
    for sync in ["always", "interval", "never"] {
        for ending in [Ending::Kill, Ending::Terminate] {
            let mut site = Site::new(&[("WS_JOURNAL_SYNC", sync)]);
            site.start_ready();
            let epoch = site.epoch();
            let mut client = site.client("boss", "admin");
            client.subscribe(&["orders"]);
            assert_eq!(site.post(&with_key("o_1", "k_1")), [1]);
            assert_eq!(site.post(&json!([order("o_2", "c"), with_key("o_3", "k_2")])), [2, 3]);
            let seen: Vec<_> = (0..3).map(|_| client.message()).collect();
            let (before, _) = site.history(0);
            assert_eq!(before, seen);
            for last in 3..6 {
                end(&mut site, ending);
                site.start_ready();
                assert_eq!(site.epoch(), epoch, "{sync}, {ending:?}: {}", site.log());
                assert_eq!(site.history(0).0[..3], before);
                assert_eq!(site.post(&with_key("o_1", "k_1")), [1]);
                let batch = json!([with_key("another body", "k_2"), order("o", "c")]);
                assert_eq!(site.post(&batch), [3, last + 1]);
                let (mut client, answer) = site.resume(&epoch, 1);
                assert_eq!(answer["data"]["recovered"], true, "{answer}");
                assert_eq!(client.expect("caught_up")["data"]["replayed"], last);
                assert_eq!(ids(&client.passed()), (2..=last + 1).collect::<Vec<_>>());
                assert_eq!(ids(&site.history(0).0), (1..=last + 1).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_key_is_forgotten_after_its_window_whoever_was_alive_meanwhile() {
    const WINDOW: Duration = Duration::from_millis(3_000);
    let mut site = Site::new(&[("WS_IDEMPOTENCY_WINDOW", &WINDOW.as_millis().to_string())]);
    site.start_ready();
    let began = Instant::now();
    assert_eq!(site.post(&with_key("o", "k")), [1]);
    site.kill();
    site.start_ready();
    let again = site.post(&with_key("o", "k"));
    // A machine that took so long for all that proves nothing.
    assert!(again == [1] || began.elapsed() >= WINDOW, "the window is not over yet");
    wait_until("the key is forgotten", || site.post(&with_key("o", "k")) == [2]);
    // Two clocks that count whole milliseconds.
    assert!(began.elapsed() + Duration::from_millis(10) >= WINDOW, "{:?}", began.elapsed());
    site.kill();
    let began = Instant::now();
    site.start_ready();
    let again = site.post(&with_key("o", "k"));
    assert!(again == [2] || began.elapsed() >= WINDOW, "the second post counts anew");
}

/// What goes, goes by whole segments, oldest first, and is announced; numbers and epoch stay.
#[test]
fn a_log_of_bounded_size_forgets_its_oldest_events() {
    let limits = [("WS_JOURNAL_SEGMENT", "65536"), ("WS_JOURNAL_MAX_BYTES", "1048576")];
    let mut site = Site::new(&[limits[0], limits[1], ("WS_HISTORY_EVENTS", "10")]);
    site.start_ready();
    let epoch = site.epoch();
    let large = |n: u64| {
        let mut event = order(&format!("o_{n}"), "c");
        event["data"]["pad"] = "x".repeat(10_000).into();
        event
    };
    for n in 0..30 {
        site.post(&Value::Array((0..10).map(|i| large(10 * n + i)).collect()));
    }
    for restart in [false, true] {
        if restart {
            site.kill();
            site.start_ready();
        }
        wait_until("what is too much is gone", || site.metric("journal_bytes") <= 1 << 20);
        let (events, gap) = site.history(0);
        let first = ids(&events)[0];
        assert!(gap && first > 100, "{first}");
        assert_eq!(ids(&events), (first..=300).collect::<Vec<_>>());
        assert_eq!(site.epoch(), epoch);
        for (since, recovered) in [(first - 2, false), (first - 1, true), (first, true)] {
            let (mut client, answer) = site.resume(&epoch, since);
            assert_eq!(answer["data"]["recovered"], recovered, "{since} of {first}: {answer}");
            if recovered {
                client.expect("caught_up");
                assert_eq!(ids(&client.passed()), (since + 1..=300).collect::<Vec<_>>());
            } else {
                assert_eq!(answer["data"]["reason"], "window_exceeded");
            }
        }
    }
    assert_eq!(site.post(&large(300)), [301]);
}

/// A clean end, or a sync before each answer, leaves nothing that a loss of power could take. Any other end before the
/// machine itself was started anew may have lost what somebody saw: ids must not be taken for those of before.
#[test]
fn a_new_start_of_the_machine_begins_an_epoch_where_something_may_be_lost() {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for (sync, ending, stays) in [
        ("always", Ending::Kill, true),
        ("interval", Ending::Kill, false),
        ("never", Ending::Kill, false),
        ("interval", Ending::Terminate, true),
        ("never", Ending::Terminate, true),
    ] {
        let mut site = Site::new(&[("WS_JOURNAL_SYNC", sync)]);
        site.start_ready();
        let epoch = site.epoch();
        assert_eq!(site.post(&json!([order("o_1", "c"), order("o_2", "c")])), [1, 2]);
        end(&mut site, ending);
        let meta = site.journal().join("meta");
        let text = fs::read_to_string(&meta).unwrap();
        assert!(text.contains(boot.trim()), "{text}");
        fs::write(&meta, text.replace(boot.trim(), "00000000-1111-2222-3333-444444444444")).unwrap();
        site.start_ready();
        assert_eq!(site.epoch() == epoch, stays, "{sync}, {ending:?}: {}", site.log());
        assert_eq!(ids(&site.history(0).0), [1, 2]);
        assert_eq!(site.post(&order("o_3", "c")), [3], "numbers go on in either case");
        let (_, answer) = site.resume(&epoch, 1);
        assert_eq!(answer["data"]["recovered"], stays, "{answer}");
        if !stays {
            assert_eq!(answer["data"]["reason"], "epoch_changed");
        }
        // And the epoch that holds now is kept like any other.
        let now = site.epoch();
        site.kill();
        site.start_ready();
        assert_eq!(site.epoch(), now);
    }
}
