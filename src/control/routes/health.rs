//! `GET /healthz`, `GET /readyz`: the same as on the public listener.

use crate::conn::opening::health_status;
use crate::control::http::Answer;
use crate::publish::sequencer::Sequencer;

/// Answers either, given whether all is well.
#[must_use]
pub fn get(well: bool, sequencer: &Sequencer) -> Answer {
    let (status, word) = health_status(sequencer.shared().is_draining(), well);
    Answer::json(status, format!(r#"{{"status":"{word}"}}"#)).with("Cache-Control", "no-store")
}
