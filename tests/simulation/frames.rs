//! Frames as a client writes and reads them (RFC 6455 section 5.2), apart from the node's codec.

use std::borrow::Cow;

use omnicast::wire::deflate::Inflater;

use crate::rng::Rng;

/// One frame of a node, if it is whole: opcode, payload, length. With `deflates`, texts may be compressed.
pub fn whole_frame(bytes: &[u8], deflates: bool) -> Option<(u8, Cow<'_, [u8]>, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let is_compressed = deflates && first == 0xc1;
    assert!(first & 0xf0 == 0x80 || is_compressed, "whole messages, no extension but the one agreed on");
    assert_eq!(second & 0x80, 0, "nodes do not mask");
    let (header, len) = match second {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize),
        len => (2, usize::from(len)),
    };
    let mut payload = Cow::Borrowed(bytes.get(header..header + len)?);
    if is_compressed {
        let mut inflater = Inflater::default();
        payload = inflater.inflate(&payload, 1 << 20).expect("it inflates").to_vec().into();
    }
    Some((first & 15, payload, header + len))
}

/// Appends a client's frame.
pub fn frame(rng: &mut Rng, out: &mut Vec<u8>, last: bool, opcode: u8, payload: &[u8]) {
    out.push(u8::from(last) << 7 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=65535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let key = (rng.next() as u32).to_be_bytes();
    out.extend_from_slice(&key);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
}
