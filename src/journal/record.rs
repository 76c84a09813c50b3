//! One event in the log, as bytes.
//!
//! ```text
//! magic 4 | length 4 | crc 4 | position 8 | at 8 | key length 4 | addressing length 4 | key | addressing | payload
//!                              └────────────────────────────── length bytes ──────────────────────────────────┘
//! ```
//! Little endian. The checksum (CRC-32) is over the length and what it counts. The first and last byte
//! of the magic occur nowhere in UTF-8, so no text that anybody posts can look like a record. A
//! payload is a JSON object and ends with a brace, so a whole record never ends with a zero byte.
//! The highest bit of the addressing length says that the post goes on with the next record: so a
//! write that was cut short between two records is told from one that was not.

/// How a record begins.
pub const MAGIC: [u8; 4] = [0xf5, b'e', b'v', 0xff];
/// Bytes before those that the length counts.
pub const PREFIX_BYTES: usize = 12;
/// Bytes of the numbers behind the prefix.
const NUMBERS_BYTES: usize = 24;
/// What a length may say at most: the longest event that the settings allow, and as much again.
/// Anything beyond is not a record, whatever it looks like, and nothing of that size is allocated.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// In the addressing length: [`Record::goes_on`]. No length within [`BODY_BYTES_MAX`] has it.
const GOES_ON: u32 = 1 << 31;

/// An event as the log keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Its place in the order.
    pub position: u64,
    /// When it was accepted (wall ms).
    pub at: u64,
    /// Its idempotency key; never empty.
    pub key: Option<&'a str>,
    /// See [`crate::policy::Draft::addressing`]; never empty.
    pub addressing: Option<&'a str>,
    /// The JSON text that clients get.
    pub payload: &'a str,
    /// Whether the next record is of the same post, without which this one is nothing.
    pub goes_on: bool,
}

/// It has more than [`BODY_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

/// What some bytes are, read as a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// A record, and the bytes it has.
    Whole(Record<'a>, usize),
    /// The beginning of what may be a record.
    Short,
    /// No record.
    Bad,
}

/// The bytes that `record` will have.
#[must_use]
pub fn encoded_len(record: &Record<'_>) -> usize {
    let texts = [record.key, record.addressing, Some(record.payload)];
    PREFIX_BYTES + NUMBERS_BYTES + texts.iter().flatten().map(|text| text.len()).sum::<usize>()
}

/// Appends a record to `out`.
///
/// # Errors
/// [`TooLarge`]; `out` is as before.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let body_len = encoded_len(record) - PREFIX_BYTES;
    if body_len > BODY_BYTES_MAX {
        return Err(TooLarge);
    }
    let (key, addressing) = (record.key.unwrap_or_default(), record.addressing.unwrap_or_default());
    let start = out.len();
    out.reserve(PREFIX_BYTES + body_len);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(body_len as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&record.position.to_le_bytes());
    out.extend_from_slice(&record.at.to_le_bytes());
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    let goes_on = if record.goes_on { GOES_ON } else { 0 };
    out.extend_from_slice(&(addressing.len() as u32 | goes_on).to_le_bytes());
    for text in [key, addressing, record.payload] {
        out.extend_from_slice(text.as_bytes());
    }
    let crc = checksum(body_len as u32, &out[start + PREFIX_BYTES..]);
    out[start + 8..start + PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Reads what `bytes` begin with.
#[must_use]
pub fn decode(bytes: &[u8]) -> Found<'_> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Found::Bad;
    }
    let (Some(len), Some(crc)) = (u32_at(bytes, 4), u32_at(bytes, 8)) else {
        return Found::Short;
    };
    let Some(whole) = claimed_len(bytes) else { return Found::Bad };
    let Some(body) = bytes.get(PREFIX_BYTES..whole) else { return Found::Short };
    if checksum(len, body) != crc {
        return Found::Bad;
    }
    read_body(body).map_or(Found::Bad, |record| Found::Whole(record, whole))
}

/// The length that `bytes` claim for the record they begin with, if they can begin one; unchecked.
#[must_use]
pub fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let body_len = u32_at(bytes, 4).filter(|_| bytes.starts_with(&MAGIC))? as usize;
    (NUMBERS_BYTES..=BODY_BYTES_MAX).contains(&body_len).then_some(PREFIX_BYTES + body_len)
}

/// The position that `bytes` claim for the record they begin with; unchecked.
#[must_use]
pub fn claimed_position(bytes: &[u8]) -> Option<u64> {
    u64_at(bytes, PREFIX_BYTES)
}

/// Whether `bytes` are a whole record but for its length, which is wrong: no write that was cut
/// short leaves that behind.
#[must_use]
pub fn is_whole_but_for_its_length(bytes: &[u8]) -> bool {
    let (Some(crc), Some(body)) = (u32_at(bytes, 8), bytes.get(PREFIX_BYTES..)) else { return false };
    u32::try_from(body.len()).is_ok_and(|len| checksum(len, body) == crc)
}

fn read_body(body: &[u8]) -> Option<Record<'_>> {
    let (position, at) = (u64_at(body, 0)?, u64_at(body, 8)?);
    let (key_len, marked) = (u32_at(body, 16)? as usize, u32_at(body, 20)?);
    let addressing_len = (marked & !GOES_ON) as usize;
    let texts = body.get(NUMBERS_BYTES..)?;
    let (key, texts) = texts.split_at_checked(key_len)?;
    let (addressing, payload) = texts.split_at_checked(addressing_len)?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let optional = |bytes| text(bytes).map(|text| (!text.is_empty()).then_some(text));
    Some(Record {
        position,
        at,
        key: optional(key)?,
        addressing: optional(addressing)?,
        payload: text(payload)?,
        goes_on: marked & GOES_ON != 0,
    })
}

fn checksum(len: u32, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&len.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
