//! What the log needs of a file system, and the directory that gives it.
//!
//! The log is written against [`Disk`], so that tests can put a disk under it that fails, or forgets
//! what was not synced.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// The file whose lock says that a node has the directory.
const LOCK: &str = "lock";
/// Names of a directory that are read at most: far beyond what a log has.
const NAMES_MAX: usize = 1 << 20;
/// Who may read what clients and services said: the user of the node, and its group.
const FILE_MODE: u32 = 0o640;
/// As [`FILE_MODE`], for the directory.
const DIR_MODE: u32 = 0o750;

/// A flat directory of files.
pub trait Disk: Send + Sync + Debug {
    /// The names of its files.
    ///
    /// # Errors
    /// As the system has them; likewise below.
    fn names(&self) -> io::Result<Vec<String>>;

    /// An empty file of this name, in the place of one that may be there.
    ///
    /// # Errors
    /// As the system has them.
    fn create(&self, name: &str) -> io::Result<Box<dyn Handle>>;

    /// A file, to read and write.
    ///
    /// # Errors
    /// As the system has them.
    fn open(&self, name: &str) -> io::Result<Box<dyn Handle>>;

    /// A file, to read only.
    ///
    /// # Errors
    /// As the system has them.
    fn view(&self, name: &str) -> io::Result<Box<dyn Handle>>;

    /// Gives a file another name, in the place of one that may have it.
    ///
    /// # Errors
    /// As the system has them.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file away.
    ///
    /// # Errors
    /// As the system has them.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names outlive the machine.
    ///
    /// # Errors
    /// As the system has them.
    fn sync_names(&self) -> io::Result<()>;

    /// Takes the directory for as long as what it returns lives.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where somebody else has it.
    fn lock(&self) -> io::Result<Box<dyn Hold>>;
}

/// A directory that was taken.
pub trait Hold: Send + Debug {
    /// Whether it is still the one that has the path: it may have been removed or replaced, and then
    /// what is written goes where nobody will look for it, or to somebody else. `true` where there is
    /// no telling.
    fn is_in_place(&self) -> bool;
}

/// An open file.
pub trait Handle: Send + Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the system has them; likewise below.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// As the system has them.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads bytes at `offset`: at least one, unless `offset` is the end.
    ///
    /// # Errors
    /// As the system has them.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As the system has them; some of the bytes may be written then.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts it.
    ///
    /// # Errors
    /// As the system has them.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Makes its bytes and its length outlive the machine.
    ///
    /// # Errors
    /// As the system has them. What was not safe before may then never become so, whatever a
    /// second call says.
    fn sync(&mut self) -> io::Result<()>;
}

/// Reads up to `bytes.len()` bytes; fewer only at the end.
///
/// # Errors
/// As [`Handle::read_at`].
pub fn read_full(file: &dyn Handle, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// The name of this run of the machine; empty where it is not to be had.
#[must_use]
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// A directory of the system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory, made where it is not there.
    ///
    /// # Errors
    /// As the system has them.
    pub fn at(path: &Path) -> io::Result<Directory> {
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)?;
            // That it is there must outlive the machine too. A parent that can't be opened could not
            // have been written either.
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()?;
        }
        Ok(Directory { path: path.to_owned() })
    }

    fn file(&self, name: &str, options: &mut OpenOptions) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(Plain { file: self.plain(name, options)? }))
    }

    /// Opens what is a file, or will be. A pipe would keep who opens it waiting for its other end, and
    /// a device may do anything: they are not opened, and what takes their place meanwhile does not
    /// block.
    fn plain(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        let path = self.path.join(name);
        match std::fs::metadata(&path) {
            Ok(found) if !found.is_file() => return Err(not_a_file()),
            _ => {} // What is wrong otherwise, opening it says.
        }
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = options.mode(FILE_MODE).custom_flags(flags).open(path)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
    }
}

impl Disk for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)?.take(NAMES_MAX) {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| name != LOCK);
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Handle>> {
        // A new file, not the old one emptied: an error that hangs on the old one is gone with it.
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.file(name, OpenOptions::new().read(true).write(true).create_new(true)),
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Handle>> {
        self.file(name, OpenOptions::new().read(true).write(true))
    }

    fn view(&self, name: &str) -> io::Result<Box<dyn Handle>> {
        self.file(name, OpenOptions::new().read(true))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn lock(&self) -> io::Result<Box<dyn Hold>> {
        let file = self.plain(LOCK, OpenOptions::new().write(true).create(true).truncate(false))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // The directory itself too: a lock file is easily removed by one who takes it for a leftover. Not
        // every file system locks a directory; then the file must do.
        let directory = File::open(&self.path)?;
        if flock(&directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(Errno::WOULDBLOCK.into());
        }
        let found = directory.metadata()?;
        let is = (found.dev(), found.ino());
        Ok(Box::new(Held { path: self.path.clone(), is, _locked: [file, directory] }))
    }
}

/// The lock of a directory.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// Its device and its number there: nothing else has them while it is open.
    is: (u64, u64),
    _locked: [File; 2],
}

impl Hold for Held {
    fn is_in_place(&self) -> bool {
        use io::ErrorKind::{NotADirectory, NotFound, StaleNetworkFileHandle};
        match std::fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) == self.is,
            Err(error) => !matches!(error.kind(), NotFound | NotADirectory | StaleNetworkFileHandle),
        }
    }
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")
}

#[derive(Debug)]
struct Plain {
    file: File,
}

impl Handle for Plain {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}
