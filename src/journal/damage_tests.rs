//! What an opening makes of a log that is not as it was left.

use crate::journal::Progress::Committed;
use crate::journal::kit_tests::*;
use crate::journal::record;
use crate::journal::segment::{HEADER_BYTES, name_of};

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
