//! What is wrong with the disk, said often enough and not more often.

use std::io;

/// The same thing is said again after so long at the earliest.
const AGAIN_MS: u64 = 60_000;
/// Kinds of trouble that are told apart.
const KINDS_MAX: usize = 16;

/// What was complained of, and when.
#[derive(Debug, Default)]
pub struct Complaints {
    /// What, which error, when (monotonic ms).
    said: Vec<(&'static str, Option<i32>, u64)>,
}

impl Complaints {
    /// Logs it, unless that was done not long ago.
    pub fn say(&mut self, what: &'static str, error: &io::Error, now_mono: u64) {
        if self.is_news(what, error.raw_os_error(), now_mono) {
            tracing::error!(%error, "journal: {what}");
        }
    }

    /// Logs that the trouble is over, if there was any.
    pub fn all_is_well(&mut self, now_mono: u64) {
        if !self.said.is_empty() && self.said.iter().all(|(.., at)| at + AGAIN_MS <= now_mono) {
            tracing::info!("journal: the disk takes what it is given again");
            self.said.clear();
        }
    }

    fn is_news(&mut self, what: &'static str, code: Option<i32>, now_mono: u64) -> bool {
        self.said.retain(|(.., at)| now_mono < at + AGAIN_MS);
        let is_news = !self.said.iter().any(|(said, of, _)| (*said, *of) == (what, code));
        let has_room = self.said.len() < KINDS_MAX;
        if is_news && has_room {
            self.said.push((what, code, now_mono));
        }
        is_news && has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_said_once_a_minute() {
        let mut complaints = Complaints::default();
        assert!(complaints.is_news("a", Some(28), 0));
        assert!(!complaints.is_news("a", Some(28), AGAIN_MS - 1));
        assert!(complaints.is_news("a", Some(5), 10), "another error");
        assert!(complaints.is_news("b", Some(28), 10), "another cause");
        assert!(complaints.is_news("a", Some(28), AGAIN_MS));
        let codes = (100..200).filter(|code| complaints.is_news("c", Some(*code), AGAIN_MS + 20)).count();
        assert!(codes < KINDS_MAX);
    }
}
