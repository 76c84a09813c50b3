//! A shard that does not keep up: nobody takes mail out of these mailboxes but the test.

use super::*;
use crate::base::window::Bounds;
use crate::journal::memory::Memory;
use crate::shard::mail::Mail;
use crate::shard::mailbox::{self, Mailroom, WakeGate, mailbox};

const NOW: Now = Now { mono: 1_000_000, wall: 1_700_000_000_000 };

fn sequencer(rooms: &[usize]) -> (Sequencer, Vec<Mailroom>) {
    let ends = rooms.iter().map(|&events| mailbox(events, WakeGate::new(|| ())));
    let (mailboxes, mailrooms) = ends.unzip();
    let beginning = Beginning {
        journal: Box::new(Memory::default()),
        recent: Window::new(Bounds { items: 1_000, bytes: 1 << 30 }, 0),
        idempotency: Idempotency::new(60_000),
    };
    let config = Arc::new(Config::sample());
    let sequencer = Sequencer::new(config, Arc::default(), beginning, mailboxes, 5_000);
    (sequencer, mailrooms)
}

fn draft(sequencer: &Sequencer, key: Option<&str>, bytes: usize) -> Draft {
    let config = sequencer.config();
    let key = key.map_or(String::new(), |key| format!(r#","idempotencyKey":"{key}""#));
    let pad = "x".repeat(bytes);
    let text = format!(r#"{{"type":"product:deleted","data":{{"productId":"p","pad":"{pad}"}}{key}}}"#);
    config.policy.draft_posted(&text, &config.rules).unwrap()
}

fn drafts(sequencer: &Sequencer, count: usize) -> Vec<Draft> {
    (0..count).map(|_| draft(sequencer, None, 0)).collect()
}

/// Positions of the events that wait in a mailbox.
fn positions(room: &Mailroom) -> Vec<u64> {
    let mail = std::iter::from_fn(|| room.next_mail());
    mail.filter_map(|mail| match mail {
        Mail::Event(envelope) => Some(envelope.position),
        Mail::Canary { .. } => None,
    })
    .collect()
}

#[test]
fn a_post_for_which_one_shard_has_no_room_is_refused_whole() {
    let (mut s, rooms) = sequencer(&[4, 100]);
    let refused = Err(OVERLOADED);
    let safe =
        |ids: &[&str]| Ok(Posted { ids: ids.iter().map(|id| (*id).to_owned()).collect(), ticket: None });
    assert_eq!(s.publish(drafts(&s, 3), NOW), safe(&["1", "2", "3"]));
    let mut two = drafts(&s, 1);
    two.push(draft(&s, Some("k"), 0));
    assert_eq!(s.publish(two.clone(), NOW), refused, "one of the two would fit");
    assert_eq!((s.last_event_id(), s.held()), ("3".into(), (1, 3)), "no position was given");
    assert_eq!((s.counters().accepted.read(), s.counters().refused.read()), (3, 2));
    assert_eq!(s.idempotency().0, 0, "the key is not remembered");
    assert_eq!(s.publish(drafts(&s, 1), NOW), safe(&["4"]), "it still takes what fits");
    assert_eq!(s.publish(drafts(&s, 1), NOW), refused);
    // The other shard has just what this one has.
    assert_eq!((positions(&rooms[0]), positions(&rooms[1])), (vec![1, 2, 3, 4], vec![1, 2, 3, 4]));
    assert_eq!(s.publish(two, NOW), safe(&["5", "6"]), "the same post once there is room");
    assert_eq!((positions(&rooms[0]), positions(&rooms[1])), (vec![5, 6], vec![5, 6]));
}

#[test]
fn bytes_that_wait_are_bounded_and_an_empty_mailbox_takes_any() {
    let (mut s, rooms) = sequencer(&[mailbox::EVENTS_MAX]);
    let large = draft(&s, None, 200 << 10);
    let most = mailbox::BYTES_MAX / (200 << 10);
    assert!(s.publish(vec![large.clone(); most + 10], NOW).is_ok(), "it is empty, so it takes it");
    assert!(s.publish(drafts(&s, 1), NOW).is_err(), "and now nothing more");
    assert_eq!(positions(&rooms[0]).len(), most + 10);
    let taken = (0..most * 2).take_while(|_| s.publish(vec![large.clone()], NOW).is_ok()).count();
    assert!((most - 2..=most).contains(&taken), "{taken} of {most}");
    assert_eq!(positions(&rooms[0]).len(), taken);
    assert!(s.publish(vec![large], NOW).is_ok());
}

#[test]
fn the_nodes_own_events_wait_for_room_and_keep_their_order() {
    let (mut s, rooms) = sequencer(&[1]);
    s.publish(drafts(&s, 1), NOW).unwrap();
    for user in ["ann", "bob"] {
        assert!(s.handle_report(Report::Joined { user: user.into() }, NOW).is_none());
    }
    assert_eq!(positions(&rooms[0]), [1]);
    s.fire_deadlines(NOW);
    s.fire_deadlines(NOW.plus(1));
    assert_eq!(positions(&rooms[0]), [2]);
    s.fire_deadlines(NOW.plus(2));
    assert_eq!(positions(&rooms[0]), [3]);
    let history = String::from_utf8(s.history(1, None, 10, usize::MAX).0).unwrap();
    let (ann, bob) = (history.find("ann").unwrap(), history.find("bob").unwrap());
    assert!(ann < bob && history.matches("customer:online").count() == 2);
}

#[test]
fn a_node_whose_shard_takes_no_mail_is_not_ready() {
    let (mut s, rooms) = sequencer(&[8, 8]);
    s.shared().started.store(true, Ordering::Relaxed);
    s.fire_deadlines(NOW);
    let stamp = |room: &Mailroom| match room.next_mail() {
        Some(Mail::Canary { stamp }) => stamp,
        other => panic!("{other:?}"),
    };
    let stamps = [stamp(&rooms[0]), stamp(&rooms[1])];
    s.handle_report(Report::Canary { shard: 0, stamp: stamps[0] }, NOW);
    assert!(!s.shared().is_ready(NOW.mono), "one of two came back");
    s.handle_report(Report::Canary { shard: 1, stamp: stamps[1] }, NOW);
    assert!(s.shared().is_ready(NOW.mono));
    // From now on the second shard is silent.
    for ms in (CANARY_INTERVAL_MS..READY_FOR_MS).step_by(CANARY_INTERVAL_MS as usize) {
        s.fire_deadlines(NOW.plus(ms));
        let stamp = stamp(&rooms[0]);
        s.handle_report(Report::Canary { shard: 0, stamp }, NOW.plus(ms));
    }
    assert!(!s.shared().is_ready(NOW.mono + READY_FOR_MS));
}
