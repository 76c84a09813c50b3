use std::thread;

use super::*;
use crate::journal::Progress::Committed;
use crate::journal::history::HistoryFilter;
use crate::journal::kit_tests::*;
use crate::journal::options::{Options, SyncPolicy};
use crate::journal::ram_tests::Ram;
use crate::journal::segment::BLOCK_BYTES;
use crate::policy::{Namespace, Viewer, ViewerClass};

fn query(since: u64, until: u64) -> HistoryQuery {
    let filter = HistoryFilter::default();
    HistoryQuery { ticket: 7, since, until, goes_on: false, filter, limit: 1_000_000, bytes_max: 1 << 30 }
}

fn ids(page: &HistoryPage) -> Vec<u64> {
    let lines = std::str::from_utf8(&page.body).unwrap().lines();
    let id =
        |line: &str| line.rsplit("\"id\":\"").next().unwrap().split('"').next().unwrap().parse().unwrap();
    lines.map(id).collect()
}

/// A log with so many events, about a hundred to a block.
fn filled(events: u64) -> Rig {
    let mut rig = Rig::new(SyncPolicy::Never);
    while rig.last < events {
        rig.post(1, 500);
    }
    rig.write();
    assert_eq!(rig.hear().last(), Some(&Committed(events)));
    rig
}

#[test]
fn blocks_are_read_once_and_shared() {
    let mut rig = filled(300);
    let first = rig.reader.part(0, policy()).unwrap();
    let last = first.envelopes.last().unwrap().position;
    assert!((50..150).contains(&last), "a block: {last}");
    for after in [0, 1, last / 2, last - 1] {
        assert!(Arc::ptr_eq(&first, &rig.reader.part(after, policy()).unwrap()));
    }
    let second = rig.reader.part(last, policy()).unwrap();
    assert_eq!(second.envelopes[0].position, last + 1, "blocks follow each other");
    let counters = rig.writer.store.counters();
    assert_eq!((counters.reads.read(), counters.cache_hits.read()), (2, 4));
    assert!(counters.read_bytes.read() >= 2 * BLOCK_BYTES);
    assert_eq!(positions(&rig.read_all()), (1..=300).collect::<Vec<_>>());
    assert!(rig.reader.part(300, policy()).is_none() && rig.reader.part(u64::MAX, policy()).is_none());
}

#[test]
fn the_block_that_still_grows_is_never_stale() {
    let mut rig = Rig::new(SyncPolicy::Never);
    for n in 1..=400 {
        rig.publish(1, 500);
        let chunk = rig.reader.part(n - 1, policy()).unwrap();
        assert_eq!(chunk.envelopes.last().unwrap().position, n, "the newest is there at once");
        let chunk = rig.reader.part(n / 2, policy()).filter(|_| n > 1);
        assert!(n == 1 || chunk.unwrap().covers(n / 2));
    }
}

#[test]
fn what_is_not_committed_is_not_given_out() {
    let mut rig = Rig::new(SyncPolicy::Always);
    rig.publish(3, 10);
    rig.disk.state().faults.sync = Some(5);
    rig.disk.state().faults.truncate = Some(5);
    rig.publish(2, 10);
    let on_disk = rig.disk.bytes(&name_of(1));
    assert!(String::from_utf8_lossy(&on_disk).contains("\"id\":\"5\""), "it is in the file");
    assert!(rig.reader.part(3, policy()).is_none());
    assert_eq!(ids(&rig.reader.page(&query(0, 99), policy())), [1, 2, 3]);
    rig.disk.state().faults = Default::default();
    rig.publish(1, 77);
    let given = rig.reader.part(3, policy()).unwrap();
    assert_eq!(given.envelopes[0].frame.iter().filter(|byte| **byte == b'x').count(), 77);
}

#[test]
fn what_was_let_go_of_while_a_cursor_was_on_its_way_is_none() {
    let options = Options { segment_bytes: 1 << 18, max_bytes: 1 << 19, ..options(SyncPolicy::Never) };
    let mut rig = Rig::open(&Ram::default(), &options, BOOT, &epoch(0));
    rig.publish(500, 500);
    let chunk = rig.reader.part(0, policy()).unwrap();
    let after = chunk.envelopes.last().unwrap().position;
    for _ in 0..5 {
        rig.publish(500, 500);
    }
    assert!(rig.reader.part(after, policy()).is_none(), "gone");
    assert!(rig.reader.part(0, policy()).is_none(), "though it was read before");
    let first = rig.shared_first();
    assert!(first > 500 && rig.reader.part(first - 1, policy()).unwrap().covers(first - 1));
    let page = rig.reader.page(&query(10, u64::MAX), policy());
    assert_eq!((page.gap, ids(&page)), (true, (first..=3_000).collect()));
}

