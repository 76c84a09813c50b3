//! A stretch of the log read back to events, by the policy of now.

use std::io;
use std::sync::Arc;

use crate::journal::disk::{Handle, read_full};
use crate::journal::history::UNKNOWN_EVENT;
use crate::journal::index::Spot;
use crate::journal::record::{self, Found, Record};
use crate::policy::{Audience, Namespace, Policy};
use crate::shard::envelope::Envelope;
use crate::wire::frame::encode_text;

/// Reads the bytes of a stretch.
///
/// # Errors
/// As the disk has them.
pub fn read(file: &dyn Handle, spot: &Spot) -> io::Result<Vec<u8>> {
    // A block is bounded by its nominal length and one record.
    let len = usize::try_from(spot.end - spot.offset).expect("a block fits into memory");
    let mut bytes = vec![0; len];
    let read = read_full(file, &mut bytes, spot.offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The records of a stretch up to position `until`, every one of them.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] where they are not what was written.
pub fn records<'b>(bytes: &'b [u8], first: u64, until: u64) -> io::Result<Vec<Record<'b>>> {
    let mut records: Vec<Record<'b>> = Vec::new();
    let (mut offset, mut next) = (0, first);
    while next <= until {
        match record::decode(&bytes[offset..]) {
            Found::Whole(record, len) if record.position == next => {
                records.push(record);
                offset += len;
                next += 1;
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(records)
}

/// The event of a record. What the policy does not understand any more is for nobody.
#[must_use]
pub fn envelope(record: &Record<'_>, policy: &Policy) -> Envelope {
    let restored = policy.restore(record.payload, record.addressing);
    let (event, audience) = restored.unwrap_or_else(|| (UNKNOWN_EVENT, Audience::nobody(Namespace(0))));
    let frame = encode_text(record.payload.as_bytes());
    Envelope::new(record.position, event, audience, frame)
}

/// The events of records, to be shared.
#[must_use]
pub fn envelopes(records: &[Record<'_>], policy: &Policy) -> Vec<Arc<Envelope>> {
    records.iter().map(|record| Arc::new(envelope(record, policy))).collect()
}
