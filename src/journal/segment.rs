//! A file of the log: its name, what it begins with, and the stretches that it is read in.

/// Bytes that a file begins with.
pub const HEADER_BYTES: usize = 68;
/// Bytes of a block from which on the next one begins: what one read of the past is about.
pub const BLOCK_BYTES: u64 = 64 << 10;
/// Bytes of an epoch's name at most.
pub const EPOCH_BYTES_MAX: usize = 32;
/// Its name until it begins with a whole header.
pub const NEW_NAME: &str = "segment.tmp";
/// What a file of the log begins with.
const MAGIC: [u8; 8] = *b"omnilog\n";
/// The layout of the file.
const VERSION: u32 = 1;
/// Digits of a position in a name: all that a `u64` may need, so that names sort as positions do.
const DIGITS: usize = 20;
/// How its name ends.
const SUFFIX: &str = ".log";

/// The name of the segment that begins with this position.
#[must_use]
pub fn name_of(first: u64) -> String {
    format!("{first:0DIGITS$}{SUFFIX}")
}

/// The position in a segment's name; `None` where it is no such name.
#[must_use]
pub fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// What a segment says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The epoch of its positions.
    pub epoch: String,
    /// The position it begins with.
    pub first: u64,
    /// When it was begun (wall ms).
    pub at: u64,
}

/// Why a header could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderFault {
    /// It is none, or damaged.
    Bad,
    /// It is whole, and of a layout that this program does not know.
    Version(u32),
}

impl Header {
    /// Its bytes.
    ///
    /// # Panics
    /// When the epoch's name is over [`EPOCH_BYTES_MAX`]: it is checked where it comes in.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        assert!(self.epoch.len() <= EPOCH_BYTES_MAX, "an epoch's name is short");
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.epoch.len() as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.at.to_le_bytes());
        bytes[32..32 + self.epoch.len()].copy_from_slice(self.epoch.as_bytes());
        let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads what `bytes` begin with.
    ///
    /// # Errors
    /// See [`HeaderFault`].
    pub fn decode(bytes: &[u8]) -> Result<Header, HeaderFault> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(HeaderFault::Bad)?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..HEADER_BYTES - 4]) != u32_at(HEADER_BYTES - 4) {
            return Err(HeaderFault::Bad);
        }
        if u32_at(8) != VERSION {
            return Err(HeaderFault::Version(u32_at(8)));
        }
        let epoch = bytes[32..32 + EPOCH_BYTES_MAX].get(..u32_at(12) as usize).ok_or(HeaderFault::Bad)?;
        let epoch = std::str::from_utf8(epoch).map_err(|_| HeaderFault::Bad)?.to_owned();
        Ok(Header { epoch, first: u64_at(16), at: u64_at(24) })
    }
}

/// Consecutive events of one segment, without anything between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Position of the first.
    pub first: u64,
    /// Position of the last.
    pub last: u64,
    /// Where its first byte is.
    pub offset: u64,
    /// Where its last byte was before.
    pub end: u64,
}

impl Block {
    /// Whether the next record begins a block of its own.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.end - self.offset >= BLOCK_BYTES
    }
}

/// Puts records together to blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blocks {
    open: Option<Block>,
}

impl Blocks {
    /// Takes the record of `position` at these bytes. Returns the block that it completes.
    pub fn push(&mut self, position: u64, offset: u64, end: u64) -> Option<Block> {
        let block = self.open.get_or_insert(Block { first: position, last: position, offset, end });
        debug_assert!(block.end == offset || block.first == position, "records stand back to back");
        (block.last, block.end) = (position, end);
        if block.is_full() { self.close() } else { None }
    }

    /// Position of the last record of the block that is not full.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.open.map(|block| block.last)
    }

    /// Ends the block that is not full, if there is one.
    pub fn close(&mut self) -> Option<Block> {
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_positions_and_read_back() {
        for first in [0, 1, 99, u64::MAX] {
            assert_eq!(first_of(&name_of(first)), Some(first));
        }
        assert!(name_of(9) < name_of(10));
        for name in ["1.log", "000000000000000000001.log", "99999999999999999999.log", "meta", ".log"] {
            assert_eq!(first_of(name), None, "{name}");
        }
        assert_eq!(first_of("0000000000000000000a.log"), None);
        assert_eq!(first_of("+0000000000000000001.log"), None);
    }

    #[test]
    fn headers_read_back_and_no_damage_goes_unseen() {
        let header = Header { epoch: "0123456789abcdef".to_owned(), first: 1 << 40, at: 1_700_000_000_000 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad), Err(HeaderFault::Bad), "bit {bit}");
        }
        for len in 0..HEADER_BYTES {
            assert_eq!(Header::decode(&bytes[..len]), Err(HeaderFault::Bad));
        }
        let mut later = bytes;
        later[8] = 2;
        let crc = crc32fast::hash(&later[..HEADER_BYTES - 4]);
        later[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&later), Err(HeaderFault::Version(2)));
    }

    #[test]
    fn blocks_hold_all_records_once() {
        let mut blocks = Blocks::default();
        let (mut done, mut offset) = (Vec::new(), 68);
        for position in 1..=100 {
            let end = offset + 5_000;
            done.extend(blocks.push(position, offset, end));
            offset = end;
        }
        done.extend(blocks.close());
        assert_eq!(blocks.close(), None);
        assert_eq!((done[0].first, done[0].offset, done[7].last, done[7].end), (1, 68, 100, offset));
        assert!(done.windows(2).all(|w| w[0].last + 1 == w[1].first && w[0].end == w[1].offset));
        assert!(done[..7].iter().all(|b| b.is_full() && b.end - b.offset < BLOCK_BYTES + 5_000));
    }
}
