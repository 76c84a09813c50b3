//! The file that says what the segments cannot: which epoch this is, and how the log was left.
//!
//! It is replaced as a whole: written beside, synced, renamed, and the name synced. Where there is no
//! room for that, it can be written over in place: that takes none. It is far shorter than a sector,
//! so that even then the old one or the new one is there; and one that is neither begins a new epoch.

use std::io;

use serde::{Deserialize, Serialize};

use crate::journal::disk::{Disk, read_full};
use crate::journal::segment::EPOCH_BYTES_MAX;

/// Its name.
pub const NAME: &str = "meta";
/// Its name while it is written.
pub const NEW_NAME: &str = "meta.tmp";
/// Its bytes at most.
const BYTES_MAX: usize = 4096;
/// The layout of the directory.
const FORMAT: u32 = 1;

/// What is known of the log beside its segments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Meta {
    format: u32,
    /// Positions compare only within one epoch.
    pub epoch: String,
    /// The run of the machine in which the log was opened last; empty where unknown.
    pub boot: String,
    /// How it was synced then.
    pub sync: Sync,
    /// Whether it was closed, with everything on the disk.
    pub clean: bool,
    /// The position that its newest segment began with; none where there was no segment.
    pub newest: Option<u64>,
    /// A position that the log had come to.
    pub last: u64,
}

/// How a log is synced, without the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// Before an event counts as committed.
    Always,
    /// Some time later.
    Interval,
    /// When the system does it.
    Never,
}

/// What was found in the place of a [`Meta`].
#[derive(PartialEq, Eq, Debug)]
pub enum Found {
    /// It.
    Whole(Meta),
    /// Nothing.
    Nothing,
    /// Something else.
    Bad,
    /// That of a program that lays out the directory otherwise.
    Format(u32),
}

/// As much of any layout as tells which it is.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl Meta {
    /// That of a log that was just opened.
    #[must_use]
    pub fn opened(epoch: String, boot: String, sync: Sync, newest: Option<u64>, last: u64) -> Meta {
        Meta { format: FORMAT, epoch, boot, sync, clean: false, newest, last }
    }

    /// The same, as things stand now.
    #[must_use]
    pub fn with(&self, clean: bool, newest: Option<u64>, last: u64) -> Meta {
        Meta { clean, newest, last, ..self.clone() }
    }

    /// Writes it. When this returns, it outlives the machine.
    ///
    /// # Errors
    /// As the disk has them; the old one is still there then, or the new one already.
    pub fn save(&self, disk: &dyn Disk) -> io::Result<()> {
        self.write_beside(disk)?;
        Meta::put_in_place(disk)
    }

    /// As [`Meta::save`], but where there is no room beside it, it is written over the one that is there.
    /// Only for where a new epoch may begin if the machine stops in the middle of that.
    ///
    /// # Errors
    /// Why it could not be written beside, where it could not be written over either.
    pub fn save_without_room(&self, disk: &dyn Disk) -> io::Result<()> {
        match self.write_beside(disk) {
            Ok(()) => Meta::put_in_place(disk),
            Err(error) => {
                let _ = disk.remove(NEW_NAME); // What of it was written takes room for nothing.
                self.write_over(disk).map_err(|_| error)
            }
        }
    }

    fn write_beside(&self, disk: &dyn Disk) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self).expect("names and numbers are always JSON");
        let mut file = disk.create(NEW_NAME)?;
        file.write_at(format!("{text}\n").as_bytes(), 0)?;
        file.sync()
    }

    fn put_in_place(disk: &dyn Disk) -> io::Result<()> {
        disk.rename(NEW_NAME, NAME)?;
        disk.sync_names()
    }

    /// Without the spaces that make it pretty it is shorter than the one before, whose length it keeps.
    fn write_over(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut text = serde_json::to_string(self).expect("names and numbers are always JSON").into_bytes();
        let mut file = disk.open(NAME)?;
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        if !(text.len()..=BYTES_MAX).contains(&len) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        text.resize(len, b' ');
        file.write_at(&text, 0)?;
        file.sync()
    }

    /// Reads it.
    ///
    /// # Errors
    /// As the disk has them, where it is there.
    pub fn load(disk: &dyn Disk) -> io::Result<Found> {
        let file = match disk.view(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            other => other?,
        };
        let mut bytes = vec![0; BYTES_MAX];
        let read = read_full(&*file, &mut bytes, 0)?;
        Ok(Meta::parse(&bytes[..read]))
    }

    fn parse(bytes: &[u8]) -> Found {
        match serde_json::from_slice(bytes) {
            Ok(AnyFormat { format: FORMAT }) => {}
            Ok(AnyFormat { format }) => return Found::Format(format),
            Err(_) => return Found::Bad,
        }
        let is_sound = |meta: &Meta| (1..=EPOCH_BYTES_MAX).contains(&meta.epoch.len());
        serde_json::from_slice(bytes).ok().filter(is_sound).map_or(Found::Bad, Found::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let meta = Meta::opened("e".to_owned(), "b".to_owned(), Sync::Interval, Some(7), 9);
        let text = serde_json::to_string(&meta).unwrap();
        assert_eq!(Meta::parse(text.as_bytes()), Found::Whole(meta));
        let changed = |from: &str, to: &str| Meta::parse(text.replacen(from, to, 1).as_bytes());
        assert_eq!(changed("\"format\":1", "\"format\":2"), Found::Format(2));
        assert_eq!(changed("\"e\"", "\"\""), Found::Bad);
        assert_eq!(changed("\"e\"", &format!("\"{}\"", "e".repeat(EPOCH_BYTES_MAX + 1))), Found::Bad);
        assert_eq!(changed("interval", "sometimes"), Found::Bad);
        for cut in 0..text.len() {
            assert_eq!(Meta::parse(&text.as_bytes()[..cut]), Found::Bad);
        }
    }
}
