//! What the log does when the disk does not.

use std::path::Path;
use std::sync::Arc;

use crate::base::time::Now;
use crate::base::window::Bounds;
use crate::journal::Progress::{Committed, Refused};
use crate::journal::disk::{Directory, Disk};
use crate::journal::kit_tests::*;
use crate::journal::meta::{Found, Meta};
use crate::journal::open::{Opened, open};
use crate::journal::options::{Options, SyncPolicy};
use crate::journal::ram_tests::*;
use crate::journal::record;
use crate::journal::segment::{HEADER_BYTES, name_of};
use crate::policy::Policy;
use crate::shard::envelope::Envelope;

const ALWAYS: SyncPolicy = SyncPolicy::Always;
const INTERVAL: SyncPolicy = SyncPolicy::Interval { ms: 100 };

fn essences(envelopes: &[Arc<Envelope>]) -> Vec<(u64, Vec<u8>, String)> {
    envelopes.iter().map(|envelope| essence(envelope)).collect()
}

/// A log with segments of about a thousand bytes: three events each.
fn short_segments(sync: SyncPolicy) -> Options {
    Options { segment_bytes: 1_250, ..options(sync) }
}

/// Such a log with `events` events, closed.
fn filled(sync: SyncPolicy, events: usize) -> Ram {
    let mut rig = Rig::open(&Ram::default(), &short_segments(sync), BOOT, &epoch(0));
    for _ in 0..events {
        rig.publish(1, 150);
    }
    assert_eq!((rig.last, rig.disk.segments().len()), (events as u64, events.div_ceil(3)));
    rig.close()
}

fn reopen(disk: &Ram) -> Rig {
    Rig::open(disk, &short_segments(ALWAYS), BOOT, &epoch(1))
}

fn has(findings: &[String], words: &str) -> bool {
    findings.iter().any(|finding| finding.contains(words))
}

#[test]
fn what_goes_in_comes_out_after_a_restart_and_goes_on() {
    for sync in [ALWAYS, INTERVAL, SyncPolicy::Never] {
        let mut rig = Rig::new(sync);
        assert_eq!((rig.first, rig.last, rig.findings.len()), (1, 0, 0));
        let mut sent = Vec::new();
        for n in 1..50 {
            let from = rig.last + 1;
            rig.publish(n % 4 + 1, n * 37);
            sent.extend((from..=rig.last).map(|p| entry(p, n * 37, None, 1_000_000).envelope));
        }
        let all = rig.read_all();
        assert_eq!(essences(&all), essences(&sent));
        let last = rig.last;
        let mut rig = Rig::open(&rig.close(), &options(sync), "another boot", &epoch(1));
        assert_eq!((rig.last, &rig.epoch, &rig.findings), (last, &epoch(0), &Vec::new()));
        assert_eq!(essences(&rig.tail), essences(&all));
        rig.publish(2, 5);
        assert_eq!(positions(&rig.read_all()), (1..=last + 2).collect::<Vec<_>>());
        assert_eq!(rig.disk.segments().len(), 1);
    }
}

#[test]
fn keys_and_the_tail_come_back_within_their_bounds() {
    let mut rig = Rig::new(ALWAYS);
    for _ in 0..10 {
        rig.publish(1, 100);
        rig.later(10);
    }
    let at = |position: u64| 1_000_000 + (position - 1) * 10;
    let disk = rig.close();
    let open = |items, bytes, since| -> Opened {
        let window = Bounds { items, bytes };
        let (disk, options) = (disk.shared(), options(ALWAYS));
        super::open::open_on(disk, BOOT, &options, policy(), window, since, "e").unwrap()
    };
    let opened = open(4, 1 << 20, at(5));
    assert_eq!(positions(&opened.tail), [7, 8, 9, 10]);
    let keys: Vec<_> = opened.keys.iter().map(|k| (&*k.key, k.position, k.at)).collect();
    assert_eq!(keys, [("key-6", 6, at(6)), ("key-8", 8, at(8)), ("key-10", 10, at(10))]);
    let frames: usize = opened.tail[2..].iter().map(|envelope| envelope.frame.len()).sum();
    drop(opened);
    assert_eq!(positions(&open(99, frames, 0).tail), [9, 10]);
    assert_eq!(positions(&open(99, frames - 1, 0).tail), [10]);
    let opened = open(0, 0, 0);
    assert_eq!((opened.tail.len(), opened.keys.len()), (0, 5));
}

