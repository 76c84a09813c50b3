//! WebSocket framing of a client, and of the floor: heads parsed in place, frames made with a mask of zeros.

/// Appends a final frame of a client. A mask of zeros is a mask (RFC 6455 section 5.3) and leaves the payload as it is.
pub fn client_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    head(opcode, 0x80, payload.len(), out);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Appends a final frame of a server.
pub fn server_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    head(opcode, 0, payload.len(), out);
    out.extend_from_slice(payload);
}

fn head(opcode: u8, mask_bit: u8, length: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(mask_bit | length as u8),
        126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// A frame in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// 0 to 15.
    pub opcode: u8,
    /// The mask; zeros where there is none.
    pub mask: [u8; 4],
    /// Where the payload begins.
    pub start: usize,
    /// Where the frame ends.
    pub end: usize,
}

/// The first frame of `bytes`, if all of it is there.
pub fn first(bytes: &[u8]) -> Option<Frame> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (mut start, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        n => (2, usize::from(n)),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        mask = bytes.get(start..start + 4)?.try_into().ok()?;
        start += 4;
    }
    let end = start.checked_add(length)?;
    (end <= bytes.len()).then_some(Frame { opcode: first & 15, mask, start, end })
}

/// The end of an HTTP head, the position behind its empty line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The request for an upgrade.
pub fn upgrade_request(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_when_all_of_it_is_there() {
        for length in [0, 1, 125, 126, 300, 0xffff, 0x10000] {
            let payload = vec![7; length];
            let mut client = Vec::new();
            client_frame(2, &payload, &mut client);
            let mut server = Vec::new();
            server_frame(2, &payload, &mut server);
            for frame in [client, server] {
                let found = first(&frame).unwrap();
                assert_eq!((found.opcode, found.end), (2, frame.len()));
                assert_eq!(&frame[found.start..found.end], payload);
                assert_eq!(first(&frame[..frame.len() - 1]), None);
            }
        }
        assert_eq!(first(&[]), None);
        assert_eq!(first(&[0x81, 0x83, 1, 2, 3, 4, 9, 9, 9]).unwrap().mask, [1, 2, 3, 4]);
    }
}
