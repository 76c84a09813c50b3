//! The events that are published, and the stamp in each by which it is known again. Pure.
//!
//! ```text
//! {"type":"inventory:updated","namespace":"inventory","data":{"bench":"1f0c93aa-0000-0000000007-00000000075bcd15",...
//!                                                             run, lane, number in the lane, when it was due
//! ```
//!
//! All fields of the stamp have a fixed width, so that every event of a run has the same size, and the stamp comes first
//! in `data`, so that it is found where it was found the last time.

use crate::cli::bench::crowd::Crowd;

/// What stands before a stamp.
const MARK: &[u8] = b"\"bench\":\"";
/// Digits of run, lane, number and due time, and three dashes.
const STAMP_BYTES: usize = 8 + 1 + 4 + 1 + 10 + 1 + 16;

/// By what a client knows an event of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Drawn at each start: another generator's events on the same node are not ours.
    pub run: u32,
    /// Which publisher; order holds within a lane.
    pub lane: u16,
    /// Number in the lane, from 0.
    pub seq: u64,
    /// When it was to be sent, in ns since the start of the run. Latency counts from here, whenever it was really sent.
    pub due_ns: u64,
}

impl Stamp {
    /// The stamp of an event, and where its mark stands. `hint` is where to look first.
    pub fn find(text: &[u8], hint: usize) -> Option<(Stamp, usize)> {
        let at = match text.get(hint..hint + MARK.len()) {
            Some(MARK) => hint,
            _ => text.windows(MARK.len()).position(|window| window == MARK)?,
        };
        let digits = text.get(at + MARK.len()..at + MARK.len() + STAMP_BYTES)?;
        let stamp = Stamp {
            run: hex(&digits[..8]).and_then(|n| u32::try_from(n).ok())?,
            lane: hex(&digits[9..13]).and_then(|n| u16::try_from(n).ok())?,
            seq: hex(&digits[14..24])?,
            due_ns: hex(&digits[25..])?,
        };
        Some((stamp, at))
    }

    fn write(self, out: &mut Vec<u8>) {
        write_hex(self.run.into(), 8, out);
        for (number, digits) in [(self.lane.into(), 4), (self.seq, 10), (self.due_ns, 16)] {
            out.push(b'-');
            write_hex(number, digits, out);
        }
    }
}

fn write_hex(number: u64, digits: u32, out: &mut Vec<u8>) {
    let digit = |shift: u32| b"0123456789abcdef"[(number >> (4 * shift)) as usize & 15];
    out.extend((0..digits).rev().map(digit));
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u64::from(value))
    })
}

/// The id of an event: what stands in its last field. Empty where it has none.
pub fn id_of(text: &[u8]) -> &[u8] {
    const KEY: &[u8] = b"\"id\":\"";
    let Some(end) = text.iter().rposition(|byte| *byte == b'"') else { return b"" };
    let Some(start) = text[..end].iter().rposition(|byte| *byte == b'"') else { return b"" };
    if text[..=start].ends_with(KEY) { &text[start + 1..end] } else { b"" }
}

/// The user of a client.
pub fn user(client: u32) -> String {
    format!("bench_{client}")
}

/// The name of an entity.
pub fn key(key: u32) -> String {
    format!("bench_key_{key}")
}