#[test]
fn no_space_refuses_whole_posts_and_the_next_tries_again() {
    for sync in [ALWAYS, INTERVAL] {
        let mut rig = Rig::new(sync);
        rig.publish(3, 100);
        let whole = rig.disk.bytes(&name_of(1));
        for space in [0, 1, 200, 500] {
            rig.disk.state().faults.space = Some(space);
            // Two posts in one group, a third behind it, and a fourth before anybody has heard.
            rig.post(1, 100);
            rig.post(2, 100);
            rig.write();
            rig.post(1, 100);
            rig.disk.state().faults = Faults::default();
            rig.write();
            assert_eq!(rig.hear(), [Refused { after: 3 }], "one word for all of them");
            assert_eq!(rig.disk.bytes(&name_of(1)), whole, "nothing is left behind");
        }
        assert_eq!(rig.publish(2, 7), [Committed(5)]);
        assert_eq!(positions(&rig.read_all()), [1, 2, 3, 4, 5]);
        let counters = rig.writer.store.counters();
        assert_eq!((counters.write_errors.read(), counters.refused.read()), (4, 16));
        let mut rig = Rig::open(&rig.close(), &options(sync), BOOT, &epoch(1));
        assert_eq!((rig.last, rig.findings.len(), rig.epoch.clone()), (5, 0, epoch(0)));
        assert_eq!(rig.read_all()[3].frame.iter().filter(|byte| **byte == b'x').count(), 7);
    }
}

#[test]
fn what_can_not_be_cut_off_is_left_behind_and_counts_for_nothing() {
    let mut rig = Rig::new(ALWAYS);
    rig.publish(2, 100);
    rig.disk.state().faults = Faults { space: Some(400), truncate: Some(EIO), ..Faults::default() };
    assert_eq!(rig.publish(3, 100), [Refused { after: 2 }]);
    rig.disk.state().faults = Faults::default();
    assert_eq!(rig.publish(2, 9), [Committed(4)]);
    assert_eq!(rig.disk.segments(), [name_of(1), name_of(3)]);
    assert_eq!(positions(&rig.read_all()), [1, 2, 3, 4]);
    let mut rig = Rig::open(&rig.close(), &options(ALWAYS), BOOT, &epoch(1));
    assert_eq!((rig.last, rig.epoch.clone(), rig.findings.len()), (4, epoch(0), 0));
    assert_eq!(rig.read_all()[2].frame.iter().filter(|byte| **byte == b'x').count(), 9);
}

#[test]
fn a_sync_that_fails_refuses_under_always_and_begins_a_segment_otherwise() {
    let mut rig = Rig::new(ALWAYS);
    rig.publish(2, 100);
    rig.disk.state().faults.sync = Some(EIO);
    for _ in 0..3 {
        assert_eq!(rig.publish(1, 100), [Refused { after: 2 }]);
    }
    rig.disk.state().faults.sync = None;
    assert_eq!(rig.publish(1, 1), [Committed(3)]);
    assert_eq!(rig.disk.segments(), [name_of(1), name_of(3)], "the first is not trusted any more");
    assert_eq!(positions(&rig.read_all()), [1, 2, 3]);

    let mut rig = Rig::new(INTERVAL);
    rig.publish(2, 100);
    rig.later(100);
    rig.disk.state().faults.sync = Some(EIO);
    rig.tick();
    assert_eq!(rig.publish(1, 100), [Committed(3)], "what is published is published");
    let counters = rig.writer.store.counters();
    assert_eq!((counters.sync_errors.read(), counters.write_errors.read()), (2, 0));
    rig.disk.state().faults.sync = None;
    assert_eq!(rig.disk.segments(), [name_of(1), name_of(3)]);
    let disk = rig.close();
    let same = Rig::open(&disk.copy(), &options(INTERVAL), BOOT, &epoch(1));
    assert_eq!((same.epoch, same.last), (epoch(0), 3));
    let other = Rig::open(&disk.copy(), &options(INTERVAL), "boot 2", &epoch(1));
    assert_eq!(other.epoch, epoch(1), "it was closed, but nobody knows what the disk has");
}