#[test]
fn bytes_that_change_later_are_none_and_told_of() {
    let mut rig = filled(300);
    let last = rig.reader.part(0, policy()).unwrap().envelopes.last().unwrap().position;
    rig.disk.change(&name_of(1), |bytes| bytes[BLOCK_BYTES as usize + 5_000] ^= 1);
    assert!(rig.reader.part(last, policy()).is_none());
    let page = rig.reader.page(&query(0, 300), policy());
    assert!(page.gap && !page.more && page.cursor == 300);
    let ids = ids(&page);
    assert!(ids.contains(&last) && !ids.contains(&(last + 1)) && ids.contains(&300));
    rig.disk.state().faults.read = Some(5);
    assert!(rig.reader.part(299, policy()).is_none());
    assert_eq!(rig.writer.store.counters().read_errors.read(), 3);
    rig.disk.state().faults.read = None;
    assert!(rig.reader.part(299, policy()).is_some(), "and when it can be read again, it is");
}

#[test]
fn what_can_not_be_read_moves_the_beginning_of_the_log_behind_it() {
    let options = Options { segment_bytes: 1 << 18, ..options(SyncPolicy::Never) };
    let fresh = || {
        let mut rig = Rig::open(&Ram::default(), &options, BOOT, &epoch(0));
        (0..1_200).for_each(|_| drop(rig.publish(1, 500)));
        rig
    };
    let next_of = |rig: &Rig| {
        let second = &rig.disk.segments()[1];
        crate::journal::segment::first_of(second).unwrap()
    };

    let mut rig = fresh();
    let last = rig.reader.part(0, policy()).unwrap().envelopes.last().unwrap().position;
    rig.disk.change(&name_of(1), |bytes| bytes[BLOCK_BYTES as usize + 5_000] ^= 1);
    assert_eq!(rig.shared_first(), 1);
    assert!(rig.reader.part(last, policy()).is_none());
    let first = rig.shared_first();
    assert!(first > last + 1 && first < next_of(&rig), "behind the block: {first}");
    assert!(rig.reader.part(first - 1, policy()).unwrap().covers(first - 1));
    assert!(rig.reader.part(last, policy()).is_none());
    assert_eq!((rig.shared_first(), positions(&rig.read_all())), (first, (first..=1_200).collect()));

    let mut rig = fresh();
    rig.disk.change(&name_of(1), |bytes| bytes.truncate(70_000));
    assert!(rig.reader.page(&query(0, 1_200), policy()).gap, "a query says so too");
    assert_eq!(rig.shared_first(), next_of(&rig), "all of the end of that file");

    let mut rig = fresh();
    let next = next_of(&rig);
    rig.disk.state().names.remove(&name_of(1));
    assert!(rig.reader.part(0, policy()).is_none());
    assert_eq!(rig.shared_first(), next, "a file that is gone is gone as a whole");
    assert_eq!(rig.writer.store.counters().read_errors.read(), 1);
    assert_eq!(positions(&rig.read_all()), (next..=1_200).collect::<Vec<_>>());

    let mut rig = fresh();
    rig.disk.state().faults.read = Some(24); // No descriptor is free.
    assert!(rig.reader.part(0, policy()).is_none());
    assert_eq!(rig.shared_first(), 1, "that passes");
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let mut rig = filled(300);
    for (limit, bytes_max) in [(1, 1 << 30), (7, 1 << 30), (1_000, 1), (1_000, 20_000), (1_000, 1 << 30)] {
        let (mut all, mut since, mut pages) = (Vec::new(), 20, 0);
        loop {
            let page = rig.reader.page(&HistoryQuery { limit, bytes_max, ..query(since, 280) }, policy());
            assert!(!page.gap && page.ticket == 7 && page.cursor > since);
            assert!(ids(&page).len() <= limit && page.body.len() < bytes_max.saturating_add(1_000));
            assert_eq!(page.more, page.cursor < 280);
            all.extend(ids(&page));
            (since, pages) = (page.cursor, pages + 1);
            if !page.more {
                break;
            }
        }
        assert_eq!(all, (21..=280).collect::<Vec<_>>());
        assert!(pages >= 260usize.div_ceil(limit));
    }
    let page = rig.reader.page(&query(299, u64::MAX), policy());
    assert_eq!((ids(&page), page.cursor, page.more, page.gap), (vec![300], 300, false, false));
    let page = rig.reader.page(&query(300, u64::MAX), policy());
    assert_eq!((ids(&page), page.cursor, page.more, page.gap), (vec![], 300, false, false));
    let page = rig.reader.page(&query(400, u64::MAX), policy());
    assert_eq!((page.cursor, page.more, page.gap), (400, false, false));
}

