//! Questions for stretches of the log, as services and operators ask them.

use crate::policy::{EventType, Namespace};
use crate::shard::envelope::Envelope;
use crate::wire::envelope::payload_of;

/// Which events are wanted. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Of one of these namespaces.
    pub namespaces: Option<Vec<Namespace>>,
    /// Of one of these types.
    pub types: Option<Vec<EventType>>,
    /// About this entity.
    pub key: Option<Box<str>>,
}

impl HistoryFilter {
    /// Whether the event is wanted.
    #[must_use]
    pub fn admits(&self, envelope: &Envelope) -> bool {
        let audience = &envelope.audience;
        self.namespaces.as_ref().is_none_or(|list| list.contains(&audience.namespace))
            && self.types.as_ref().is_none_or(|list| list.contains(&envelope.event))
            && self.key.as_ref().is_none_or(|key| audience.key.as_ref() == Some(key))
    }
}

/// A question for events out of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Comes back in the answer.
    pub ticket: u64,
    /// Events behind this position,
    pub since: u64,
    /// up to this one.
    pub until: u64,
    /// Which of them.
    pub filter: HistoryFilter,
    /// Events at most.
    pub limit: usize,
    /// No further event once there are so many bytes.
    pub bytes_max: usize,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// From the question.
    pub ticket: u64,
    /// The JSON texts of the events, oldest first, one a line.
    pub body: Vec<u8>,
    /// The position up to which it was looked: go on behind it.
    pub cursor: u64,
    /// There may be more behind the cursor.
    pub more: bool,
    /// Some position that was passed over is not in the log.
    pub gap: bool,
}

/// A page under way.
#[derive(Debug)]
pub struct Paging<'q> {
    query: &'q HistoryQuery,
    events: usize,
    page: HistoryPage,
}

impl<'q> Paging<'q> {
    /// The first page of `query`.
    #[must_use]
    pub fn new(query: &'q HistoryQuery) -> Paging<'q> {
        let page = HistoryPage { ticket: query.ticket, cursor: query.since, ..HistoryPage::default() };
        Paging { query, events: 0, page }
    }

    /// Looks at the next event of the log. `false`: it, and what follows, is for another page.
    pub fn look(&mut self, envelope: &Envelope) -> bool {
        if envelope.position > self.query.until {
            return false;
        }
        if self.query.filter.admits(envelope) {
            if self.events == self.query.limit || self.page.body.len() >= self.query.bytes_max {
                self.page.more = true;
                return false;
            }
            self.page.body.extend_from_slice(payload_of(&envelope.frame));
            self.page.body.push(b'\n');
            self.events += 1;
        }
        self.page.gap |= envelope.position != self.page.cursor + 1;
        self.page.cursor = envelope.position;
        true
    }

    /// The page, where the log has no event left behind the last one that was looked at.
    #[must_use]
    pub fn ended(mut self) -> HistoryPage {
        if !self.page.more {
            self.page.gap |= self.page.cursor < self.query.until;
            self.page.cursor = self.page.cursor.max(self.query.until);
        }
        self.page
    }

    /// The page, where there was enough to do for one.
    #[must_use]
    pub fn cut(mut self) -> HistoryPage {
        self.page.more |= self.page.cursor < self.query.until;
        self.page
    }
}
