//! `GET /api/ws/info`: the same as on the public listener.

use crate::control::http::Answer;
use crate::publish::sequencer::Sequencer;

/// Answers it.
#[must_use]
pub fn get(sequencer: &Sequencer) -> Answer {
    Answer::json(200, sequencer.config().info_body(sequencer.shared().is_draining()))
}
