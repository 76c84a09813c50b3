//! What a connection and a shard keep: outbox, deadlines, permits, window.
//!
//! `cargo bench --bench state`

mod support;

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use omnicast::base::deadlines::{Fifo, Heap};
use omnicast::base::permits::{Bucket, Rate};
use omnicast::base::slots::Id;
use omnicast::base::window::{Bounds, Window};
use omnicast::conn::outbox::{Outbox, SLICES_MAX};
use omnicast::wire::frame::{Control, encode_control, encode_text};
use support::{NOW, text};

/// Connections of a shard.
const CONNECTIONS: u32 = 10_000;
/// Frames that wait for a slow reader.
const WAITING: usize = 40;

/// Offers once and lets the socket take at most `limit` bytes. Returns whether anything is left.
fn write(out: &mut Outbox, limit: usize) -> bool {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let (count, offered) = out.gather(&mut slices);
    black_box(&slices[..count]);
    out.advance(offered.min(limit), NOW.mono);
    !out.is_empty()
}

/// A life of an outbox from the first push to the last byte. Throughput: frames.
fn outbox(criterion: &mut Criterion) {
    let frame = encode_text(text(200).as_bytes());
    let ping = encode_control(Control::Ping, b"");
    let mut group = support::group(criterion, "outbox");
    for (name, frames, limit) in [
        ("one_frame", 1, usize::MAX),
        ("40_frames", WAITING, usize::MAX),
        ("40_frames_by_1000_bytes", WAITING, 1_000),
    ] {
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut out = Box::new(Outbox::new(NOW.mono));
                (0..frames).for_each(|_| out.push(black_box(&frame).clone()));
                while write(&mut out, limit) {}
            });
        });
    }
    let gathered = Bytes::from(frame.repeat(WAITING));
    group.throughput(Throughput::Elements(WAITING as u64 + 1));
    group.bench_function("ping_into_a_gathered_burst", |bencher| {
        bencher.iter(|| {
            let mut out = Box::new(Outbox::new(NOW.mono));
            out.push(black_box(&gathered).clone());
            write(&mut out, 1_000);
            out.push_ping(ping.clone());
            while write(&mut out, usize::MAX) {}
        });
    });
    group.finish();
}

/// Every connection's deadline fires and is armed again, as heartbeats and expiries are.
/// Throughput: deadlines.
fn deadlines(criterion: &mut Criterion) {
    const DELAY_MS: u64 = 30_000;
    let ids = || (0..CONNECTIONS).map(|slot| Id { slot, generation: 0 });
    // Prime, so that the due times are in no order.
    let scattered = |id: Id| u64::from(id.slot) * 7_919 % DELAY_MS;
    let mut group = support::group(criterion, "deadlines");
    group.throughput(Throughput::Elements(u64::from(CONNECTIONS)));
    group.bench_function("fifo", |bencher| {
        let (mut fifo, mut now) = (Fifo::default(), 0);
        ids().for_each(|id| fifo.push(DELAY_MS, id));
        bencher.iter(|| {
            now += DELAY_MS;
            for _ in 0..CONNECTIONS {
                let id = fifo.pop_due(now).expect("all are due");
                fifo.push(now + DELAY_MS, id);
            }
        });
    });
    group.bench_function("heap", |bencher| {
        let (mut heap, mut now) = (Heap::default(), 0);
        ids().for_each(|id| heap.push(scattered(id), id));
        bencher.iter(|| {
            now += DELAY_MS;
            for _ in 0..CONNECTIONS {
                let (due, id) = heap.pop_due(now).expect("all are due");
                heap.push(due + DELAY_MS, id);
            }
        });
    });
    group.finish();
}

/// Throughput: messages that ask for a permit.
fn permits(criterion: &mut Criterion) {
    let rate = Rate::per_minute(100);
    let mut group = support::group(criterion, "permits");
    group.throughput(Throughput::Elements(u64::from(CONNECTIONS)));
    for (name, step_ms) in [("granted", 600), ("refused", 0)] {
        group.bench_function(name, |bencher| {
            let mut buckets = vec![Bucket::default(); CONNECTIONS as usize];
            let mut now = NOW.mono;
            for bucket in &mut buckets {
                while bucket.try_take(rate, now).is_ok() {}
            }
            bencher.iter(|| {
                now += step_ms;
                buckets
                    .iter_mut()
                    .map(|bucket| usize::from(bucket.try_take(rate, now).is_ok()))
                    .sum::<usize>()
            });
        });
    }
    group.finish();
}

/// Throughput: events.
fn window(criterion: &mut Criterion) {
    let bounds = Bounds { items: 65_536, bytes: 64 << 20 };
    let event: Arc<str> = text(200).into();
    let full = || {
        let mut window = Window::new(bounds, 0);
        (0..bounds.items).for_each(|_| {
            window.push(event.clone(), event.len());
        });
        window
    };
    let mut group = support::group(criterion, "window");
    group.throughput(Throughput::Elements(1));
    group.bench_function("push_when_full", |bencher| {
        let mut window = full();
        bencher.iter(|| window.push(black_box(&event).clone(), event.len()));
    });
    let window = full();
    for count in [1u64, 100, 10_000] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("after/{count}"), |bencher| {
            let seen = window.last() - count;
            bencher.iter(|| window.after(black_box(seen)).map(|(_, event)| event.len()).sum::<usize>());
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    outbox(&mut criterion);
    deadlines(&mut criterion);
    permits(&mut criterion);
    window(&mut criterion);
    criterion.final_summary();
}
