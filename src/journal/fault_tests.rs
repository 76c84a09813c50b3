//! What the log does when the disk does not.

use crate::base::time::Now;
use crate::base::window::Bounds;
use crate::journal::Progress::{Committed, Refused};
use crate::journal::kit_tests::*;
use crate::journal::meta::{Found, Meta};
use crate::journal::open::Opened;
use crate::journal::options::{Options, SyncPolicy};
use crate::journal::ram_tests::*;
use crate::journal::record;
use crate::journal::segment::name_of;

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
