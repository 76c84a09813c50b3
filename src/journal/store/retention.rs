//! What goes, and when: whole segments, the oldest first, never the newest.

use std::io;

use crate::base::time::Now;
use crate::journal::index::Note;
use crate::journal::segment::name_of;
use crate::journal::store::{Active, Closed, Store};

/// Of the age to which segments are kept, the part after which one is not written to any more: what
/// goes, goes by segments.
const AGE_PARTS: u64 = 8;

impl Store {
    /// Whether the active segment should take no more, for its age.
    pub(super) fn is_old(&mut self, now: Now) -> bool {
        if let Some(active) = &mut self.files.active {
            // The clock was set back: its age counts from now.
            active.begun_at = active.begun_at.min(now.wall);
        }
        let age = self.options.max_age_ms / AGE_PARTS;
        let is_old =
            |active: &Active| self.holds_events(active) && now.wall >= active.begun_at.saturating_add(age);
        self.options.max_age_ms > 0 && self.files.active.as_ref().is_some_and(is_old)
    }

    /// Lets go of the oldest segments, as the settings say; never of the active one.
    pub(super) fn let_go(&mut self, now: Now) {
        while let Some(oldest) = self.files.closed.front().copied()
            && (self.bytes() > self.options.max_bytes || self.has_expired(&oldest, now))
        {
            let next = self.files.closed.get(1).map(|closed| closed.first);
            // The newest segment stays: it says where the numbers go on.
            let Some(next) = next.or(self.files.active.as_ref().map(|active| active.first)) else { break };
            // Nobody shall begin to read it any more.
            self.files.whole_from = self.files.whole_from.max(next);
            self.listeners.shared.archive_from(self.files.whole_from);
            match self.disk.remove(&name_of(oldest.first)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.complain("an old segment can't be removed", &error, now);
                    break;
                }
                _ => {}
            }
            self.files.closed.pop_front();
            self.listeners.tell(Note::Removed(oldest.first));
        }
        self.measure();
    }

    /// Whether it is too old. One of a time that is still to come, since the clock was set back, is so
    /// when it has been there for the whole age since that was seen. Its stamp stays as it is: the
    /// clock may be set right again, and it must not look old then.
    fn has_expired(&mut self, segment: &Closed, now: Now) -> bool {
        let age = self.options.max_age_ms;
        if segment.newest_at <= now.wall {
            self.ahead_since = None;
            return age > 0 && now.wall >= segment.newest_at.saturating_add(age);
        }
        let since = *self.ahead_since.get_or_insert(now.mono);
        age > 0 && now.mono >= since.saturating_add(age)
    }

    fn bytes(&self) -> u64 {
        let closed: u64 = self.files.closed.iter().map(|closed| closed.bytes).sum();
        closed + self.files.active.as_ref().map_or(0, |active| active.len)
    }

    pub(super) fn measure(&self) {
        let segments = self.files.closed.len() + usize::from(self.files.active.is_some());
        self.listeners.counters.segments.set(segments as u64);
        self.listeners.counters.bytes.set(self.bytes());
    }
}
