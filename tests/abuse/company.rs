//! Clients who behave, and an oracle that knows what each of them must get.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Control, Frame, Node, PATIENCE, frame, order};

/// Between two events.
const GAP: Duration = Duration::from_millis(5);
/// The customer who owns every third order.
const CUSTOMER: &str = "regular";

#[derive(Default)]
struct Shared {
    /// Events posted so far.
    posted: AtomicU64,
    stop: AtomicBool,
    /// No more are posted.
    done: AtomicBool,
}

/// Who is served meanwhile.
pub struct Company {
    shared: Arc<Shared>,
    poster: JoinHandle<()>,
    witnesses: Vec<JoinHandle<Duration>>,
}

/// Connections of a company.
pub const WITNESSES: u64 = 4;

impl Company {
    /// Opens for business: two who see every order, the customer who sees her own, and one with a key.
    pub fn open(node: &Node) -> Company {
        let shared = Arc::new(Shared::default());
        let begin = Instant::now();
        let mut witnesses = Vec::new();
        for (user, role, keys, due) in [
            ("boss", "admin", json!([]), (|_| true) as fn(u64) -> bool),
            ("clerk", "staff", json!([]), |_| true),
            (CUSTOMER, "customer", json!([]), |n| n % 3 == 0),
            ("packer", "staff", json!(["order_5"]), |n| n % 10 == 5),
        ] {
            let mut client = Client::live(node, user, role, &[]);
            let mut subscribe = json!({"type": "subscribe", "data": {"namespace": "orders"}});
            if keys != json!([]) {
                subscribe["data"]["keys"] = keys;
            }
            client.send(&subscribe);
            client.expect("subscribed");
            let shared = shared.clone();
            witnesses.push(std::thread::spawn(move || witness(client, user, due, &shared, begin)));
        }
        let (mut control, with) = (Control::open(node), shared.clone());
        let poster = std::thread::spawn(move || {
            while !with.stop.load(Ordering::SeqCst) {
                let n = with.posted.load(Ordering::SeqCst);
                let customer = if n % 3 == 0 { CUSTOMER } else { "somebody" };
                let mut event = order(&format!("order_{}", n % 10), customer);
                event["data"]["number"] = n.into();
                event["data"]["postedUs"] = (begin.elapsed().as_micros() as u64).into();
                control.post(&event);
                with.posted.store(n + 1, Ordering::SeqCst);
                std::thread::sleep(GAP);
            }
            with.done.store(true, Ordering::SeqCst);
        });
        Company { shared, poster, witnesses }
    }

    /// Closes: everybody must have had each event that was due, once and in order. Returns how many were posted, and the
    /// longest that one was on its way.
    pub fn close(self) -> (u64, Duration) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.poster.join().unwrap();
        let worst = self.witnesses.into_iter().map(|witness| witness.join().unwrap()).max().unwrap();
        (self.shared.posted.load(Ordering::SeqCst), worst)
    }
}

fn witness(
    mut client: Client,
    user: &str,
    due: fn(u64) -> bool,
    shared: &Shared,
    begin: Instant,
) -> Duration {
    let (mut next, mut worst, mut quiet_since) = (0, Duration::ZERO, Instant::now());
    loop {
        while !due(next) {
            next += 1;
        }
        if shared.done.load(Ordering::SeqCst) && next >= shared.posted.load(Ordering::SeqCst) {
            return worst;
        }
        match client.next_within(Duration::from_millis(50)) {
            Some(Frame::Text(event)) if event["type"] == "order:created" => {
                let data = &event["data"];
                assert_eq!(data["number"], next, "{user}: {event}");
                let posted = Duration::from_micros(data["postedUs"].as_u64().unwrap());
                worst = worst.max(begin.elapsed().saturating_sub(posted));
                (next, quiet_since) = (next + 1, Instant::now());
            }
            Some(Frame::Ping(payload)) => client.send_raw(&frame(0x8a, &payload)),
            Some(other) => panic!("{user}: {other:?}"),
            None => assert!(quiet_since.elapsed() < PATIENCE, "{user} waits for event {next}"),
        }
    }
}
