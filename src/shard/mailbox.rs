//! The door into a shard: two bounded channels and one wake per burst.
//!
//! The sequencer is the only one who puts events in, so the room it saw is still there when it
//! writes: a post is refused before its first event has a position, or not at all, and no
//! shard ever misses an event that another got. Orders (kicks, questions, answers) have a
//! channel of their own, so that a kick does not wait behind a burst of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};

use crate::shard::envelope::Envelope;
use crate::shard::mail::{Mail, Order};

/// Events that may wait for a shard. About a tenth of a second of the fastest ingest.
pub const EVENTS_MAX: usize = 65_536;
/// Bytes of events that may wait for a shard, whatever their number.
pub const BYTES_MAX: usize = 64 << 20;
/// Orders that may wait for a shard. A shard takes all of them every turn.
const ORDERS_MAX: usize = 65_536;
/// A shard that does not take its orders for so long is not coming back.
const ORDER_PATIENCE: Duration = Duration::from_secs(10);

/// Wakes a sleeping thread once per burst, however many things are put before it.
pub struct WakeGate {
    pending: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for WakeGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WakeGate").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl WakeGate {
    /// A gate in front of a thread that `wake` rouses.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<WakeGate> {
        Arc::new(WakeGate { pending: AtomicBool::new(false), wake: Box::new(wake) })
    }

    /// Something was put before the sleeper. Call after putting it there.
    pub fn open(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// The sleeper is awake. Call before looking at what is there: what is put there later
    /// wakes again.
    pub fn close(&self) {
        self.pending.swap(false, Ordering::AcqRel);
    }
}

/// The sequencer's end.
#[derive(Debug)]
pub struct Mailbox {
    events: Sender<Mail>,
    bytes: Arc<AtomicUsize>,
    gate: Arc<WakeGate>,
    events_max: usize,
    line: OrderLine,
}

/// Where orders go in.
#[derive(Clone, Debug)]
pub struct OrderLine {
    orders: Sender<Order>,
    gate: Arc<WakeGate>,
}

impl OrderLine {
    /// As [`Mailbox::order`].
    ///
    /// # Panics
    /// As [`Mailbox::order`].
    pub fn order(&self, order: Order) {
        match self.orders.send_timeout(order, ORDER_PATIENCE) {
            Ok(()) => self.gate.open(),
            Err(SendTimeoutError::Disconnected(_)) => {}
            Err(SendTimeoutError::Timeout(_)) => panic!("a shard does not take its orders"),
        }
    }
}

/// The shard's end.
#[derive(Debug)]
pub struct Mailroom {
    events: Receiver<Mail>,
    orders: Receiver<Order>,
    bytes: Arc<AtomicUsize>,
    gate: Arc<WakeGate>,
}

/// Both ends of a mailbox for at most `events_max` events, before a thread behind `gate`.
#[must_use]
pub fn mailbox(events_max: usize, gate: Arc<WakeGate>) -> (Mailbox, Mailroom) {
    let (events_in, events_out) = bounded(events_max);
    let (orders_in, orders_out) = bounded(ORDERS_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    (
        Mailbox {
            events: events_in,
            bytes: bytes.clone(),
            gate: gate.clone(),
            events_max,
            line: OrderLine { orders: orders_in, gate: gate.clone() },
        },
        Mailroom { events: events_out, orders: orders_out, bytes, gate },
    )
}

impl Mailbox {
    /// Whether `events` events of `bytes` bytes in all fit now. An empty mailbox takes any
    /// bytes, so that nothing waits for ever.
    #[must_use]
    pub fn has_room(&self, events: usize, bytes: usize) -> bool {
        let waiting = self.bytes.load(Ordering::Relaxed);
        self.events.len() + events <= self.events_max && (waiting == 0 || waiting + bytes <= BYTES_MAX)
    }

    /// Puts an event in. The caller has asked [`Mailbox::has_room`] and is the only one who
    /// puts events in. The shard learns of it at the next [`Mailbox::ring`].
    pub fn put(&self, envelope: Arc<Envelope>) {
        self.bytes.fetch_add(envelope.frame.len(), Ordering::Relaxed);
        match self.events.try_send(Mail::Event(envelope)) {
            // A shard that has ended misses nothing: nobody is connected to it.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => unreachable!("room seen is room kept"),
        }
    }

    /// Sends a canary down the way that events go. It is lost when there is no room, as it
    /// should be: a node without room is not ready.
    pub fn put_canary(&self, stamp: u64) {
        if self.events.len() + 1 < self.events_max && self.events.try_send(Mail::Canary { stamp }).is_ok() {
            self.gate.open();
        }
    }

    /// Wakes the shard for what was put in.
    pub fn ring(&self) {
        self.gate.open();
    }

    /// Gives an order. Waits while the shard has very many to take; a shard that has ended
    /// has nobody left whom the order could concern.
    ///
    /// # Panics
    /// When the shard takes none for ten seconds: a node with a stuck shard must not go on as
    /// if it were whole.
    pub fn order(&self, order: Order) {
        self.line.order(order);
    }

    /// A second way to give orders to the same shard, for the one who ends the node.
    #[must_use]
    pub fn order_line(&self) -> OrderLine {
        self.line.clone()
    }

    /// Events and bytes that wait.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.events.len(), self.bytes.load(Ordering::Relaxed))
    }
}

impl Mailroom {
    /// The shard is awake and about to look.
    pub fn begin(&self) {
        self.gate.close();
    }

    /// The next order.
    #[must_use]
    pub fn next_order(&self) -> Option<Order> {
        self.orders.try_recv().ok()
    }

    /// The next event, or canary among them.
    #[must_use]
    pub fn next_mail(&self) -> Option<Mail> {
        let mail = self.events.try_recv().ok()?;
        if let Mail::Event(envelope) = &mail {
            self.bytes.fetch_sub(envelope.frame.len(), Ordering::Relaxed);
        }
        Some(mail)
    }

    /// Whether events wait.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn the_gate_wakes_once_per_burst_and_never_misses() {
        const PUTS: usize = 100_000;
        let (wake_in, wake_out) = bounded::<()>(PUTS);
        let gate = WakeGate::new(move || wake_in.send(()).unwrap());
        let (box_, room) = mailbox(16, gate);
        let start = Arc::new(Barrier::new(2));
        let begun = start.clone();
        let sequencer = thread::spawn(move || {
            begun.wait();
            for stamp in 0..PUTS as u64 {
                box_.order(Order::Count { ticket: stamp });
            }
        });
        start.wait();
        let (mut next, mut wakes) = (0, 0);
        while next < PUTS as u64 {
            // The sleeper's only cause to look: a lost wake would hang the test here.
            wake_out.recv_timeout(Duration::from_secs(20)).expect("a wake was lost");
            wakes += 1;
            room.begin();
            while let Some(Order::Count { ticket }) = room.next_order() {
                assert_eq!(ticket, next);
                next += 1;
            }
        }
        sequencer.join().unwrap();
        assert!(wakes <= PUTS);
    }
}
