//! `GET /api/ws/stats`: counts that are true at the moment of asking.

use serde_json::{Value, json};

use crate::control::http::Answer;
use crate::control::questions::Settled;
use crate::publish::sequencer::Sequencer;

/// The body, or nothing when a shard is silent: half a count would be a lie.
#[must_use]
pub fn body(settled: &Settled, sequencer: &Sequencer) -> Option<String> {
    let shards = sequencer.mailboxes().len();
    if !settled.is_whole(shards) {
        return None;
    }
    let config = sequencer.config();
    let (first, last) = sequencer.held();
    let mut map = settled.census.to_json(&config.policy);
    let online = sequencer.shared().online.load(std::sync::atomic::Ordering::Relaxed);
    map.insert("customersOnline".into(), json!(online));
    map.insert("shards".into(), json!(shards));
    map.insert("eventsAccepted".into(), json!(sequencer.counters().accepted.read()));
    map.insert("eventsHeld".into(), json!(last + 1 - first));
    map.insert("epoch".into(), json!(config.epoch));
    map.insert("lastEventId".into(), json!(sequencer.last_event_id()));
    Some(Value::Object(map).to_string())
}

/// Answers it.
#[must_use]
pub fn answer(settled: &Settled, sequencer: &Sequencer) -> Answer {
    match body(settled, sequencer) {
        Some(body) => Answer::json(200, body),
        None => Answer::error(503, "unavailable", "a shard does not answer").with("Retry-After", "1"),
    }
}