#[test]
fn zeros_at_the_end_are_a_stop_of_the_machine_and_of_nothing_else() {
    for (boot, expected) in [(BOOT, epoch(1)), ("boot 2", epoch(0))] {
        let mut rig = Rig::new(ALWAYS);
        rig.publish(3, 10);
        let disk = rig.disk.copy(); // It was not closed.
        disk.change(&name_of(1), |bytes| bytes.extend([0; 50]));
        let rig = Rig::open(&disk, &options(ALWAYS), boot, &epoch(1));
        assert_eq!((rig.last, &rig.epoch), (3, &expected), "{boot}: {:?}", rig.findings);
        assert!(has(&rig.findings, "was cut by 50 bytes"));
    }
}

#[test]
fn an_end_that_is_missing_to_the_byte_is_noticed() {
    let disk = filled(ALWAYS, 9);
    disk.change(&name_of(7), |bytes| {
        let last = bytes.windows(4).rposition(|w| w == record::MAGIC).unwrap();
        bytes.truncate(last);
    });
    let rig = reopen(&disk);
    assert_eq!((rig.last, &rig.epoch), (8, &epoch(1)));
    assert!(has(&rig.findings, "had come to position 9 and ends before"), "{:?}", rig.findings);
}

#[test]
fn a_segment_that_is_left_is_synced_if_it_can_be() {
    let mut rig = Rig::new(INTERVAL);
    rig.publish(2, 10);
    let (syncs, _) = rig.disk.done();
    rig.disk.state().faults = Faults { space: Some(0), truncate: Some(EIO), ..Faults::default() };
    assert_eq!(rig.publish(1, 10), [Refused { after: 2 }]);
    assert_eq!(rig.disk.done().0, syncs + 1, "what it holds is committed, and not synced yet");
}

/// A name that may be on the disk ends the segment before it, whether it could be made safe or not.
#[test]
fn a_rotation_that_fails_half_way_costs_nothing_that_is_told_later() {
    for sync in [ALWAYS, INTERVAL] {
        let options = Options { max_age_ms: 80_000, ..options(sync) };
        let mut rig = Rig::open(&Ram::default(), &options, BOOT, &epoch(0));
        rig.publish(3, 10);
        rig.later(10_000);
        rig.disk.state().faults.sync_names = Some(EIO);
        rig.tick();
        assert_eq!(rig.disk.segments(), [name_of(1), name_of(4)]);
        let expected = if sync == ALWAYS { Refused { after: 3 } } else { Committed(4) };
        assert_eq!(rig.publish(1, 10), [expected]);
        rig.disk.state().faults = Faults::default();
        rig.publish(2, 10);
        let (last, disk) = (rig.safe, rig.disk.copy());
        assert_eq!(positions(&rig.read_all()), (1..=last).collect::<Vec<_>>());
        let mut rig = Rig::open(&disk, &options, BOOT, &epoch(1));
        assert_eq!((rig.last, &rig.epoch, rig.findings.len()), (last, &epoch(0), 0));
        assert_eq!(positions(&rig.read_all()), (1..=last).collect::<Vec<_>>());
    }
}

/// Two segments that lost their beginnings, before one that is whole in name only.
#[test]
fn names_of_junk_do_not_stand_in_the_way_of_new_positions() {
    let disk = filled(ALWAYS, 9);
    for first in [4, 7] {
        disk.change(&name_of(first), |bytes| bytes.fill(0));
    }
    let mut rig = reopen(&disk);
    assert_eq!((rig.last, &rig.epoch), (3, &epoch(1)));
    for _ in 0..6 {
        rig.publish(1, 1);
    }
    let mut rig = reopen(&rig.close());
    assert_eq!((rig.last, rig.first, &rig.epoch), (9, 1, &epoch(1)), "{:?}", rig.findings);
    assert_eq!(positions(&rig.read_all()), (1..=9).collect::<Vec<_>>());
}

