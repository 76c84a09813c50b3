//! A shard that does not keep up: nobody takes mail out of these mailboxes but the test.

use super::*;
use crate::base::window::Bounds;
use crate::journal::faulty::{Faulty, Hand};
use crate::journal::history::HistoryFilter;
use crate::journal::memory::Memory;
use crate::shard::mail::Mail;
use crate::shard::mailbox::{self, Mailroom, WakeGate, mailbox};

const NOW: Now = Now { mono: 1_000_000, wall: 1_700_000_000_000 };

fn sequencer(rooms: &[usize]) -> (Sequencer, Vec<Mailroom>) {
    with_journal(Box::new(Memory::default()), rooms)
}

/// A sequencer before a log that the test moves by hand, and one shard.
fn slow() -> (Sequencer, Mailroom, Hand) {
    let (journal, hand) = Faulty::new();
    let (sequencer, mut rooms) = with_journal(Box::new(journal), &[1_000]);
    (sequencer, rooms.remove(0), hand)
}

fn with_journal(journal: Box<dyn Journal>, rooms: &[usize]) -> (Sequencer, Vec<Mailroom>) {
    let ends = rooms.iter().map(|&events| mailbox(events, WakeGate::new(|| ())));
    let (mailboxes, mailrooms) = ends.unzip();
    let beginning = Beginning {
        journal,
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

/// The events behind `since`, as the history shows them.
fn page(sequencer: &Sequencer, since: u64) -> String {
    let until = sequencer.held().1;
    let filter = HistoryFilter::default();
    let query =
        HistoryQuery { ticket: 0, since, until, goes_on: false, filter, limit: 10, bytes_max: usize::MAX };
    String::from_utf8(sequencer.recent_page(&query).unwrap().body).unwrap()
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
    let history = page(&s, 1);
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

/// What has become of posts: tickets with the journal's word.
fn settled(s: &mut Sequencer) -> Vec<(u64, bool)> {
    s.settle(NOW);
    std::iter::from_fn(|| s.next_settled()).collect()
}

#[test]
fn nobody_sees_an_event_before_the_journal_has_it() {
    let (mut s, room, hand) = slow();
    let one = s.publish(drafts(&s, 2), NOW).unwrap();
    let two = s.publish(drafts(&s, 1), NOW).unwrap();
    assert_eq!((one.ids, two.ids), (vec!["1".to_owned(), "2".into()], vec!["3".to_owned()]));
    let (one, two) = (one.ticket.unwrap(), two.ticket.unwrap());
    assert_eq!((settled(&mut s), positions(&room), s.uncommitted()), (vec![], vec![], 3));
    assert_eq!((s.last_event_id(), s.held(), s.counters().accepted.read()), ("0".into(), (1, 0), 0));
    hand.commit(1);
    assert_eq!((settled(&mut s), positions(&room)), (vec![], vec![1]), "half a post is not answered");
    hand.commit(2);
    assert_eq!((settled(&mut s), positions(&room)), (vec![(one, true), (two, true)], vec![2, 3]));
    assert_eq!((s.last_event_id(), s.uncommitted()), ("3".into(), 0));
}

#[test]
fn what_the_journal_refuses_never_was() {
    let (mut s, room, hand) = slow();
    let posted = |s: &mut Sequencer, key| {
        let draft = draft(s, Some(key), 0);
        s.publish(vec![draft], NOW).unwrap()
    };
    let first = posted(&mut s, "a");
    hand.commit(1);
    let (second, again) = (posted(&mut s, "b"), posted(&mut s, "b"));
    assert_eq!((&second.ids, &again.ids), (&vec!["2".to_owned()], &vec!["2".to_owned()]));
    let known = posted(&mut s, "a");
    assert_eq!((known.ids[0].as_str(), known.ticket), ("1", None), "that one is safe");
    hand.refuse();
    let tickets = [first, second, again].map(|posted| posted.ticket.unwrap());
    assert_eq!(settled(&mut s), [(tickets[0], true), (tickets[1], false), (tickets[2], false)]);
    assert_eq!((positions(&room), hand.log(), s.uncommitted()), (vec![1], vec![1], 0));
    // The position is free, and so is the key.
    let later = posted(&mut s, "b");
    assert_eq!((later.ids[0].as_str(), later.ticket.is_some()), ("2", true));
    hand.commit(1);
    assert_eq!((settled(&mut s).len(), positions(&room), s.idempotency().0), (1, vec![2], 2));
}

#[test]
fn a_refusal_refuses_the_post_at_hand_too() {
    let (mut s, room, hand) = slow();
    let waits = s.publish(drafts(&s, 1), NOW).unwrap().ticket.unwrap();
    hand.set_broken(true);
    let keyed = draft(&s, Some("k"), 0);
    assert_eq!(s.publish(vec![keyed.clone()], NOW), Err(UNSAFE));
    assert_eq!(settled(&mut s), [(waits, false)]);
    assert_eq!((s.idempotency().0, s.uncommitted()), (0, 0));
    hand.set_broken(false);
    hand.set_full(true);
    assert_eq!(s.publish(vec![keyed.clone()], NOW), Err(OVERLOADED));
    hand.set_full(false);
    hand.set_instant(true);
    let posted = s.publish(vec![keyed], NOW).unwrap();
    assert_eq!((posted.ids[0].as_str(), posted.ticket, positions(&room)), ("1", None, vec![1]));
}

#[test]
fn a_connection_hears_of_its_event_behind_the_event() {
    let (mut s, room, hand) = slow();
    let publish = |s: &mut Sequencer, request: &str| {
        let draft = Box::new(draft(s, None, 0));
        let conn = Id { slot: 3, generation: 1 };
        s.handle_report(Report::Publish { shard: 0, conn, request: Some(request.into()), draft }, NOW);
    };
    let orders = || {
        let outcomes = std::iter::from_fn(|| room.next_order()).map(|order| match order {
            Order::Published { request, outcome, .. } => (request.unwrap(), outcome),
            other => panic!("{other:?}"),
        });
        outcomes.collect::<Vec<_>>()
    };
    publish(&mut s, "1");
    publish(&mut s, "2");
    assert_eq!(orders(), []);
    hand.commit(1);
    s.settle(NOW);
    assert_eq!((orders(), positions(&room)), (vec![("1".into(), Ok("1".into()))], vec![1]));
    hand.refuse();
    s.settle(NOW);
    assert_eq!((orders(), positions(&room)), (vec![("2".into(), Err(Overloaded))], vec![]));
}

#[test]
fn the_nodes_own_events_outlast_a_journal_that_refuses() {
    let (mut s, room, hand) = slow();
    for user in ["ann", "bob"] {
        s.handle_report(Report::Joined { user: user.into() }, NOW);
    }
    hand.refuse();
    s.fire_deadlines(NOW);
    assert_eq!((s.uncommitted(), positions(&room)), (0, vec![]), "not again at once");
    s.handle_report(Report::Joined { user: "cy".into() }, NOW);
    hand.set_instant(true);
    s.fire_deadlines(NOW.plus(RETRY_AFTER_MS));
    assert_eq!(positions(&room), [1, 2, 3]);
    let history = page(&s, 0);
    let order = ["ann", "bob", "cy"].map(|user| history.find(user).unwrap());
    assert!(order.is_sorted(), "{history}");
}

#[test]
fn the_nodes_own_events_are_bounded() {
    let (mut s, room, hand) = slow();
    hand.set_full(true);
    for n in 0..OWN_MAX + 5 {
        s.handle_report(Report::Joined { user: n.to_string().into() }, NOW);
    }
    assert_eq!((s.unpublished.len(), s.counters().own_dropped.read()), (OWN_MAX, 5));
    assert!(positions(&room).is_empty());
}
