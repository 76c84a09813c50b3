//! Files of the log: bytes read as a record, and a segment that was written and then damaged.

use std::io;

use omnicast::journal::disk::Handle;
use omnicast::journal::record::{self, Found, Record};
use omnicast::journal::scan::{Tail, scan};
use omnicast::journal::segment::{HEADER_BYTES, Header};

/// A file in memory, to be read.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Handle for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(bytes.len());
        bytes[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        unreachable!("a scan only reads")
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        unreachable!("a scan only reads")
    }

    fn sync(&mut self) -> io::Result<()> {
        unreachable!("a scan only reads")
    }
}

pub fn run(data: &[u8]) {
    let [first, rest @ ..] = data else { return };
    match first & 1 {
        0 => one_record(rest),
        _ => damaged_segment(rest),
    }
}

/// What is read as a record is written as the same bytes again, and every cut of them is no record.
fn one_record(bytes: &[u8]) {
    if let Found::Whole(found, len) = record::decode(bytes) {
        assert_eq!(record::claimed_len(bytes), Some(len));
        assert_eq!(record::claimed_position(bytes), Some(found.position));
        let mut again = Vec::new();
        record::encode(&found, &mut again).expect("it was one");
        assert_eq!(again, bytes[..len]);
        for cut in [0, 1, len / 2, len - 1] {
            assert_eq!(record::decode(&bytes[..cut]), Found::Short, "{cut} of {len}");
        }
    }
    // Whatever it is, it is also no worse as a file.
    let _ = Header::decode(bytes);
    let mut last = 0;
    let scanned = scan(&Bytes(bytes.to_vec()), 1..u64::MAX, &mut |record| {
        assert!(record.position > last, "in their order");
        last = record.position;
    })
    .expect("memory can be read");
    assert!(scanned.end <= scanned.len || scanned.blocks.is_empty());
}

/// Of a segment nothing is read that was not written, and nothing is missing in silence.
fn damaged_segment(tape: &[u8]) {
    let [count, tape @ ..] = tape else { return };
    let texts: Vec<String> = (0..u64::from(count % 24) + 1)
        .map(|n| format!("{{\"n\":{n},\"fill\":\"{}\"}}", "x".repeat((n * 37 % 300) as usize)))
        .collect();
    let header = Header { epoch: "e".into(), first: 1, at: 5 };
    let mut bytes = header.encode().to_vec();
    let mut ends = vec![bytes.len()];
    for (n, text) in texts.iter().enumerate() {
        let key = (n % 3 == 0).then_some("a key");
        let goes_on = n % 5 == 1 && n + 1 < texts.len();
        let position = n as u64 + 1;
        let record = Record { position, at: 7, key, addressing: None, payload: text, goes_on };
        record::encode(&record, &mut bytes).expect("it is short");
        ends.push(bytes.len());
    }
    let whole = bytes.clone();
    for op in tape.chunks_exact(4).take(8) {
        let at =
            HEADER_BYTES + usize::from(u16::from_le_bytes([op[1], op[2]])) % (whole.len() - HEADER_BYTES + 1);
        match op[0] % 5 {
            0 if at < bytes.len() => bytes[at] ^= op[3],
            1 => bytes.truncate(at),
            2 if at < bytes.len() => drop(bytes.drain(at..(at + usize::from(op[3])).min(bytes.len()))),
            3 if at <= bytes.len() => {
                drop(bytes.splice(at..at, std::iter::repeat_n(op[3], usize::from(op[3]))))
            }
            4 => bytes.extend(std::iter::repeat_n(0, usize::from(op[3]))),
            _ => {}
        }
    }
    let is_whole = bytes == whole;
    let mut found = Vec::new();
    let mut scanned = scan(&Bytes(bytes), 1..texts.len() as u64 + 1, &mut |record| {
        assert!(found.last().is_none_or(|last| *last < record.position), "in their order");
        assert_eq!(record.payload, texts[record.position as usize - 1], "nothing is invented");
        found.push(record.position);
    })
    .expect("memory can be read");
    if is_whole {
        assert_eq!((found.len(), &scanned.tail, scanned.damage.len()), (texts.len(), &Tail::Clean, 0));
    }
    // A file that ends clean and without damage has every record up to its last one.
    if scanned.tail == Tail::Clean && scanned.damage.is_empty() {
        let held: u64 = scanned.blocks.iter().map(|block| block.last - block.first + 1).sum();
        assert_eq!(held, found.len() as u64);
    }
    let before = scanned.last();
    scanned.take_back_unfinished();
    assert!(scanned.last() <= before, "taking back adds nothing");
}
