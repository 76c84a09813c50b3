//! Questions for the log on disk: they go to the journal's reader, and come back as pages.

use std::collections::HashMap;

use crossbeam_channel::{Receiver, Sender};

use crate::base::slots::Id;
use crate::journal::history::{HistoryPage, HistoryQuery};

/// The way to the journal's reader and back.
#[derive(Debug)]
pub struct Past {
    /// Where questions go.
    queries: Sender<HistoryQuery>,
    /// Where their answers come from; the control thread is woken for them.
    pages: Receiver<HistoryPage>,
    next_ticket: u64,
    open: HashMap<u64, (Id, HistoryQuery)>,
}

impl Past {
    /// No question is open.
    #[must_use]
    pub fn new(queries: Sender<HistoryQuery>, pages: Receiver<HistoryPage>) -> Past {
        Past { queries, pages, next_ticket: 0, open: HashMap::new() }
    }

    /// Asks for a connection. `false`: the reader has too much to do, or is gone.
    pub fn ask(&mut self, asker: Id, query: HistoryQuery) -> bool {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let query = HistoryQuery { ticket, ..query };
        let asked = self.queries.try_send(query.clone()).is_ok();
        if asked {
            self.open.insert(ticket, (asker, query));
        }
        asked
    }

    /// The next answer, who asked, and what.
    pub fn next_page(&mut self) -> Option<(Id, HistoryQuery, HistoryPage)> {
        let page = self.pages.try_recv().ok()?;
        let (asker, query) = self.open.remove(&page.ticket)?;
        Some((asker, query, page))
    }
}
