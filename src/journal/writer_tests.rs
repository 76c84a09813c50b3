use std::thread;

use super::*;
use crate::journal::Journal;
use crate::journal::Progress::Committed;
use crate::journal::files::Log;
use crate::journal::kit_tests::*;
use crate::journal::options::SyncPolicy;
use crate::journal::ram_tests::Ram;

#[test]
fn what_waits_shares_one_write_and_one_sync() {
    let mut rig = Rig::new(SyncPolicy::Always);
    rig.publish(1, 10);
    let (syncs, writes) = rig.disk.done();
    for _ in 0..100 {
        rig.post(2, 10);
    }
    rig.write();
    assert_eq!(rig.disk.done(), (syncs + 1, writes + 1));
    assert_eq!(rig.hear(), [Committed(201)]);
    assert_eq!(positions(&rig.read_all()), (1..=201).collect::<Vec<_>>());
    let counters = rig.writer.store.counters();
    assert_eq!((counters.appended.read(), counters.writes.read(), counters.syncs.read()), (201, 2, 2));
    assert_eq!(counters.bytes.read(), rig.disk.bytes("00000000000000000001.log").len() as u64);
    assert_eq!(counters.appended_bytes.read(), counters.bytes.read() - 68);
}

#[test]
fn groups_are_bounded_and_never_cut_a_post() {
    let mut rig = Rig::new(SyncPolicy::Always);
    for _ in 0..10 {
        rig.post(2, 500_000);
    }
    rig.write();
    let heard = rig.hear();
    // Four or five posts of a megabyte each fill a group.
    assert!((2..=3).contains(&heard.len()), "{heard:?}");
    assert!(
        heard.iter().all(|p| matches!(p, Committed(n) if n % 2 == 0)) && heard.last() == Some(&Committed(20))
    );
    rig.post(1, 9 << 20);
    rig.post(1, 1);
    rig.write();
    assert_eq!(rig.hear(), [Committed(21), Committed(22)], "one that is longer goes alone");
    assert_eq!(rig.read_all().len(), 22);
    assert!(rig.writer.bytes.capacity() <= BUFFER_KEPT_BYTES);
}

#[test]
fn there_is_room_for_so_much_and_an_empty_line_takes_anything() {
    let mut rig = Rig::new(SyncPolicy::Never);
    assert!(rig.journal.has_room(1 << 20, 1 << 30));
    rig.post(10, 10);
    assert!(rig.journal.has_room(65_526, 1 << 20) && !rig.journal.has_room(65_527, 1 << 20));
    assert!(rig.journal.has_room(1, 63 << 20) && !rig.journal.has_room(1, 64 << 20));
    rig.write();
    assert!(!rig.journal.has_room(65_527, 1), "until it is heard of");
    rig.hear();
    assert!(rig.journal.has_room(1 << 20, 1 << 30));
    rig.disk.state().faults.space = Some(0);
    rig.post(10, 10);
    rig.write();
    rig.hear();
    assert!(rig.journal.has_room(1 << 20, 1 << 30), "what was refused takes no room");
}

#[test]
fn the_thread_writes_everything_and_closes_in_good_order() {
    let disk = Ram::default();
    let policy = SyncPolicy::Interval { ms: 60_000 };
    let log: Log = open_at(&disk, &options(policy), BOOT, "e").unwrap().log;
    let (wake_in, wake_out) = crossbeam_channel::unbounded();
    let gate = WakeGate::new(move || wake_in.send(()).unwrap());
    let mut parts = log.start(Arc::default(), gate.clone());
    let writer = parts.writer;
    let thread = thread::spawn(move || writer.run(Clock::start()));
    let mut safe = 0;
    for position in 1..=2_000 {
        parts.journal.append(entry(position, 100, None, position));
        parts.journal.commit();
        if position % 100 == 0 {
            while safe < position {
                wake_out.recv_timeout(Duration::from_secs(20)).expect("a wake for each word");
                gate.close();
                while let Some(Committed(to)) = parts.journal.poll() {
                    assert!(to > safe);
                    safe = to;
                }
            }
        }
    }
    parts.journal.append(entry(2_001, 100, None, 1));
    parts.journal.commit();
    drop(parts.journal);
    thread.join().unwrap().unwrap();
    let rig = Rig::open(&disk, &options(policy), "another boot", "other");
    assert_eq!((rig.last, &*rig.epoch, rig.findings.len()), (2_001, "e", 0));
}
