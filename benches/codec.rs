//! Bytes to values and back: frames, commands, events, HTTP heads.
//!
//! `cargo bench --bench codec`

mod support;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use flate2::{Compress, Compression, FlushCompress};
use omnicast::policy::{Claims, Gate, Policy, mint_hs256};
use omnicast::wire::command;
use omnicast::wire::deflate::Codec;
use omnicast::wire::envelope::{encode_event, event_id};
use omnicast::wire::frame::encode_text;
use omnicast::wire::head;
use omnicast::wire::mask::unmask;
use omnicast::wire::message::{Assembler, Flow, Item, Sink};
use omnicast::wire::upgrade::{accept_response, check_upgrade};
use support::{BROWSER_HEAD, NOW, PLAIN_HEAD, POSTED, RULES, auth, client_frame, text};

/// Payload sizes: a ping, a command, an event, a large event, the largest message.
const SIZES: [usize; 5] = [16, 128, 1 << 10, 8 << 10, 64 << 10];
/// Bytes that one read brings at most.
const READ_BYTES: usize = 64 << 10;

/// Counts what it is handed.
#[derive(Default)]
struct Tally {
    items: usize,
    bytes: usize,
}

impl Sink for Tally {
    fn limit(&self) -> usize {
        1 << 20
    }

    fn item(&mut self, item: Item<'_>) -> Flow {
        if let Item::Text(text) = item {
            self.items += 1;
            self.bytes += black_box(text).len();
        }
        Flow::Go
    }

    fn empty_fragment(&mut self) -> Flow {
        Flow::Go
    }
}

