//! Message assembly, against a reader that has the whole stream before it, in any cut.

use super::frames::naive;
use super::inflate::naive_inflate;
use omnicast::wire::deflate::{Inflater, compressed_max};
use omnicast::wire::frame::is_close_code;
use omnicast::wire::message::{Assembler, Flow, Item, Sink};

#[derive(Debug, PartialEq)]
enum Seen {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Empty,
    /// The stream failed with this code.
    Fault(u16),
}

struct Recorder {
    limit: usize,
    seen: Vec<Seen>,
}

impl Sink for Recorder {
    fn limit(&self) -> usize {
        self.limit
    }

    fn item(&mut self, item: Item<'_>) -> Flow {
        self.seen.push(match item {
            Item::Text(text) => Seen::Text(text.to_owned()),
            Item::Binary => Seen::Binary,
            Item::Ping(payload) => Seen::Ping(payload.to_owned()),
            Item::Pong(payload) => Seen::Pong(payload.to_owned()),
            Item::Close { code, reason } => Seen::Close(code, reason.to_owned()),
        });
        Flow::Go
    }

    fn empty_fragment(&mut self) -> Flow {
        self.seen.push(Seen::Empty);
        Flow::Go
    }
}

fn ours(stream: &[u8], step: usize, limit: usize, deflate: bool) -> Vec<Seen> {
    let mut assembler = Assembler::default();
    let mut recorder = Recorder { limit, seen: Vec::new() };
    let mut inflater = Inflater::default();
    for piece in stream.chunks(step) {
        if let Err(fault) =
            assembler.feed(&mut piece.to_vec(), deflate.then_some(&mut inflater), &mut recorder)
        {
            recorder.seen.push(Seen::Fault(fault.close_code()));
        }
    }
    recorder.seen
}

/// The message that is not complete: is it text, is it compressed, how much was announced, what came.
type Open = Option<(bool, bool, u64, Vec<u8>)>;

fn fail(seen: &mut Vec<Seen>, code: u16) -> Option<usize> {
    seen.push(Seen::Fault(code));
    None
}

/// Reads one frame, and says how long it is; `None` when the stream is over.
fn read(stream: &[u8], limit: usize, deflate: bool, open: &mut Open, seen: &mut Vec<Seen>) -> Option<usize> {
    let header = match naive(stream, deflate) {
        Some(Ok(header)) => header,
        Some(Err(code)) => return fail(seen, code),
        None => {
            // That a beginning is judged as the whole would be is for the target `frames` to see.
            let early = omnicast::wire::frame::ClientHeader::parse(stream, deflate);
            return early.err().and_then(|fault| fail(seen, fault.close_code()));
        }
    };
    let is_control = header.opcode >= 8;
    if !is_control {
        if (header.opcode == 0) != open.is_some() {
            return fail(seen, 1002);
        }
        let opens = (header.opcode == 1, header.is_compressed, 0, Vec::new());
        let (_, is_compressed, announced, _) = open.get_or_insert(opens);
        let max = if *is_compressed { compressed_max(limit) } else { limit };
        if header.len > (max as u64).saturating_sub(*announced) {
            return fail(seen, 1009);
        }
        *announced += header.len;
        if header.opcode == 2 {
            seen.push(Seen::Binary);
        }
    }
    let rest = &stream[header.size..];
    let taken = rest.len().min(usize::try_from(header.len).unwrap_or(usize::MAX));
    let is_whole = taken as u64 == header.len;
    let payload: Vec<u8> = rest[..taken].iter().zip(header.key.iter().cycle()).map(|(b, k)| b ^ k).collect();
    if is_control {
        if !is_whole {
            return None;
        }
        match (header.opcode, &payload[..]) {
            (9, _) => seen.push(Seen::Ping(payload)),
            (10, _) => seen.push(Seen::Pong(payload)),
            (_, []) => seen.push(Seen::Close(None, String::new())),
            (_, [_]) => seen.push(Seen::Fault(1002)),
            (_, [high, low, reason @ ..]) => {
                let code = u16::from_be_bytes([*high, *low]);
                seen.push(match std::str::from_utf8(reason) {
                    _ if !is_close_code(code) => Seen::Fault(1002),
                    Ok(reason) => Seen::Close(Some(code), reason.to_owned()),
                    Err(_) => Seen::Fault(1007),
                });
            }
        }
        return (header.opcode != 8).then_some(header.size + taken);
    }
    let (is_text, is_compressed, _, bytes) = open.as_mut().expect("a data frame opens a message");
    bytes.extend(&payload);
    let is_last = is_whole && header.is_final;
    // Bad as soon as no bytes could make it good; at the end also when some would have to.
    let is_bad = std::str::from_utf8(bytes).is_err_and(|fault| is_last || fault.error_len().is_some());
    if *is_text && !*is_compressed && is_bad {
        return fail(seen, 1007);
    }
    if is_last {
        let (is_text, is_compressed, _, bytes) = open.take().expect("it was open");
        if is_text {
            let inflated = if is_compressed { naive_inflate(&bytes, limit) } else { Ok(bytes) };
            match inflated.map(String::from_utf8) {
                Ok(Ok(text)) => seen.push(Seen::Text(text)),
                Ok(Err(_)) => return fail(seen, 1007),
                Err(code) => return fail(seen, code),
            }
        }
    } else if header.len == 0 {
        seen.push(Seen::Empty);
    }
    is_whole.then_some(header.size + taken)
}

pub fn run(data: &[u8]) {
    let [first, stream @ ..] = data else { return };
    let deflate = first & 0x80 != 0;
    let limit = [16, 300, 70_000][usize::from(first % 3)];
    let mut expected = Vec::new();
    let (mut at, mut open) = (0, None);
    while at < stream.len() {
        let Some(size) = read(&stream[at..], limit, deflate, &mut open, &mut expected) else { break };
        at += size;
    }
    for step in [usize::MAX, 1 + usize::from(first >> 2), 1] {
        assert_eq!(ours(stream, step, limit, deflate), expected, "in steps of {step}");
    }
}
