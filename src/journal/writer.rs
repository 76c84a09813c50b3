//! The writer's thread: takes what waits, writes it at once, says what became of it.
//!
//! It never waits for anybody but the disk. While it waits for that, posts gather; so the slower the
//! disk, the more of them share one write and one sync.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::journal::Progress;
use crate::journal::files::Batch;
use crate::journal::record::{self, Record};
use crate::journal::store::{Placed, ReadClock, Store};
use crate::shard::clock::Clock;
use crate::shard::mailbox::WakeGate;
use crate::wire::envelope::payload_of;

/// Bytes of a group from which on no further batch joins it.
const GROUP_BYTES: usize = 4 << 20;
/// The buffer of a group is kept up to this size.
const BUFFER_KEPT_BYTES: usize = 2 * GROUP_BYTES;

/// The one who writes the log.
#[derive(Debug)]
pub struct Writer {
    pub(super) store: Store,
    pub(super) batches: Receiver<Batch>,
    progress: Sender<Progress>,
    gate: Arc<WakeGate>,
    /// The latest generation of which a batch was refused.
    refused: u64,
    bytes: Vec<u8>,
    placed: Vec<Placed>,
}

impl Writer {
    /// A writer of `store`; whoever is behind `gate` polls the progress.
    #[must_use]
    pub fn new(
        store: Store,
        batches: Receiver<Batch>,
        progress: Sender<Progress>,
        gate: Arc<WakeGate>,
    ) -> Writer {
        Writer { store, batches, progress, gate, refused: 0, bytes: Vec::new(), placed: Vec::new() }
    }

    /// Writes until the sequencer's end is dropped and all is written.
    ///
    /// # Errors
    /// None: what goes wrong with the disk is told to whom it concerns, and tried again.
    pub fn run(mut self, clock: Clock) -> io::Result<()> {
        let clock = || clock.now();
        loop {
            let idle = Duration::from_millis(self.store.tick(&clock));
            match self.batches.recv_timeout(idle) {
                Ok(batch) => self.write_group(batch, &clock),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.store.close(&clock);
        Ok(())
    }

    /// Writes a batch and those that wait behind it.
    pub(super) fn write_group(&mut self, first: Batch, clock: ReadClock<'_>) {
        let mut group_bytes = 0;
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(batch) = next {
            if batch.generation > self.refused {
                group_bytes += batch.bytes;
                group.push(batch);
            } else {
                self.store.counters().refused.add(batch.entries.len() as u64);
            }
            next = if group_bytes < GROUP_BYTES { self.batches.try_recv().ok() } else { None };
        }
        let Some(generation) = group.last().map(|batch| batch.generation) else { return };
        let outcome = match self.encode(&group) {
            Ok(()) => self.store.append(&self.bytes, &self.placed, clock),
            Err(error) => {
                self.store.complain("an event can't be a record and was refused", &error, clock());
                Err(error)
            }
        };
        let progress = match outcome {
            Ok(()) => Progress::Committed(self.store.last()),
            Err(_) => {
                self.refused = generation;
                let events: usize = group.iter().map(|batch| batch.entries.len()).sum();
                self.store.counters().refused.add(events as u64);
                Progress::Refused { after: self.store.last() }
            }
        };
        let _ = self.progress.send(progress); // Nobody listens to the end of a stop.
        self.gate.open();
        if self.bytes.capacity() > BUFFER_KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }

    fn encode(&mut self, group: &[Batch]) -> io::Result<()> {
        self.bytes.clear();
        self.placed.clear();
        let entries = group.iter().flat_map(|batch| {
            let last = batch.entries.len() - 1;
            batch.entries.iter().enumerate().map(move |(i, entry)| (entry, i < last))
        });
        for (entry, goes_on) in entries {
            let position = entry.envelope.position;
            let payload = std::str::from_utf8(payload_of(&entry.envelope.frame))
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            let (key, addressing) = (entry.key.as_deref(), entry.addressing.as_deref());
            let record = Record { position, at: entry.at, key, addressing, payload, goes_on };
            record::encode(&record, &mut self.bytes)
                .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            self.placed.push(Placed { position, end: self.bytes.len(), at: entry.at });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