/// A namespace, its type, and its fields.
type Shape = (&'static str, &'static str, &'static str);

/// What becomes the owner's user.
const OWNER: &str = "OWNER";

/// For each namespace of the built-in policy.
const SHAPES: [Shape; 6] = [
    (
        "orders",
        "order:created",
        r#""orderId":"order_0123456","customerId":"OWNER","customerName":"Ada Lovelace","total":129.9,"status":"pending","channel":"web""#,
    ),
    (
        "customers",
        "customer:viewing_product",
        r#""customerId":"OWNER","productId":"prod_01234567","productName":"Espresso cups, 6""#,
    ),
    (
        "products",
        "product:price_changed",
        r#""productId":"prod_01234567","productName":"Espresso cups, 6","sku":"ESP-6","oldPrice":30,"newPrice":24,"changePercentage":-20"#,
    ),
    (
        "inventory",
        "inventory:updated",
        r#""productId":"prod_01234567","productName":"Espresso cups, 6","sku":"ESP-6","oldStock":41,"newStock":40,"difference":-1"#,
    ),
    (
        "payments",
        "payment:received",
        r#""paymentId":"pay_01234567","orderId":"order_0123456","customerId":"OWNER","amount":129.9,"method":"card","status":"success""#,
    ),
    ("system", "system:notification", r#""title":"Bench","message":"One of very many","severity":"info""#),
];

/// Makes the events of a run. Everything but stamp and names is made once: posts are to cost the node more than us.
#[derive(Debug, Clone)]
pub struct Maker {
    run: u32,
    /// Bytes that a client gets of each event, as far as its fields allow.
    bytes: usize,
    /// As many bytes as the longest padding has.
    padding: String,
}

impl Maker {
    /// For a run; events get `bytes` bytes of payload on the wire, or what they need.
    pub fn new(run: u32, bytes: usize) -> Maker {
        Maker { run, bytes, padding: "x".repeat(bytes) }
    }

    /// The body of a post, at the end of `out`.
    pub fn write_posted(&self, crowd: &Crowd, lane: u16, seq: u64, due_ns: u64, out: &mut Vec<u8>) {
        let address = crowd.address(seq);
        let shape = shape(crowd, address.namespace);
        push(out, &["{\"type\":\"", shape.1, "\""]);
        if let Some(asked) = address.key {
            push(out, &[",\"key\":\"", &key(asked), "\""]);
        }
        if let Some(client) = address.to {
            push(out, &[",\"userIds\":[\"", &user(client), "\"]"]);
        }
        push(out, &[",\"data\":"]);
        self.write_data(shape, address.owner, Stamp { run: self.run, lane, seq, due_ns }, out);
        out.push(b'}');
    }

    /// The event as a client gets it, at the end of `out`: for servers that add nothing.
    pub fn write_ready(&self, crowd: &Crowd, lane: u16, seq: u64, due_ns: u64, out: &mut Vec<u8>) {
        let address = crowd.address(seq);
        let shape = shape(crowd, address.namespace);
        push(out, &["{\"type\":\"", shape.1, "\",\"namespace\":\"", shape.0, "\",\"data\":"]);
        self.write_data(shape, address.owner, Stamp { run: self.run, lane, seq, due_ns }, out);
        push(out, &[",\"timestamp\":1700000000000,\"id\":\"", &(seq + 1).to_string(), "\"}"]);
    }

    fn write_data(&self, shape: &Shape, owner: u32, stamp: Stamp, out: &mut Vec<u8>) {
        /// The wrapping of an event, with an id of seven digits: `{"type":"","namespace":"","data":,"timestamp":N,"id":"N"}`.
        const WRAPPING_BYTES: usize = 75;
        /// `,"pad":""`
        const PAD_BYTES: usize = 9;
        let start = out.len();
        push(out, &["{\"bench\":\""]);
        stamp.write(out);
        push(out, &["\","]);
        match shape.2.split_once(OWNER) {
            Some((before, after)) => push(out, &[before, &user(owner), after]),
            None => push(out, &[shape.2]),
        }
        let bytes = WRAPPING_BYTES + shape.1.len() + shape.0.len() + (out.len() - start) + 1;
        if let Some(missing) = self.bytes.checked_sub(bytes + PAD_BYTES) {
            push(out, &[",\"pad\":\"", &self.padding[..missing], "\""]);
        }
        out.push(b'}');
    }
}

fn shape(crowd: &Crowd, namespace: usize) -> &'static Shape {
    let namespace = &crowd.plan().namespaces[namespace];
    let shape = SHAPES.iter().find(|(name, ..)| name == namespace);
    shape.expect("the crowd has namespaces of the built-in policy only")
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::crowd::tests::plan;
    use crate::policy::{Policy, Rules};

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    const ALL: [&str; 6] = ["orders", "customers", "products", "inventory", "payments", "system"];

    #[test]
    fn a_stamp_is_found_again_wherever_it_stands() {
        let stamp = Stamp { run: 0xfeed_0001, lane: 7, seq: 123_456, due_ns: u64::MAX - 1 };
        let data = format!(r#"{{"data":{{"bench":"{}","a":1}},"id":"77"}}"#, text(|out| stamp.write(out)));
        for hint in [0, 9, data.len(), usize::MAX / 2] {
            assert_eq!(Stamp::find(data.as_bytes(), hint), Some((stamp, 9)), "{hint}");
        }
        assert_eq!(id_of(data.as_bytes()), b"77");
        for foreign in ["", "{}", r#"{"bench":""#, r#"{"bench":"feed0001-0007"}"#] {
            assert_eq!(Stamp::find(foreign.as_bytes(), 1), None, "{foreign}");
            assert_eq!(id_of(foreign.as_bytes()), b"", "{foreign}");
        }
        let bad = data.replace("feed0001", "feedX001");
        assert_eq!(Stamp::find(bad.as_bytes(), 9), None);
    }

    #[test]
    fn events_are_sound_and_have_the_size_asked_for() {
        let crowd = Crowd::new(plan(10, &[("admin", 1)], &ALL)).unwrap();
        let maker = Maker::new(1, 400);
        for seq in 1_000_000..1_000_006 {
            let posted = text(|out| maker.write_posted(&crowd, 0, seq, 5, out));
            let rules = Rules { max_event_bytes: 1 << 20, validate: true };
            let draft = Policy::builtin().draft_posted(&posted, &rules);
            assert!(draft.is_ok(), "{posted}: {draft:?}");
            let ready = text(|out| maker.write_ready(&crowd, 0, seq, 5, out));
            assert_eq!(ready.len(), 400, "{ready}");
            assert_eq!(id_of(ready.as_bytes()), (seq + 1).to_string().as_bytes());
            assert_eq!(Stamp::find(ready.as_bytes(), 0).unwrap().0.seq, seq);
        }
    }

    #[test]
    fn an_event_is_addressed_as_the_crowd_says() {
        let crowd = Crowd::new(crate::cli::bench::crowd::Plan {
            keys: 3,
            to_one: true,
            ..plan(10, &[("admin", 1)], &["orders"])
        });
        let crowd = crowd.unwrap();
        let posted = text(|out| Maker::new(1, 0).write_posted(&crowd, 0, 14, 5, out));
        for part in [r#""key":"bench_key_2""#, r#""userIds":["bench_4"]"#, r#""customerId":"bench_4""#] {
            assert!(posted.contains(part), "{part} in {posted}");
        }
    }
}
