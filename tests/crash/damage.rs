//! Directories that no node can use, and files that something else has changed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::process::ExitStatus;

use serde_json::{Value, json};

use crate::site::{Site, ids};
use crate::support::{order, unique};

/// Orders of a kilobyte; returns their ids.
fn post(site: &Site, count: usize) -> Vec<u64> {
    let large = |_| {
        let mut event = order(&unique("order"), "c");
        event["data"]["pad"] = "x".repeat(1_000).into();
        event
    };
    site.post(&Value::Array((0..count).map(large).collect()))
}

/// A killed node's log of several small segments, the epoch, and its last position. The window in memory is smaller than
/// any of them.
fn filled() -> (Site, String, u64) {
    let mut site = Site::new(&[("WS_JOURNAL_SEGMENT", "65536"), ("WS_HISTORY_EVENTS", "10")]);
    site.start_ready();
    for _ in 0..40 {
        post(&site, 10);
    }
    assert!(site.segments().len() > 4, "{:?}", site.segments());
    let epoch = site.epoch();
    site.kill();
    (site, epoch, 400)
}

/// The positions in a segment, by the names of it and the next.
fn positions(segment: &Path, next: &Path) -> Range<u64> {
    let first = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    first(segment)..first(next)
}

/// Changes one bit of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn assert_refused((status, said): (ExitStatus, String), part: &str) {
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    assert!(said.starts_with("omnicast: ") && said.contains("WS_JOURNAL") && said.contains(part), "{said}");
}

#[test]
fn a_directory_that_cannot_be_had_refuses_the_start() {
    let mut site = Site::new(&[]);
    let file = site.path().join("file");
    fs::write(&file, "no directory").unwrap();
    // Also root cannot make a directory there.
    let below = file.join("journal");
    site.set("WS_JOURNAL", below.to_str().unwrap());
    assert_refused(site.refused(), below.to_str().unwrap());
    site.set("WS_JOURNAL", file.to_str().unwrap());
    let (status, said) = site.refused();
    assert_eq!(status.code(), Some(2), "another start would not help: {said}");
    assert!(said.contains(file.to_str().unwrap()) && said.contains("no directory"), "{said}");
}

#[test]
fn two_nodes_do_not_share_a_directory() {
    let mut first = Site::new(&[]);
    first.start_ready();
    let mut second = Site::new(&[]);
    let directory = first.journal();
    second.set("WS_JOURNAL", directory.to_str().unwrap());
    assert_refused(second.refused(), directory.to_str().unwrap());
    fs::remove_file(directory.join("lock")).unwrap();
    assert_refused(second.refused(), directory.to_str().unwrap());
    assert_eq!(first.post(&order("o", "c")), [1], "the first one is not disturbed");
    first.kill();
    second.start_ready();
    assert_eq!(ids(&second.history(0).0), [1], "a dead node holds no lock");
}

/// Starts on a log that lost the events of `within`, or some of them, and looks at it from every side.
fn assert_gap(mut site: Site, epoch: &str, last: u64, within: Range<u64>) {
    site.start_ready();
    assert_eq!(site.epoch(), epoch, "{}", site.log());
    let (events, gap) = site.history(0);
    assert!(gap, "it is announced");
    let held = ids(&events);
    assert!(held.is_sorted() && held.last() == Some(&last));
    let missing: Vec<u64> = (1..=last).filter(|id| !held.contains(id)).collect();
    let (first, end) = (missing[0], *missing.last().expect("something is missing"));
    assert!(within.contains(&first) && within.contains(&end), "{missing:?} of {within:?}");
    assert_eq!(end - first + 1, missing.len() as u64, "in one piece");
    let log = site.log();
    let number =
        |line: &str, n: u64| line.split(|c: char| !c.is_ascii_digit()).any(|word| word == n.to_string());
    let told = log.lines().any(|line| line.contains("WARN") && number(line, first) && number(line, end));
    assert!(told, "{first} to {end} are not told: {log}");
    assert!(!site.history(end).1, "behind it nothing is missing");
    assert!(site.history(first - 1).1);
    for (since, recovered) in [(first - 2, false), (first - 1, false), (end, true), (end + 1, true)] {
        let (mut client, answer) = site.resume(epoch, since);
        assert_eq!(answer["data"]["recovered"], recovered, "{since} at {first} to {end}: {answer}");
        if recovered {
            assert_eq!(client.expect("caught_up")["data"]["replayed"], last - since);
            assert_eq!(ids(&client.passed()), (since + 1..=last).collect::<Vec<_>>());
        } else {
            assert_eq!(answer["data"]["reason"], "window_exceeded");
        }
    }
    assert_eq!(post(&site, 1), [last + 1]);
    // And again: what was found is no reason to change anything.
    site.kill();
    site.start_ready();
    assert_eq!(site.epoch(), epoch);
    assert_eq!(ids(&site.history(0).0), [held, vec![last + 1]].concat());
}

#[test]
fn a_flipped_bit_costs_what_it_hit_and_says_so() {
    let (site, epoch, last) = filled();
    let segments = site.segments();
    flip(&segments[2], fs::metadata(&segments[2]).unwrap().len() as usize / 2);
    let within = positions(&segments[2], &segments[3]);
    assert_gap(site, &epoch, last, within);
}

