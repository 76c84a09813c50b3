//! What is asked of the past over HTTP, and what is answered.

use crate::policy::{EventType, Namespace};
use crate::shard::envelope::Envelope;
use crate::wire::envelope::payload_of;

/// The type of an event that the policy of now does not know: none that it gives out.
pub const UNKNOWN_EVENT: EventType = EventType(u16::MAX);

/// Which events.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryFilter {
    /// Those of these namespaces; of all, where it is none.
    pub namespaces: Option<Vec<Namespace>>,
    /// Those of these types.
    pub types: Option<Vec<EventType>>,
    /// Those about this entity.
    pub key: Option<Box<str>>,
}

impl HistoryFilter {
    /// Whether it asks for this event. One that the policy does not know is asked for by nothing
    /// but everything.
    #[must_use]
    pub fn admits(&self, envelope: &Envelope) -> bool {
        if self.is_everything() {
            return true;
        }
        let audience = &envelope.audience;
        envelope.event != UNKNOWN_EVENT
            && self.namespaces.as_ref().is_none_or(|list| list.contains(&audience.namespace))
            && self.types.as_ref().is_none_or(|list| list.contains(&envelope.event))
            && self.key.as_ref().is_none_or(|key| audience.key.as_ref() == Some(key))
    }

    /// Whether it asks for all events.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.namespaces.is_none() && self.types.is_none() && self.key.is_none()
    }
}

/// A question for a part of the past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// Comes back in the answer.
    pub ticket: u64,
    /// Events behind this position,
    pub since: u64,
    /// and not behind this one.
    pub until: u64,
    /// Whether there are events behind that one which are asked for too, and elsewhere.
    pub goes_on: bool,
    /// Which of them.
    pub filter: HistoryFilter,
    /// Events of the answer at most.
    pub limit: usize,
    /// Bytes of the answer from which on no further event is added.
    pub bytes_max: usize,
}

/// A part of the past.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryPage {
    /// From the question.
    pub ticket: u64,
    /// The JSON texts of the events, one a line.
    pub body: Vec<u8>,
    /// The position up to which it looked.
    pub cursor: u64,
    /// Whether it stopped there before it had looked at all that was asked for.
    pub more: bool,
    /// Whether an event between what was asked for and the cursor is not kept any more, or damaged.
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

    /// Goes on with a page that has looked at a part of what is asked for.
    #[must_use]
    pub fn behind(query: &'q HistoryQuery, page: HistoryPage) -> Paging<'q> {
        let events = page.body.iter().filter(|byte| **byte == b'\n').count();
        Paging { query, events, page: HistoryPage { more: false, ..page } }
    }

    /// How far it has looked.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.page.cursor
    }

    /// Looks at the next event of the log. `false`: it, and what follows, is for another page.
    pub fn look(&mut self, envelope: &Envelope) -> bool {
        let is_asked_for = self.query.filter.admits(envelope);
        self.take(envelope.position, is_asked_for, payload_of(&envelope.frame))
    }

    /// The same for an event of which this is known already.
    pub fn take(&mut self, position: u64, is_asked_for: bool, payload: &[u8]) -> bool {
        if position > self.query.until {
            return false;
        }
        if is_asked_for {
            if self.events == self.query.limit || self.page.body.len() >= self.query.bytes_max {
                self.page.more = true;
                return false;
            }
            self.page.body.extend_from_slice(payload);
            self.page.body.push(b'\n');
            self.events += 1;
        }
        self.page.gap |= position != self.page.cursor + 1;
        self.page.cursor = position;
        true
    }

    /// The events up to `position` that it has not looked at are not there, or can't be read.
    pub fn pass_over(&mut self, position: u64) {
        let position = position.min(self.query.until);
        self.page.gap |= position > self.page.cursor;
        self.page.cursor = self.page.cursor.max(position);
    }

    /// The page, where the log has no event left behind the last one that was looked at.
    #[must_use]
    pub fn ended(mut self) -> HistoryPage {
        if !self.page.more {
            self.pass_over(self.query.until);
            self.page.more = self.query.goes_on;
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