#[test]
fn intervals_are_kept_and_nothing_is_synced_twice() {
    let mut rig = Rig::new(INTERVAL);
    rig.publish(1, 1);
    let begun = rig.disk.state().syncs;
    rig.later(40);
    rig.publish(1, 1);
    assert_eq!(rig.tick(), 60, "from the first write that is not synced");
    rig.later(59);
    rig.tick();
    assert_eq!(rig.disk.state().syncs, begun);
    rig.later(1);
    rig.tick();
    assert_eq!(rig.disk.state().syncs, begun + 1);
    rig.later(500);
    rig.tick();
    assert_eq!(rig.disk.state().syncs, begun + 1, "nothing is dirty");
    let mut rig = Rig::new(SyncPolicy::Never);
    rig.publish(1, 1);
    let begun = rig.disk.state().syncs;
    rig.later(1 << 40);
    rig.tick();
    assert_eq!(rig.disk.state().syncs, begun);
    let disk = rig.close();
    assert!(disk.state().syncs > begun, "at the end");
}

#[test]
fn segments_go_by_bytes_and_by_age_and_the_newest_stays() {
    let options = Options { max_bytes: 2_000, ..short_segments(ALWAYS) };
    let mut rig = Rig::open(&Ram::default(), &options, BOOT, &epoch(0));
    for _ in 0..30 {
        rig.publish(1, 150);
    }
    assert_eq!(rig.disk.segments(), [name_of(25), name_of(28)]);
    assert_eq!((rig.shared_first(), positions(&rig.read_all())), (25, (25..=30).collect()));
    assert!(rig.reader.part(23, policy()).is_none() && rig.reader.part(24, policy()).is_some());
    assert_eq!(rig.writer.store.counters().segments.read(), 2);
    let rig = Rig::open(&rig.close(), &options, BOOT, &epoch(1));
    assert_eq!((rig.first, rig.last, rig.findings.len()), (25, 30, 0));

    let options = Options { max_age_ms: 80_000, ..short_segments(ALWAYS) };
    let mut rig = Rig::open(&Ram::default(), &options, BOOT, &epoch(0));
    rig.publish(1, 10);
    rig.later(9_000);
    rig.tick();
    assert_eq!(rig.disk.segments(), [name_of(1)]);
    rig.later(1_000);
    rig.tick();
    assert_eq!(rig.disk.segments(), [name_of(1), name_of(2)], "an eighth of the age");
    rig.later(70_000);
    rig.tick();
    assert_eq!((rig.disk.segments(), rig.shared_first()), (vec![name_of(2)], 2));
    rig.later(1 << 30);
    rig.tick();
    assert_eq!(rig.disk.segments(), [name_of(2)], "without an event it does not grow old");
    assert!(rig.read_all().is_empty());
    let mut rig = Rig::open(&rig.close(), &options, "boot 2", &epoch(1));
    assert_eq!((rig.last, rig.first, &rig.epoch, rig.findings.len()), (1, 2, &epoch(0), 0));
    assert_eq!(rig.publish(1, 1), [Committed(2)]);
    assert_eq!(positions(&rig.read_all()), [2]);
}

#[test]
fn a_clock_that_is_set_back_stops_neither_rotation_nor_retention() {
    let options = Options { max_age_ms: 80_000, ..options(ALWAYS) };
    let mut rig = Rig::open(&Ram::default(), &options, BOOT, &epoch(0));
    let set_back = |rig: &Rig, ms: u64| {
        let now = rig.now.get();
        rig.now.set(Now { wall: now.wall - ms, ..now });
    };
    rig.publish(1, 10);
    set_back(&rig, 900_000);
    rig.tick();
    rig.later(9_000);
    rig.tick();
    assert_eq!(rig.disk.segments(), [name_of(1)]);
    rig.later(1_000);
    rig.tick();
    assert_eq!(rig.disk.segments(), [name_of(1), name_of(2)], "an eighth of the age since it was seen");
    // Set back for a moment only: nothing looks older than it is afterwards.
    set_back(&rig, 100_000);
    rig.later(1_000);
    rig.tick();
    rig.now.set(Now { wall: rig.now.get().wall + 100_000, ..rig.now.get() });
    rig.later(78_000);
    rig.tick();
    assert_eq!((rig.disk.segments(), rig.shared_first()), (vec![name_of(1), name_of(2)], 1));
    rig.later(1_000);
    rig.tick();
    assert_eq!((rig.disk.segments(), rig.shared_first()), (vec![name_of(2)], 2), "the age since then");
}

