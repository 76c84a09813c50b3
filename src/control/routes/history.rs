//! `GET /api/events?since=ID&namespace=...&limit=n`: the history, one JSON text a line.

use crate::control::http::Answer;
use crate::control::router::Outcome;
use crate::journal::history::{HistoryFilter, HistoryPage, HistoryQuery};
use crate::publish::sequencer::Sequencer;
use crate::wire::envelope::{event_id, parse_event_id};
use crate::wire::head::Head;

/// Events of an answer where nothing else is asked.
const LIMIT: usize = 1_000;
/// Events of an answer at most.
const LIMIT_MAX: usize = 65_536;

/// Bytes of an answer past which no further event is added; the rest is had by asking again behind
/// its cursor. An answer is held in memory until its reader has taken it.
const BYTES_MAX: usize = 1 << 20;

/// Answers it, where the recent events are enough; else this is the question for the log.
#[must_use]
pub fn get(head: &Head<'_>, sequencer: &Sequencer) -> Outcome {
    let query = match read(head, sequencer) {
        Ok(query) => query,
        Err(refusal) => return refusal.into(),
    };
    match sequencer.recent_page(&query) {
        Some(page) => answer(page, sequencer).into(),
        // What memory holds is had from memory, even where the log has let go of it already.
        None => Outcome::Past(HistoryQuery { until: sequencer.before_recent(), goes_on: true, ..query }),
    }
}

/// The answer of a page. Headers say how to go on: the position up to which it looked
/// (`Omnicast-Cursor`), whether there is more behind that (`Omnicast-More`), and whether something
/// that was asked for is not held (`Omnicast-Gap`).
#[must_use]
pub fn answer(page: HistoryPage, sequencer: &Sequencer) -> Answer {
    let mut answer = Answer::json(200, page.body)
        .with("Omnicast-Epoch", &*sequencer.config().epoch)
        .with("Omnicast-Last-Event-Id", sequencer.last_event_id())
        .with("Omnicast-Cursor", event_id(page.cursor));
    answer.content_type = "application/x-ndjson";
    for (is_so, name) in [(page.more, "Omnicast-More"), (page.gap, "Omnicast-Gap")] {
        if is_so {
            answer = answer.with(name, "true");
        }
    }
    answer
}

fn read(head: &Head<'_>, sequencer: &Sequencer) -> Result<HistoryQuery, Answer> {
    let policy = &sequencer.config().policy;
    let (_, until) = sequencer.held();
    let limit = match head.param("limit").map(|text| text.parse()) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => {
            let message = format!("limit is a whole number from 1 to {LIMIT_MAX}");
            return Err(Answer::error(400, "bad_limit", &message));
        }
    };
    if head.param("epoch").is_some_and(|asked| *asked != *sequencer.config().epoch) {
        return Err(Answer::error(
            400,
            "epoch_changed",
            "that epoch is over; begin again without a position (since)",
        ));
    }
    let since = match head.param("since") {
        None => 0,
        Some(id) => match parse_event_id(&id) {
            Some(position) if position <= until => position,
            _ => return Err(Answer::error(400, "bad_position", "since is no id of this epoch")),
        },
    };
    let namespaces = listed(head, "namespace", "unknown_namespace", |name| policy.namespace(name))?;
    let types = listed(head, "type", "unknown_type", |name| policy.event_type(name))?;
    let key = head.param("key").map(|key| key.as_ref().into());
    let filter = HistoryFilter { namespaces, types, key };
    Ok(HistoryQuery { ticket: 0, since, until, goes_on: false, filter, limit, bytes_max: BYTES_MAX })
}

/// The values of a parameter that is a list of names, separated by commas.
fn listed<T>(
    head: &Head<'_>,
    parameter: &str,
    code: &'static str,
    known: impl Fn(&str) -> Option<T>,
) -> Result<Option<Vec<T>>, Answer> {
    let Some(names) = head.param(parameter) else { return Ok(None) };
    let parsed: Result<Vec<T>, &str> = names.split(',').map(|name| known(name).ok_or(name)).collect();
    parsed.map(Some).map_err(|name| {
        let shown: String = name.chars().take(64).collect();
        Answer::error(400, code, &format!("no {parameter} {shown:?}"))
    })
}
