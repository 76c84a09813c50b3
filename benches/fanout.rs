//! From the mailbox to the sockets: what one event costs a shard, by viewers and by how many
//! of them may see it. Sockets take everything at once, so no kernel is measured.
//!
//! `cargo bench --bench fanout`

mod support;

use criterion::{BenchmarkId, Criterion, Throughput};
use omnicast::shard::envelope::Envelope;
use support::shop::{Shop, Viewer};

/// Events of a burst.
const BURST: usize = 40;

/// Of a hundred viewers, `percent` are staff, who see every order; the others are customers,
/// who are subscribed to orders as well and see their own only.
fn mixed(percent: usize) -> impl Fn(usize) -> Viewer {
    move |i| {
        let staff = i % 100 < percent;
        let (role, namespaces) = match staff {
            true => ("staff", r#"["orders","customers","inventory"]"#),
            false => ("customer", r#"["orders","products"]"#),
        };
        Viewer { role, namespaces, key: None }
    }
}

/// An order of a customer who is not online.
fn order(shop: &Shop, n: usize) -> Envelope {
    shop.model(&format!(
        r#"{{"type":"order:created","data":{{"orderId":"order_{n}","customerId":"absent_{n}","customerName":"Ada Lovelace","total":129.95,"status":"pending","channel":"web"}}}}"#
    ))
}

/// Throughput: deliveries.
fn broadcast(criterion: &mut Criterion) {
    for viewers in [1_000, 10_000, 100_000] {
        for percent in [1, 10, 100] {
            let mut shop = None;
            for burst in [1, BURST] {
                let name = if burst == 1 { "fanout/single" } else { "fanout/burst_of_40" };
                let mut group = support::group(criterion, name);
                let admitted = viewers / 100 * percent;
                group.throughput(Throughput::Elements((admitted * burst) as u64));
                group.bench_function(format!("{viewers}_viewers/{percent}_percent"), |bencher| {
                    // Made only where the filter of the command line asks for it.
                    let shop = shop.get_or_insert_with(|| Shop::open(viewers, mixed(percent)));
                    let models: Vec<_> = (0..burst).map(|n| order(shop, n)).collect();
                    assert_eq!(shop.deliveries(&models), (admitted * burst) as u64);
                    bencher.iter_custom(|iterations| shop.run(&models, burst, iterations));
                });
                group.finish();
            }
        }
    }
}

/// Which viewer the `n`th event is for: far from the one before.
fn somebody(n: usize, viewers: usize) -> usize {
    n * 7_919 % viewers
}

/// An event for one viewer of many must cost the same whatever their number: `same` asks for
/// one viewer over and over, `spread` for another one each time, so that it pays for the
/// caches too. Throughput: events.
fn addressed(criterion: &mut Criterion) {
    let customer = |_| Viewer { role: "customer", namespaces: r#"["orders","products"]"#, key: None };
    let watcher = |i| {
        let key = Some(format!("order_{i}"));
        Viewer { role: "staff", namespaces: r#"["orders"]"#, key }
    };
    let to_user = |shop: &Shop, i: usize| {
        shop.model(&format!(
            r#"{{"type":"order:updated","data":{{"orderId":"order_x","customerId":"user_{i}","changes":{{"note":"gift"}}}}}}"#
        ))
    };
    let to_key = |shop: &Shop, i: usize| {
        shop.model(&format!(
            r#"{{"type":"order:updated","data":{{"orderId":"order_{i}","changes":{{"note":"gift"}}}}}}"#
        ))
    };
    for viewers in [100, 19_000, 100_000] {
        each(criterion, "user", viewers, || Shop::open(viewers, customer), to_user);
        each(criterion, "key", viewers, || Shop::open(viewers, watcher), to_key);
    }
}

fn each(
    criterion: &mut Criterion,
    by: &str,
    viewers: usize,
    open: impl Fn() -> Shop,
    event_for: impl Fn(&Shop, usize) -> Envelope,
) {
    let mut shop = None;
    for (pattern, many) in [("same", 1), ("spread", 4_096)] {
        let mut group = support::group(criterion, &format!("addressed/{by}_{pattern}"));
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(format!("{viewers}_viewers")), |bencher| {
            let shop = shop.get_or_insert_with(&open);
            let models: Vec<_> = (1..=many).map(|n| event_for(shop, somebody(n, viewers))).collect();
            assert_eq!(shop.deliveries(&models[..1]), 1);
            bencher.iter_custom(|iterations| shop.run(&models, 1, iterations));
        });
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    broadcast(&mut criterion);
    addressed(&mut criterion);
    criterion.final_summary();
}