#[test]
fn a_segment_that_can_not_be_removed_is_tried_again() {
    let options = Options { max_bytes: 2_000, ..short_segments(ALWAYS) };
    let mut rig = Rig::open(&Ram::default(), &options, BOOT, &epoch(0));
    rig.disk.state().faults.remove = Some(EIO);
    for _ in 0..12 {
        assert_eq!(rig.publish(1, 150).len(), 1);
    }
    assert_eq!((rig.disk.segments().len(), rig.shared_first()), (4, 4), "not to be relied on already");
    rig.disk.state().faults.remove = None;
    rig.later(1_000);
    rig.tick();
    assert_eq!((rig.disk.segments().len(), rig.shared_first()), (1, 10), "the last stays, full as it is");
}

#[test]
fn a_bit_in_the_middle_is_a_gap_and_the_rest_can_be_read() {
    let disk = filled(ALWAYS, 9);
    let name = name_of(4);
    let before = disk.bytes(&name);
    // The second of its three events.
    let at = HEADER_BYTES + record::claimed_len(&before[HEADER_BYTES..]).unwrap() + 60;
    disk.change(&name, |bytes| bytes[at] ^= 4);
    let damaged = disk.bytes(&name);
    let mut rig = reopen(&disk);
    assert_eq!((rig.last, rig.first, &rig.epoch), (9, 6, &epoch(0)));
    assert!(
        has(&rig.findings, "the events 5 to 5 are missing") && has(&rig.findings, "is damaged from byte")
    );
    assert_eq!(positions(&rig.tail), [6, 7, 8, 9]);
    assert_eq!(positions(&rig.read_all()), [6, 7, 8, 9]);
    assert_eq!(positions(&rig.reader.part(0, policy()).unwrap().envelopes), [1, 2, 3]);
    assert!(rig.reader.part(4, policy()).is_none());
    assert_eq!(disk.bytes(&name), damaged, "it is not touched");
    rig.publish(1, 1);
    let rig = reopen(&rig.close());
    assert!(rig.last == 10 && has(&rig.findings, "5 to 5"), "and told of each time");
}

