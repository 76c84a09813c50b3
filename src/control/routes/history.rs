//! `GET /api/events?since=ID&namespace=...&limit=n`: the history, one JSON text a line.

use crate::control::http::Answer;
use crate::policy::Namespace;
use crate::publish::sequencer::Sequencer;
use crate::wire::envelope::parse_event_id;
use crate::wire::head::Head;

/// Events of an answer where nothing else is asked.
const LIMIT: usize = 1_000;
/// Events of an answer at most.
const LIMIT_MAX: usize = 65_536;

/// Bytes of an answer past which no further event is added; the rest is had by asking again with
/// the last id. An answer is held in memory until its reader has taken it.
const BYTES_MAX: usize = 1 << 20;

/// Answers it. Where there is more than the answer holds, a header says so: `Omnicast-More: true`.
/// What was asked for and is no longer held is announced by a header:
/// `Omnicast-Gap: true`.
#[must_use]
pub fn get(head: &Head<'_>, sequencer: &Sequencer) -> Answer {
    read(head, sequencer).unwrap_or_else(|refusal| refusal)
}

fn read(head: &Head<'_>, sequencer: &Sequencer) -> Result<Answer, Answer> {
    let policy = &sequencer.config().policy;
    let epoch = &sequencer.config().epoch;
    let (first, last) = sequencer.held();
    let limit = match head.param("limit").map(|text| text.parse()) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => {
            let message = format!("limit is a whole number from 1 to {LIMIT_MAX}");
            return Err(Answer::error(400, "bad_limit", &message));
        }
    };
    if head.param("epoch").is_some_and(|asked| *asked != **epoch) {
        return Err(Answer::error(400, "epoch_changed", "that epoch is over; begin without `since`"));
    }
    let since = match head.param("since") {
        None => 0,
        Some(id) => match parse_event_id(&id) {
            Some(position) if position <= last => position,
            _ => return Err(Answer::error(400, "bad_position", "since is no id of this epoch")),
        },
    };
    let namespaces = match head.param("namespace") {
        None => None,
        Some(names) => {
            let parsed: Result<Vec<Namespace>, &str> =
                names.split(',').map(|name| policy.namespace(name).ok_or(name)).collect();
            Some(parsed.map_err(|name| {
                let message = format!("no namespace {:?}", name.chars().take(64).collect::<String>());
                Answer::error(400, "unknown_namespace", &message)
            })?)
        }
    };
    let (body, more) = sequencer.history(since, namespaces.as_deref(), limit, BYTES_MAX);
    let mut answer = Answer::json(200, body)
        .with("Omnicast-Epoch", &**epoch)
        .with("Omnicast-Last-Event-Id", sequencer.last_event_id());
    answer.content_type = "application/x-ndjson";
    if more {
        answer = answer.with("Omnicast-More", "true");
    }
    if since + 1 < first {
        answer = answer.with("Omnicast-Gap", "true");
    }
    Ok(answer)
}
