//! Frame headers of clients, against RFC 6455 section 5.2 read by the letter; boundaries in what
//! the node wrote.

use omnicast::wire::envelope::payload_of;
use omnicast::wire::frame::{CLIENT_HEADER_MAX, ClientHeader, FrameFault, next_boundary};

/// What a header says, or the code to close with.
#[derive(Debug, PartialEq)]
pub struct Naive {
    pub is_final: bool,
    pub opcode: u8,
    pub is_compressed: bool,
    pub key: [u8; 4],
    pub len: u64,
    pub size: usize,
}

/// `None` where bytes are missing. With `deflate`, RSV1 may be up as RFC 7692 section 6 has it.
pub fn naive(bytes: &[u8], deflate: bool) -> Option<Result<Naive, u16>> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (len, wide) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 2),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()), 8),
        len => (u64::from(len), 0),
    };
    let opcode = first & 0x0f;
    let is_masked = second & 0x80 != 0;
    let is_control = opcode & 8 != 0;
    let is_known = matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
    let is_minimal = match wide {
        2 => len > 125,
        8 => len > 0xffff,
        _ => true,
    };
    let is_compressed = first & 0x40 != 0;
    let is_rsv1_good = !is_compressed || (deflate && (opcode == 1 || opcode == 2));
    if first & 0x30 != 0 || !is_rsv1_good || !is_known || !is_masked || !is_minimal {
        return Some(Err(1002));
    }
    if is_control && (first & 0x80 == 0 || len > 125) {
        return Some(Err(1002));
    }
    if len >= 1 << 63 {
        return Some(Err(1009));
    }
    let key = bytes.get(2 + wide..6 + wide)?.try_into().unwrap();
    Some(Ok(Naive { is_final: first & 0x80 != 0, opcode, is_compressed, key, len, size: 6 + wide }))
}

fn ours(bytes: &[u8], deflate: bool) -> Option<Result<Naive, u16>> {
    let parsed = ClientHeader::parse(bytes, deflate);
    let ClientHeader { is_final, opcode, is_compressed, key, payload_len, size } = match parsed {
        Ok(None) => return None,
        Err(fault) => return Some(Err(FrameFault::close_code(&fault))),
        Ok(Some(header)) => header,
    };
    use omnicast::wire::frame::Opcode::{Binary, Close, Continue, Ping, Pong, Text};
    let opcode = match opcode {
        Continue => 0,
        Text => 1,
        Binary => 2,
        Close => 8,
        Ping => 9,
        Pong => 10,
    };
    Some(Ok(Naive { is_final, opcode, is_compressed, key, len: payload_len as u64, size }))
}

pub fn run(data: &[u8]) {
    for deflate in [false, true] {
        let whole = ours(data, deflate);
        if let Some(naive) = naive(data, deflate) {
            assert_eq!(whole, Some(naive));
        }
        for cut in 0..data.len().min(CLIENT_HEADER_MAX) {
            // What is said of the beginning holds for the whole.
            if let Some(early) = ours(&data[..cut], deflate) {
                assert_eq!(Some(early), whole);
            }
        }
    }
    let at = data.first().map_or(0, |first| usize::from(*first));
    let boundary = next_boundary(data, at);
    assert!(boundary <= data.len() && (boundary >= at || boundary == data.len()));
    assert_eq!(next_boundary(data, boundary), boundary, "a boundary is one");
    assert!(payload_of(data).len() <= data.len());
}