#[test]
fn junk_between_segments_loses_nothing() {
    let disk = filled(ALWAYS, 9);
    disk.change(&name_of(4), |bytes| bytes.extend([7; 100]));
    let mut rig = reopen(&disk);
    assert_eq!((rig.last, rig.first, &rig.epoch, rig.findings.len()), (9, 1, &epoch(0), 1));
    assert!(has(&rig.findings, "to its end"), "{:?}", rig.findings);
    assert_eq!(positions(&rig.read_all()), (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_is_gone_is_a_gap_and_the_newest_a_new_epoch() {
    let disk = filled(ALWAYS, 9);
    disk.state().names.remove(&name_of(4));
    let mut rig = reopen(&disk);
    assert_eq!((rig.last, rig.first, &rig.epoch), (9, 7, &epoch(0)));
    assert!(has(&rig.findings, "the events 4 to 6 are missing"));
    assert_eq!(positions(&rig.read_all()), [7, 8, 9]);

    let disk = filled(ALWAYS, 9);
    disk.state().names.remove(&name_of(7));
    let mut rig = reopen(&disk);
    assert_eq!((rig.last, rig.first, &rig.epoch), (6, 1, &epoch(1)));
    assert!(has(&rig.findings, "is missing: a new epoch begins behind position 6"), "{:?}", rig.findings);
    assert_eq!(rig.publish(1, 1), [Committed(7)]);
    let rig = reopen(&rig.close());
    assert_eq!((rig.last, &rig.epoch, rig.findings.len()), (7, &epoch(1), 0), "and that is that");

    let disk = filled(ALWAYS, 9);
    disk.state().names.retain(|name, _| name == "meta");
    let mut rig = reopen(&disk);
    assert_eq!((rig.last, rig.first, &rig.epoch), (0, 1, &epoch(1)));
    assert_eq!(rig.publish(1, 1), [Committed(1)]);

    let disk = filled(ALWAYS, 9);
    disk.state().names.remove("meta");
    let rig = reopen(&disk);
    assert_eq!((rig.last, &rig.epoch), (9, &epoch(1)), "nobody knows whether the end is there");
}

#[test]
fn an_end_that_no_torn_write_explains_is_a_new_epoch() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, u64, Damage); 5] = [
        ("a bit of the last record", 8, |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("its length", 8, |bytes| {
            let last = bytes.windows(4).rposition(|w| w == record::MAGIC).unwrap();
            bytes[last + 5] ^= 1;
        }),
        ("garbage", 9, |bytes| bytes.extend([9; 50])),
        ("zeros, though the machine went on", 9, |bytes| bytes.extend([0; 50])),
        ("cut, though it was closed", 8, |bytes| bytes.truncate(bytes.len() - 1)),
    ];
    for (what, last, damage) in damages {
        let disk = filled(ALWAYS, 9);
        disk.change(&name_of(7), damage);
        let mut rig = reopen(&disk);
        assert_eq!((rig.last, rig.first, &rig.epoch), (last, 1, &epoch(1)), "{what}: {:?}", rig.findings);
        assert!(has(&rig.findings, "was cut by") && has(&rig.findings, "a new epoch begins"), "{what}");
        assert_eq!(rig.publish(1, 1), [Committed(last + 1)], "{what}");
        let all = positions(&rig.read_all());
        assert_eq!(all, (1..=last + 1).collect::<Vec<_>>(), "{what}");
        let rig = reopen(&rig.close());
        assert_eq!((&rig.epoch, rig.findings.len()), (&epoch(1), 0), "{what}: {:?}", rig.findings);
    }
}

#[test]
fn a_newest_segment_that_is_nothing_but_junk_is_put_away() {
    let disk = filled(ALWAYS, 9);
    disk.change(&name_of(7), |bytes| bytes.fill(0x5a));
    let mut rig = reopen(&disk);
    assert_eq!((rig.last, &rig.epoch), (6, &epoch(1)));
    assert!(has(&rig.findings, "holds nothing that can be read"), "{:?}", rig.findings);
    assert_eq!(rig.publish(1, 1), [Committed(7)]);
    let rig = reopen(&rig.close());
    assert_eq!((rig.last, &rig.epoch, rig.findings.len()), (7, &epoch(1), 1));
    assert!(has(&rig.findings, "left alone") && has(&rig.findings, ".bad"));
}

#[test]
fn a_damaged_header_costs_only_what_is_damaged() {
    for first in [4, 7] {
        let disk = filled(ALWAYS, 9);
        disk.change(&name_of(first), |bytes| bytes[20] ^= 1);
        let mut rig = reopen(&disk);
        assert_eq!((rig.last, rig.first, &rig.epoch), (9, 1, &epoch(0)), "{:?}", rig.findings);
        assert!(has(&rig.findings, "is damaged from byte 0 to 68"), "{:?}", rig.findings);
        assert_eq!(rig.publish(1, 1), [Committed(10)]);
        assert_eq!(positions(&rig.read_all()), (1..=10).collect::<Vec<_>>());
    }
}

#[test]
fn foreign_files_are_left_alone_and_told_of_once() {
    let disk = filled(ALWAYS, 3);
    {
        let mut state = disk.state();
        for n in 0..8 {
            let file = state.files.len();
            state.files.push(vec![1, 2, 3]);
            state.names.insert(format!("notes {n}"), file);
        }
    }
    let rig = reopen(&disk);
    assert_eq!((rig.last, &rig.epoch, rig.findings.len()), (3, &epoch(0), 1));
    assert!(has(&rig.findings, "\"notes 0\"") && has(&rig.findings, "and 3 more"), "{:?}", rig.findings);
    assert_eq!(disk.bytes("notes 7"), [1, 2, 3]);
}

#[test]
fn a_later_layout_is_refused_and_not_touched() {
    let disk = filled(ALWAYS, 3);
    disk.change("meta", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap().replace("\"format\": 1", "\"format\": 2");
        *bytes = text.into_bytes();
    });
    let error = open_at(&disk, &options(ALWAYS), BOOT, "e").unwrap_err().to_string();
    assert!(error.starts_with("WS_JOURNAL=/log: ") && error.contains("format 2"), "{error}");

    let disk = filled(ALWAYS, 6);
    disk.change(&name_of(1), |bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    });
    let error = open_at(&disk, &options(ALWAYS), BOOT, "e").unwrap_err().to_string();
    assert!(error.contains("00000000000000000001.log has version 2"), "{error}");
}

