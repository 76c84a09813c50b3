//! What a delivery may cost, counted: writes, and allocations. A slower machine changes neither, so they are held here,
//! and times in the benches.

#[path = "../benches/support/mod.rs"]
mod support;

use std::io::IoSlice;

use allocation_counter::measure;
use omnicast::base::time::Now;
use omnicast::policy::Rules;
use omnicast::shard::core::{Wires, Wrote};
use support::shop::{Shop, Viewer};

/// Sockets that take everything, and count how often they are offered something.
#[derive(Default)]
struct Counting {
    writes: u64,
    bytes: u64,
}

impl Wires for Counting {
    fn write(&mut self, _: u32, slices: &[IoSlice<'_>]) -> Wrote {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.writes += 1;
        self.bytes += bytes as u64;
        Wrote::Bytes(bytes)
    }

    fn shut(&mut self, _: u32) {}

    fn drop(&mut self, _: u32, _: bool) {}
}

fn staff(_: usize) -> Viewer {
    Viewer { role: "staff", namespaces: r#"["orders"]"#, key: None }
}

const ORDER: &str = r#"{"type":"order:created","data":{"orderId":"order_7","customerId":"absent","customerName":"Ada Lovelace","total":129.95,"status":"pending","channel":"web"}}"#;

/// Writes and allocations of delivering `burst` events that came together.
fn deliver(viewers: usize, burst: usize) -> (u64, u64) {
    let mut shop = Shop::open(viewers, staff);
    let model = shop.model(ORDER);
    // Until the window is full and every buffer has its size.
    for _ in 0..5_000 / burst {
        shop.turn(&model, burst, &mut Counting::default());
    }
    let line = shop.line(&model, burst);
    let mut wires = Counting::default();
    let info = measure(|| shop.deliver(line, &mut wires));
    assert_eq!(wires.bytes, (viewers * burst * model.frame.len()) as u64, "all of it went out");
    (wires.writes, info.count_total)
}

#[test]
fn an_event_is_one_write_for_each_viewer_and_allocates_for_none() {
    for viewers in [1, 100, 2_000] {
        let (writes, allocations) = deliver(viewers, 1);
        assert_eq!(writes, viewers as u64);
        assert!(allocations <= 4, "{allocations} for {viewers} viewers");
    }
}

#[test]
fn a_burst_is_one_write_for_each_viewer_and_allocates_for_none() {
    for viewers in [1, 100, 2_000] {
        let (writes, allocations) = deliver(viewers, 40);
        assert_eq!(writes, viewers as u64);
        assert!(allocations <= 12, "{allocations} for {viewers} viewers");
    }
}

#[test]
fn an_event_for_one_user_touches_nobody_else() {
    for viewers in [100, 2_000] {
        let customer = |_| Viewer { role: "customer", namespaces: r#"["orders"]"#, key: None };
        let mut shop = Shop::open(viewers, customer);
        let model = shop.model(&ORDER.replace("absent", "user_9"));
        for _ in 0..5_000 {
            shop.turn(&model, 1, &mut Counting::default());
        }
        let line = shop.line(&model, 1);
        let mut wires = Counting::default();
        let info = measure(|| shop.deliver(line, &mut wires));
        assert_eq!(wires.writes, 1, "of {viewers}");
        assert!(info.count_total <= 6, "{} of {viewers}", info.count_total);
    }
}

#[test]
fn a_post_is_read_with_few_allocations() {
    let policy = omnicast::policy::Policy::builtin();
    let rules = Rules { validate: true, max_event_bytes: 256 << 10 };
    let info = measure(|| drop(policy.draft_posted(ORDER, &rules).unwrap()));
    assert!(info.count_total <= 10, "{} for an event", info.count_total);
}

#[test]
fn a_ping_of_the_protocol_is_answered_with_few_allocations() {
    let mut shop = Shop::open(10, staff);
    let ping = support::client_frame(r#"{"type":"ping","id":7}"#);
    for _ in 0..3 {
        shop.hear(3, &ping, NOW, &mut Counting::default());
    }
    let mut wires = Counting::default();
    let info = measure(|| shop.hear(3, &ping, NOW, &mut wires));
    assert_eq!(wires.writes, 1);
    assert!(info.count_total <= 8, "{} for a ping", info.count_total);
}

const NOW: Now = support::NOW;
