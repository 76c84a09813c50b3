//! `POST /api/events`: one event, an array, or one JSON text a line. All or nothing.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::base::time::Now;
use crate::control::http::{Answer, Request};
use crate::control::router::Outcome;
use crate::policy::{Draft, Policy, Rules, Violation, ViolationCode};
use crate::publish::sequencer::{Posted, Refusal, Refused, Sequencer};
use crate::shard::mailbox;

/// Violations reported of one request at most.
const ERRORS_MAX: usize = 100;

/// One reason why a request is refused.
#[derive(Debug, Serialize)]
struct Fault {
    /// Which event, counted from 0.
    index: usize,
    path: String,
    code: &'static str,
    message: String,
}

impl Fault {
    fn new(index: usize, violation: Violation) -> Fault {
        let Violation { path, code, message } = violation;
        Fault { index, path, code: code.as_str(), message }
    }
}

/// Answers it.
pub fn post(request: &Request<'_>, sequencer: &mut Sequencer, now: Now) -> Outcome {
    let config = sequencer.config().clone();
    let drafts = match read(request.body, &config.policy, &config.rules) {
        Ok(drafts) => drafts,
        Err(refusal) => return refusal.into(),
    };
    match sequencer.publish(drafts, now) {
        Ok(Posted { ids, ticket: None }) => accepted(&ids).into(),
        Ok(Posted { ids, ticket: Some(ticket) }) => Outcome::Once(ticket, accepted(&ids)),
        Err(Refused { why: Refusal::Unsafe, .. }) => not_safe().into(),
        Err(Refused { why: Refusal::Overloaded, retry_after_ms }) => {
            Answer::error(503, "overloaded", "the node cannot keep up; nothing was published")
                .with("Retry-After", retry_after_ms.div_ceil(1000).to_string())
                .into()
        }
    }
}

/// The journal could not make the events of a post safe.
#[must_use]
pub fn not_safe() -> Answer {
    let message = "the journal cannot take it now (see the log); nothing was published";
    Answer::error(503, "journal_unavailable", message).with("Retry-After", "1")
}

/// `{"accepted":n,"ids":[...]}`. Ids are plain: nothing to escape.
fn accepted(ids: &[String]) -> Answer {
    let mut body = Vec::with_capacity(32 + ids.len() * 16);
    body.extend_from_slice(b"{\"accepted\":");
    body.extend_from_slice(ids.len().to_string().as_bytes());
    body.extend_from_slice(b",\"ids\":[");
    for (i, id) in ids.iter().enumerate() {
        body.extend_from_slice(if i == 0 { b"\"" } else { b",\"" });
        body.extend_from_slice(id.as_bytes());
        body.push(b'"');
    }
    body.extend_from_slice(b"]}");
    Answer::json(200, body)
}

/// The events of a body. Its shape decides: an array, or JSON texts one after the other.
fn read(body: &[u8], policy: &Policy, rules: &Rules) -> Result<Vec<Draft>, Answer> {
    let text = std::str::from_utf8(body)
        .map_err(|e| bad_json(0, &format!("not UTF-8 at byte {}", e.valid_up_to())))?;
    let mut drafts = Vec::new();
    let mut faults = Vec::new();
    let mut take = |index: usize, raw: &RawValue| {
        if index >= mailbox::EVENTS_MAX {
            let message = format!("at most {} events a request", mailbox::EVENTS_MAX);
            return Err(Answer::error(413, "too_many_events", &message));
        }
        match policy.draft_posted(raw.get(), rules) {
            Ok(draft) => drafts.push(draft),
            Err(violations) => {
                let room = ERRORS_MAX.saturating_sub(faults.len());
                faults.extend(violations.into_iter().take(room).map(|v| Fault::new(index, v)));
            }
        }
        Ok(())
    };
    if text.trim_start().starts_with('[') {
        let list: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| bad_json(0, &e.to_string()))?;
        for (index, raw) in list.into_iter().enumerate() {
            take(index, raw)?;
        }
    } else {
        let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
        for (index, raw) in values.enumerate() {
            take(index, raw.map_err(|e| bad_json(index, &e.to_string()))?)?;
        }
        if drafts.is_empty() && faults.is_empty() {
            return Err(bad_json(0, "the body is empty"));
        }
    }
    if faults.is_empty() {
        return Ok(drafts);
    }
    let too_large = faults.iter().any(|f| f.code == ViolationCode::TooLarge.as_str() && f.path.is_empty());
    let body = serde_json::json!({ "errors": faults }).to_string();
    Err(Answer::json(if too_large { 413 } else { 422 }, body))
}

/// The body stops being JSON at event `index`.
fn bad_json(index: usize, message: &str) -> Answer {
    let fault = Fault { index, path: String::new(), code: "bad_json", message: message.to_owned() };
    let body = serde_json::json!({
        "error": { "code": "bad_json", "message": message },
        "errors": [fault],
    });
    Answer::json(400, body.to_string())
}
