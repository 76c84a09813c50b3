//! A disk in memory that fails when told to, and remembers all that was done to it, so that the disk
//! of any moment can be made again: as the next process finds it, or as the next machine does.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::journal::disk::{Disk, Handle, Hold};

/// What a device writes at once, or not at all.
pub const SECTOR_BYTES: usize = 512;

/// What was done. Files are numbered in the order of their making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Create {
        name: String,
        file: usize,
    },
    Write {
        file: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: usize,
        len: u64,
    },
    Sync {
        file: usize,
    },
    SyncNames,
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    /// Not of the disk: the log told the sequencer so.
    Told {
        position: u64,
    },
}

/// What fails, and how.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Bytes by which files can still grow before there is no space.
    pub space: Option<u64>,
    pub sync: Option<i32>,
    pub sync_names: Option<i32>,
    pub truncate: Option<i32>,
    pub create: Option<i32>,
    pub read: Option<i32>,
    pub remove: Option<i32>,
    /// Everything that writes.
    pub read_only: bool,
}

pub const ENOSPC: i32 = 28;
pub const EIO: i32 = 5;
pub const EROFS: i32 = 30;

#[derive(Debug, Default, Clone)]
pub struct State {
    pub names: BTreeMap<String, usize>,
    pub files: Vec<Vec<u8>>,
    pub ops: Vec<Op>,
    pub faults: Faults,
    pub syncs: usize,
    pub writes: usize,
    pub reads: usize,
    locked: bool,
    /// Another directory has its path.
    pub is_displaced: bool,
}

/// The disk. Copies are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Ram(Arc<Mutex<State>>);

#[derive(Debug)]
struct RamFile {
    disk: Ram,
    file: usize,
    is_writable: bool,
}

struct Lock(Ram);

impl Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Hold for Lock {
    fn is_in_place(&self) -> bool {
        !self.0.state().is_displaced
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

fn fail(code: Option<i32>) -> io::Result<()> {
    code.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
}

impl Ram {
    /// A disk with these files, as after a start of the machine.
    pub fn with(names: BTreeMap<String, usize>, files: Vec<Vec<u8>>) -> Ram {
        Ram(Arc::new(Mutex::new(State { names, files, ..State::default() })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].clone()
    }

    /// Changes the bytes of a file, behind everybody's back.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[name];
        change(&mut state.files[file]);
    }

    /// Syncs and writes that were done.
    pub fn done(&self) -> (usize, usize) {
        let state = self.state();
        (state.syncs, state.writes)
    }

    pub fn segments(&self) -> Vec<String> {
        self.state().names.keys().filter(|name| name.ends_with(".log")).cloned().collect()
    }

    pub fn told(&self, position: u64) {
        self.state().ops.push(Op::Told { position });
    }

    /// A disk of its own with the same files, as the next process finds it.
    pub fn copy(&self) -> Ram {
        let state = self.state();
        Ram::with(state.names.clone(), state.files.clone())
    }
}

impl State {
    fn may_write(&self) -> io::Result<()> {
        fail(self.faults.read_only.then_some(EROFS))
    }

    /// How many bytes of a write there is space for; what is written over takes none.
    fn take_space(&mut self, file: usize, offset: u64, wanted: usize) -> usize {
        let held = (self.files[file].len() as u64).saturating_sub(offset).min(wanted as u64);
        let Some(space) = &mut self.faults.space else { return wanted };
        let grown = (wanted as u64 - held).min(*space);
        *space -= grown;
        (held + grown) as usize
    }
}

/// Writes as a file does: what lies between its end and the offset is zeros.
pub fn write_into(bytes: &mut Vec<u8>, offset: u64, new: &[u8]) {
    let (from, to) = (offset as usize, offset as usize + new.len());
    if bytes.len() < to {
        bytes.resize(to, 0);
    }
    bytes[from..to].copy_from_slice(new);
}

impl Disk for Ram {
    fn names(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        fail(state.faults.read)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Handle>> {
        let mut state = self.state();
        state.may_write()?;
        fail(state.faults.create)?;
        let file = state.files.len();
        state.files.push(Vec::new());
        if state.names.remove(name).is_some() {
            state.ops.push(Op::Remove { name: name.to_owned() });
        }
        state.names.insert(name.to_owned(), file);
        state.ops.push(Op::Create { name: name.to_owned(), file });
        Ok(Box::new(RamFile { disk: self.clone(), file, is_writable: true }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Handle>> {
        let state = self.state();
        state.may_write()?;
        let file = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(RamFile { disk: self.clone(), file, is_writable: true }))
    }

    fn view(&self, name: &str) -> io::Result<Box<dyn Handle>> {
        let file = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(RamFile { disk: self.clone(), file, is_writable: false }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.may_write()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        state.ops.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.may_write()?;
        fail(state.faults.remove)?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.ops.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.may_write()?;
        fail(state.faults.sync_names)?;
        state.ops.push(Op::SyncNames);
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn Hold>> {
        let mut state = self.state();
        state.may_write()?;
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock(self.clone())))
    }
}

impl Handle for RamFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        fail(state.faults.read)?;
        state.reads += 1;
        let held = state.files[self.file].get(offset as usize..).unwrap_or_default();
        let n = held.len().min(bytes.len());
        bytes[..n].copy_from_slice(&held[..n]);
        Ok(n)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert!(self.is_writable);
        let mut state = self.disk.state();
        state.may_write()?;
        state.writes += 1;
        let file = self.file;
        let given = state.take_space(file, offset, bytes.len());
        write_into(&mut state.files[file], offset, &bytes[..given]);
        state.ops.push(Op::Write { file, offset, bytes: bytes[..given].to_vec() });
        fail((given < bytes.len()).then_some(ENOSPC))
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        assert!(self.is_writable);
        let mut state = self.disk.state();
        state.may_write()?;
        fail(state.faults.truncate)?;
        let file = self.file;
        state.files[file].resize(len as usize, 0);
        state.ops.push(Op::Truncate { file, len });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.may_write()?;
        fail(state.faults.sync)?;
        state.syncs += 1;
        let file = self.file;
        state.ops.push(Op::Sync { file });
        Ok(())
    }
}
