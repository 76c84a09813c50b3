//! `POST /api/drain`: send everybody away, spread over the drain timeout. The node runs on.

use crate::control::http::Answer;
use crate::publish::sequencer::Sequencer;

/// Answers it. Draining twice is draining once.
#[must_use]
pub fn post(sequencer: &mut Sequencer) -> Answer {
    sequencer.drain();
    Answer::json(202, r#"{"draining":true}"#)
}