#[test]
fn filters_ask_for_namespace_type_and_key() {
    let mut rig = filled(30);
    let ids =
        |filter: HistoryFilter| ids(&rig.reader.page(&HistoryQuery { filter, ..query(0, 30) }, policy()));
    let of = |rest: u64| (1..=30).filter(|position| position % 3 == rest).collect::<Vec<_>>();
    let everything = HistoryFilter::default;
    let orders = policy().namespace("orders").unwrap();
    let deleted = policy().event_type("product:deleted").unwrap();
    let mut ids = ids;
    assert_eq!(ids(HistoryFilter { namespaces: Some(vec![orders]), ..everything() }), of(1));
    assert_eq!(ids(HistoryFilter { types: Some(vec![deleted]), ..everything() }).len(), 20);
    assert_eq!(ids(HistoryFilter { key: Some("o".into()), ..everything() }), of(1));
    let none = HistoryFilter { types: Some(vec![deleted]), namespaces: Some(vec![orders]), key: None };
    assert!(ids(none).is_empty());
    assert!(ids(HistoryFilter { namespaces: Some(Vec::new()), ..everything() }).is_empty());
}

#[test]
fn one_query_reads_only_so_much() {
    let mut rig = filled(25_000);
    let filter = HistoryFilter { namespaces: Some(Vec::new()), ..HistoryFilter::default() };
    let page = rig.reader.page(&HistoryQuery { filter, ..query(0, u64::MAX) }, policy());
    assert!(page.more && page.body.is_empty() && !page.gap);
    let read = rig.writer.store.counters().read_bytes.read();
    assert!((QUERY_READ_BYTES..QUERY_READ_BYTES + 2 * BLOCK_BYTES).contains(&read), "{read}");
    assert!((8_000..20_000).contains(&page.cursor), "{}", page.cursor);
}

#[test]
fn what_the_policy_does_not_know_is_for_nobody() {
    let disk = filled(3).close();
    let text = include_str!("../policy/default.json").replace("product:deleted", "product:gone");
    let narrower = Policy::parse(&text).unwrap();
    let mut rig = Rig::open(&disk, &options(SyncPolicy::Never), BOOT, &epoch(1));
    let chunk = rig.reader.part(0, &narrower).unwrap();
    assert_eq!(positions(&chunk.envelopes), [1, 2, 3]);
    let full = crate::base::masks::Mask::first(32);
    for envelope in [&chunk.envelopes[1], &chunk.envelopes[2]] {
        for role in narrower.roles() {
            let class = ViewerClass { role, subscribed: full, keyed: full };
            assert!(!envelope.audience.admits(&Viewer { class, user: "u", session: "s", keys: &() }));
        }
        let namespaces = Some((0..32).map(Namespace).collect());
        let asked = HistoryFilter { namespaces, ..HistoryFilter::default() };
        assert!(!asked.admits(envelope) && HistoryFilter::default().admits(envelope));
    }
    let page = rig.reader.page(&query(0, 3), &narrower);
    assert_eq!(ids(&page), [1, 2, 3], "the operator sees what is there");
}

#[test]
fn the_thread_answers_shards_and_queries_and_ends_with_them() {
    let disk = filled(200).close();
    let opened = open_at(&disk, &options(SyncPolicy::Never), BOOT, "e").unwrap();
    let gate = crate::shard::mailbox::WakeGate::new(|| {});
    let parts = opened.log.start(Arc::default(), gate.clone());
    let (mailbox, room) = crate::shard::mailbox::mailbox(16, gate);
    let (pages_in, pages) = bounded(16);
    let reader = parts.reader;
    let line = mailbox.order_line();
    let thread = thread::spawn(move || {
        let on_page = Box::new(move |page| pages_in.send(page).unwrap());
        reader.run(Arc::new(Config::sample()), vec![line], on_page)
    });
    for after in [0, 150, 200] {
        parts.asks.send(Ask { shard: 0, after }).unwrap();
    }
    parts.asks.send(Ask { shard: 9, after: 0 }).unwrap(); // No such shard: nobody is answered.
    parts.queries.send(query(190, u64::MAX)).unwrap();
    assert_eq!(ids(&pages.recv().unwrap()), (191..=200).collect::<Vec<_>>());
    drop((parts.asks, parts.queries));
    thread.join().unwrap().unwrap();
    for expected in [0, 150, 200] {
        let Some(Order::Past { after, chunk }) = room.next_order() else { panic!("an answer") };
        assert_eq!((after, chunk.is_some_and(|chunk| chunk.covers(after))), (expected, expected < 200));
    }
    assert!(room.next_order().is_none());
}