#[test]
fn the_head_of_a_segment_can_be_done_without() {
    for newest in [false, true] {
        let (mut site, epoch, last) = filled();
        let segments = site.segments();
        let segment = if newest { segments.last().unwrap() } else { &segments[2] };
        flip(segment, 2);
        site.start_ready();
        assert_eq!(site.epoch(), epoch, "{}", site.log());
        let name = segment.file_name().unwrap().to_str().unwrap();
        assert!(
            site.log().lines().any(|line| line.contains("WARN") && line.contains(name)),
            "{}",
            site.log()
        );
        assert_eq!(ids(&site.history(0).0), (1..=last).collect::<Vec<_>>());
        assert_eq!(post(&site, 2), [last + 1, last + 2]);
        site.kill();
        site.start_ready();
        assert_eq!(site.epoch(), epoch, "{}", site.log());
        assert_eq!(ids(&site.history(0).0), (1..=last + 2).collect::<Vec<_>>());
    }
}

#[test]
fn a_segment_that_is_gone_costs_its_events_and_says_so() {
    let (site, epoch, last) = filled();
    let segments = site.segments();
    fs::remove_file(&segments[2]).unwrap();
    let within = positions(&segments[2], &segments[3]);
    assert_gap(site, &epoch, last, within);
}

/// What is whole before a gap is still history, also where the window reaches back to the gap.
#[test]
fn what_stands_before_a_gap_is_still_history() {
    for window in ["10", "65536"] {
        let (mut site, _, last) = filled();
        let segments = site.segments();
        fs::remove_file(&segments[2]).unwrap();
        let lost = positions(&segments[2], &segments[3]);
        site.set("WS_HISTORY_EVENTS", window);
        site.start_ready();
        let (events, gap) = site.history(0);
        assert!(gap);
        assert_eq!(ids(&events), (1..=last).filter(|id| !lost.contains(id)).collect::<Vec<_>>(), "{window}");
    }
}

#[test]
fn without_its_newest_segment_a_log_begins_an_epoch() {
    let (mut site, epoch, last) = filled();
    let segments = site.segments();
    let newest = segments.last().unwrap();
    fs::remove_file(newest).unwrap();
    site.start_ready();
    assert_ne!(site.epoch(), epoch, "{}", site.log());
    let held = ids(&site.history(0).0);
    let kept = *held.last().unwrap();
    assert!(kept < last && held == (1..=kept).collect::<Vec<_>>(), "{held:?}");
    assert_eq!(site.resume(&epoch, 5).1["data"]["reason"], "epoch_changed");
    assert!(post(&site, 1)[0] > kept);
}

/// What a crash of the machine may leave is no damage: the log ends before it.
#[test]
fn an_end_that_was_not_written_whole_is_cut() {
    for cut in [1, 3, 700] {
        let (mut site, epoch, last) = filled();
        let newest = site.segments().pop().unwrap();
        let length = fs::metadata(&newest).unwrap().len();
        OpenOptions::new().write(true).open(&newest).unwrap().set_len(length - cut).unwrap();
        site.start_ready();
        assert_eq!(site.epoch(), epoch, "a torn write: {}", site.log());
        let (events, gap) = site.history(0);
        // The last post, which had ten events.
        assert_eq!(ids(&events), (1..=last - 10).collect::<Vec<_>>());
        assert!(!gap);
        assert!(fs::metadata(&newest).unwrap().len() < length - cut, "half a post is taken away");
        assert_eq!(post(&site, 1), [last - 9], "the place is given again");
        let (mut client, answer) = site.resume(&epoch, last - 12);
        assert_eq!(answer["data"]["recovered"], true);
        client.expect("caught_up");
        assert_eq!(ids(&client.passed()), [last - 11, last - 10, last - 9]);
    }
}

/// No crash of a node leaves that behind, so something else may have been there: ids begin anew.
#[test]
fn what_was_added_to_the_end_is_cut_and_told() {
    for junk in [vec![0; 3_000], b"no record ".repeat(30)] {
        let (mut site, epoch, last) = filled();
        let newest = site.segments().pop().unwrap();
        let before = fs::read(&newest).unwrap();
        OpenOptions::new().append(true).open(&newest).unwrap().write_all(&junk).unwrap();
        site.start_ready();
        assert_ne!(site.epoch(), epoch, "{}", site.log());
        assert_eq!(fs::read(&newest).unwrap(), before, "it is cut: {}", site.log());
        assert!(site.log().contains(&junk.len().to_string()), "and told: {}", site.log());
        assert_eq!(ids(&site.history(0).0), (1..=last).collect::<Vec<_>>());
        assert_eq!(post(&site, 2), [last + 1, last + 2]);
        let now = site.epoch();
        site.kill();
        site.start_ready();
        assert_eq!(site.epoch(), now);
        assert_eq!(ids(&site.history(0).0), (1..=last + 2).collect::<Vec<_>>());
    }
}

/// Nothing in the directory that a node did not put there is touched.
#[test]
fn foreign_files_are_left_alone() {
    let mut site = Site::new(&[]);
    site.start_ready();
    site.post(&json!([order("o_1", "c"), order("o_2", "c")]));
    site.kill();
    for name in ["README", "0.log", "notes.log", "00000000000000000001.log.bak"] {
        fs::write(site.journal().join(name), "mine").unwrap();
    }
    site.start_ready();
    assert_eq!(ids(&site.history(0).0), [1, 2]);
    for name in ["README", "0.log", "notes.log", "00000000000000000001.log.bak"] {
        assert_eq!(fs::read(site.journal().join(name)).unwrap(), b"mine");
    }
}