#[test]
fn a_directory_that_can_not_be_written_refuses_to_open() {
    let disk = filled(ALWAYS, 3);
    disk.state().faults.read_only = true;
    let error = open_at(&disk, &options(ALWAYS), BOOT, "e").unwrap_err().to_string();
    assert!(error.starts_with("WS_JOURNAL=/log: ") && error.contains("Read-only"), "{error}");
    disk.state().faults = Faults::default();
    let rig = Rig::open(&disk, &options(ALWAYS), BOOT, "e");
    assert_eq!((rig.last, &rig.epoch), (3, &epoch(0)));
    let error = open_at(&disk, &options(ALWAYS), BOOT, "e").unwrap_err().to_string();
    assert!(error.contains("another node has it"), "{error}");
    drop(rig);
    assert!(open_at(&disk, &options(ALWAYS), BOOT, "e").is_ok());
}

/// However it was left, what it says on a full disk is what it says on any other.
#[test]
fn a_full_disk_is_opened_and_what_is_said_of_it_is_true() {
    for (before, after) in [(ALWAYS, INTERVAL), (INTERVAL, ALWAYS), (INTERVAL, INTERVAL)] {
        for (is_closed, boot) in [(true, BOOT), (true, "toob"), (false, BOOT)] {
            for space in [0, 10] {
                let mut rig = Rig::open(&Ram::default(), &short_segments(before), BOOT, &epoch(0));
                for _ in 0..9 {
                    rig.publish(1, 150);
                }
                let disk = if is_closed { rig.close() } else { rig.disk.copy() };
                disk.state().faults.space = Some(space);
                let len = disk.bytes("meta").len();
                let mut rig = Rig::open(&disk, &short_segments(after), boot, &epoch(1));
                assert_eq!((rig.last, &rig.epoch, rig.findings.len()), (9, &epoch(0), 0));
                assert_eq!(positions(&rig.read_all()), (1..=9).collect::<Vec<_>>());
                assert_eq!(rig.publish(1, 150), [Refused { after: 9 }]);
                assert!(disk.bytes("meta").len() == len && !disk.state().names.contains_key("meta.tmp"));
                let Found::Whole(meta) = Meta::load(&disk).unwrap() else { panic!("{before:?} {after:?}") };
                let opened = Meta::opened(epoch(0), boot.into(), after.kind(), Some(7), 9);
                assert_eq!(meta, opened, "as if there were room");
                // Another process, again without room; then another machine.
                let again = disk.copy();
                again.state().faults.space = Some(0);
                let rig = Rig::open(&again, &short_segments(after), boot, &epoch(1));
                assert_eq!((rig.last, &rig.epoch), (9, &epoch(0)));
                let rig = Rig::open(&again.copy(), &short_segments(after), "boot 2", &epoch(1));
                let expected = if after == ALWAYS { epoch(0) } else { epoch(1) };
                assert_eq!(rig.epoch, expected, "it was not left in good order");
            }
        }
    }
}

#[test]
fn a_full_disk_has_no_room_for_a_new_epoch() {
    let disk = filled(INTERVAL, 3);
    disk.change(&name_of(1), |bytes| bytes.extend([9; 50]));
    let before = (disk.bytes("meta"), disk.bytes(&name_of(1)));
    disk.state().faults.space = Some(10);
    let error = open_at(&disk, &options(INTERVAL), BOOT, "e").unwrap_err().to_string();
    assert!(error.contains("meta can't be written: No space left"), "{error}");
    assert_eq!((disk.bytes("meta"), disk.bytes(&name_of(1))), before, "nothing is touched");
}

/// Less is kept, so there is room.
#[test]
fn a_full_disk_is_freed_by_keeping_less() {
    let disk = filled(INTERVAL, 9);
    disk.state().faults.space = Some(0);
    let mut rig = Rig::open(&disk, &Options { max_bytes: 1, ..short_segments(INTERVAL) }, BOOT, "e");
    rig.tick();
    assert_eq!((disk.segments(), rig.shared_first()), (vec![name_of(7)], 7));
}