/// Throughput: frames and their bytes. Unmasking is done in place, so every run needs masked
/// bytes of its own; they are copied outside the timing.
fn decode(criterion: &mut Criterion) {
    let mut group = support::group(criterion, "frame/decode");
    for size in SIZES {
        let count = (READ_BYTES / size).max(1);
        let input = client_frame(&text(size)).repeat(count);
        for (name, piece) in [("whole", usize::MAX), ("in_pieces_of_1000", 1_000)] {
            if size < 128 && piece != usize::MAX {
                continue; // Hardly a frame of them is cut.
            }
            group.throughput(Throughput::ElementsAndBytes {
                elements: count as u64,
                bytes: (count * size) as u64,
            });
            group.bench_function(format!("{name}/{size}"), |bencher| {
                bencher.iter_batched_ref(
                    || input.clone(),
                    |input| {
                        let (mut assembler, mut tally) = (Assembler::default(), Tally::default());
                        for piece in input.chunks_mut(piece.min(READ_BYTES * 2)) {
                            assembler.feed(piece, None, &mut tally).expect("the frames are sound");
                        }
                        assert_eq!((tally.items, tally.bytes), (count, count * size));
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// Throughput: bytes.
fn encode_and_unmask(criterion: &mut Criterion) {
    let mut group = support::group(criterion, "frame/encode");
    for size in SIZES {
        let payload = text(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| encode_text(black_box(payload.as_bytes())));
        });
    }
    group.finish();
    let mut group = support::group(criterion, "frame/unmask");
    for size in SIZES {
        let mut payload = text(size).into_bytes();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| unmask(black_box(&mut payload), black_box([1, 2, 3, 4]), 0));
        });
    }
    group.finish();
}

/// Throughput: commands.
fn commands(criterion: &mut Criterion) {
    let secret = "a secret of at least thirty-two bytes";
    let claims = Claims {
        sub: "user_77".to_owned(),
        role: "staff".to_owned(),
        sid: "session_77".to_owned(),
        exp: NOW.wall / 1000 + 3600,
        nbf: None,
    };
    let token = format!(r#"{{"token":"{}"}}"#, mint_hs256(secret, &claims));
    let keys: Vec<String> = (0..100).map(|n| format!("\"order_{n}\"")).collect();
    let cases = [
        ("ping", r#"{"type":"ping","id":7}"#.to_owned()),
        ("auth_plain", auth("user_77", "staff", "session_77")),
        ("auth_token", format!(r#"{{"type":"auth","id":1,"data":{token}}}"#)),
        (
            "subscribe",
            r#"{"type":"subscribe","id":2,"data":{"namespaces":["orders","customers","inventory"],"since":{"epoch":"k3v9","id":"10423"}}}"#
                .to_owned(),
        ),
        (
            "subscribe_100_keys",
            format!(
                r#"{{"type":"subscribe","id":2,"data":{{"namespace":"orders","keys":[{}]}}}}"#,
                keys.join(",")
            ),
        ),
    ];
    let mut group = support::group(criterion, "command/parse");
    group.throughput(Throughput::Elements(1));
    for (name, text) in &cases {
        assert!(command::parse(text).is_ok(), "{name}");
        group.bench_function(*name, |bencher| bencher.iter(|| command::parse(black_box(text)).is_ok()));
    }
    group.finish();

    let policy = Policy::builtin();
    let gate = Gate::keys(Some(secret), None).expect("the secret is long enough");
    let mut group = support::group(criterion, "credential/check");
    group.throughput(Throughput::Elements(1));
    group.bench_function("hs256", |bencher| {
        bencher.iter(|| gate.check(&policy, black_box(&token), NOW.wall).expect("the token holds"));
    });
    group.finish();
}

/// Throughput: events, and the bytes of them as posted or as sent.
fn events(criterion: &mut Criterion) {
    let policy = Policy::builtin();
    let mut group = support::group(criterion, "event/validate");
    for (name, posted) in POSTED {
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: posted.len() as u64 });
        group.bench_function(name, |bencher| {
            bencher.iter(|| policy.draft_posted(black_box(posted), &RULES).expect("the event is sound"));
        });
    }
    group.finish();
    let mut group = support::group(criterion, "event/encode");
    for (name, posted) in POSTED {
        let draft = policy.draft_posted(posted, &RULES).expect("the event is sound");
        let encode = || {
            let namespace = policy.namespace_name(draft.audience.namespace);
            let id = event_id(black_box(10_423));
            encode_event(policy.event_name(draft.event), namespace, &draft.data, NOW.wall, &id)
        };
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: encode().len() as u64 });
        group.bench_function(name, |bencher| bencher.iter(encode));
    }
    group.finish();
}

/// An order as clients get it, with as many items as make it at least `size` bytes long.
fn order(size: usize) -> String {
    const NAMES: [&str; 5] =
        ["Espresso beans", "Cast iron pan", "Linen towel", "Walnut cutting board", "Paring knife"];
    let mut items = String::new();
    for n in 0usize.. {
        let text = format!(
            "{{\"type\":\"order:created\",\"namespace\":\"orders\",\"data\":{{\"orderId\":\"order_8f3a\",\
             \"customerId\":\"user_77\",\"customerName\":\"Ada Lovelace\",\"total\":129.9,\
             \"status\":\"pending\",\"items\":[{items}]}},\"timestamp\":1764000000000,\"id\":\"10423\"}}"
        );
        if text.len() >= size {
            return text;
        }
        let comma = if n == 0 { "" } else { "," };
        let (name, sku, price) = (NAMES[n * 7 % 5], n * 2_654_435_761 % 99_991, n * 7919 % 10_000);
        let item = format!(
            "{comma}{{\"sku\":\"P-{sku:05}\",\"name\":\"{name}\",\"quantity\":{},\"price\":{}.{:02}}}",
            n % 4 + 1,
            price / 100,
            price % 100
        );
        items.push_str(&item);
    }
    unreachable!("an order grows")
}

/// Throughput: messages and their bytes. What each comes to is printed first: for orders of several sizes, by
/// the node's compressor and by others of the same library.
fn deflate(criterion: &mut Criterion) {
    let mut group = support::group(criterion, "deflate");
    let mut codec = Codec::default();
    for size in [200, 512, 1 << 10, 4 << 10, 64 << 10] {
        let message = order(size).into_bytes();
        let len = message.len();
        let payload = codec.deflater.deflate(&message).expect("orders become shorter").to_vec();
        println!("{len} B: the node makes {} B of them", payload.len());
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: len as u64 });
        group.bench_function(format!("deflate/{size}"), |bencher| {
            bencher.iter(|| codec.deflater.deflate(black_box(&message)).map(<[u8]>::len));
        });
        group.bench_function(format!("inflate/{size}"), |bencher| {
            bencher.iter(|| codec.inflater.inflate(black_box(&payload), len).expect("it inflates").len());
        });
        for level in [1, 3, 6] {
            let mut stream = Compress::new(Compression::new(level), false);
            let mut out = Vec::with_capacity(len + 100);
            let mut run = |message: &[u8]| {
                stream.reset();
                out.clear();
                stream.compress_vec(message, &mut out, FlushCompress::Sync).expect("there is room");
                out.len() - 4
            };
            println!("{len} B: level {level} makes {} B of them", run(&message));
            group.bench_function(format!("level_{level}/{size}"), |bencher| {
                bencher.iter(|| run(black_box(&message)));
            });
        }
    }
    group.finish();
}

/// From the first byte of a request to the 101. Throughput: requests and their bytes.
fn upgrades(criterion: &mut Criterion) {
    let mut group = support::group(criterion, "http/upgrade");
    for (name, request) in [("plain", PLAIN_HEAD), ("browser", BROWSER_HEAD)] {
        let upgrade = |request: &[u8], out: &mut Vec<u8>| {
            let end = head::find_end(request, &mut 0).expect("the head is whole");
            let head = head::parse(&request[..end]).expect("the head is sound");
            accept_response(&check_upgrade(&head).expect("it is an upgrade"), out);
        };
        let mut out = Vec::new();
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: request.len() as u64 });
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                upgrade(black_box(request.as_bytes()), &mut out);
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decode(&mut criterion);
    encode_and_unmask(&mut criterion);
    commands(&mut criterion);
    events(&mut criterion);
    deflate(&mut criterion);
    upgrades(&mut criterion);
    criterion.final_summary();
}