#[test]
fn a_real_directory_has_one_owner_and_keeps_what_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { dir: dir.path().join("a/b"), ..short_segments(ALWAYS) };
    let open = || open(&options, &Policy::builtin(), WINDOW, 0, "e");
    let opened = open().unwrap();
    let error = open().unwrap_err().to_string();
    let expected = format!("WS_JOURNAL={}: another node has it", options.dir.display());
    assert!(error.starts_with(&expected), "{error}");
    drop(opened);
    std::fs::write(options.dir.join("notes"), "mine").unwrap();
    let opened = open().unwrap();
    assert_eq!((opened.last, &*opened.epoch), (0, "e"));
    assert!(has(&opened.findings, "\"notes\""));
    let file = options.dir.join("file");
    std::fs::write(&file, "").unwrap();
    let error = super::open::open(&Options { dir: file, ..options.clone() }, policy(), WINDOW, 0, "e");
    assert!(error.unwrap_err().to_string().starts_with("WS_JOURNAL="));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let pipe = |at: &Path| mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let folder = |at: &Path| std::fs::create_dir(at).unwrap();
    let device = |at: &Path| std::os::unix::fs::symlink("/dev/zero", at).unwrap();
    let socket = |at: &Path| drop(std::os::unix::net::UnixListener::bind(at).unwrap());
    let kinds: [&dyn Fn(&Path); 4] = [&pipe, &folder, &device, &socket];
    for (n, make) in kinds.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { dir: dir.path().to_owned(), ..options(ALWAYS) };
        let open = || open(&options, policy(), WINDOW, 0, "e");
        for name in ["lock", "meta"] {
            make(&dir.path().join(name));
            let error = open().unwrap_err().to_string();
            assert!(error.contains("it is not a file"), "{n} {name}: {error}");
            let at = dir.path().join(name);
            if at.is_dir() { std::fs::remove_dir(at).unwrap() } else { std::fs::remove_file(at).unwrap() }
        }
        make(&dir.path().join(name_of(5)));
        let opened = open().unwrap();
        assert!(has(&opened.findings, &name_of(5)), "{n}: {:?}", opened.findings);
    }
}

#[test]
fn a_directory_that_is_not_in_its_place_takes_nothing_and_is_left_alone() {
    let options = Options { max_bytes: 2_000, ..short_segments(ALWAYS) };
    let mut rig = Rig::open(&Ram::default(), &options, BOOT, &epoch(0));
    (0..6).for_each(|_| drop(rig.publish(1, 150)));
    let untouched = |rig: &Rig| {
        let names = rig.disk.state().names.clone();
        (names, rig.disk.done())
    };
    let before = untouched(&rig);
    rig.disk.state().is_displaced = true;
    assert_eq!(rig.publish(1, 150), [Refused { after: 6 }], "a rotation looks");
    rig.later(1_000);
    rig.tick();
    assert_eq!(rig.publish(1, 1), [Refused { after: 6 }]);
    assert_eq!(untouched(&rig), before, "nothing was touched");
    rig.disk.state().is_displaced = false;
    assert_eq!(rig.publish(1, 1), [Refused { after: 6 }], "until the next look");
    rig.later(1_000);
    rig.tick();
    assert_eq!(rig.publish(1, 1), [Committed(7)]);
    rig.disk.state().is_displaced = true;
    rig.later(1_000);
    rig.tick();
    assert_eq!(rig.publish(1, 1), [Refused { after: 7 }], "without a rotation");
    let disk = rig.close();
    assert!(String::from_utf8_lossy(&disk.bytes("meta")).contains("\"clean\": false"));
}

#[test]
fn a_hold_tells_whether_the_directory_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("log"), dir.path().join("away"));
    let disk = Directory::at(&path).unwrap();
    let hold = disk.lock().unwrap();
    assert!(hold.is_in_place());
    std::fs::rename(&path, &away).unwrap();
    assert!(!hold.is_in_place(), "gone");
    std::fs::create_dir(&path).unwrap();
    assert!(!hold.is_in_place(), "another");
    let other = disk.lock().unwrap();
    assert!(!hold.is_in_place() && other.is_in_place(), "of another node");
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    assert!(hold.is_in_place() && !other.is_in_place());
    std::fs::remove_file(path.join("lock")).unwrap();
    assert!(hold.is_in_place(), "the directory is held, with that file in it or without");
    assert!(disk.lock().is_err());
}
