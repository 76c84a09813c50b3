//! `DELETE /api/sessions/ID`, `DELETE /api/users/ID`: end connections with 4004.

use crate::control::http::Answer;
use crate::control::questions::{Question, Settled};
use crate::control::router::Outcome;
use crate::shard::mail::Who;
use crate::wire::head::percent_decoded;

/// Reads whom it is about.
#[must_use]
pub fn delete(path: &str) -> Outcome {
    let who = |id: &str| Box::from(&*percent_decoded(id));
    let who = match (path.strip_prefix("/api/sessions/"), path.strip_prefix("/api/users/")) {
        (Some(id), _) if !id.is_empty() => Who::Session(who(id)),
        (_, Some(id)) if !id.is_empty() => Who::User(who(id)),
        _ => return Answer::error(404, "not_found", "name a session or a user").into(),
    };
    Outcome::Ask(Question::Kick(who))
}

/// Answers it: from here on no event reaches the connections that were ended.
#[must_use]
pub fn answer(settled: &Settled, shards: usize) -> Answer {
    if !settled.is_whole(shards) {
        return Answer::error(503, "unavailable", "a shard does not answer; some connections may live on")
            .with("Retry-After", "1");
    }
    match settled.closed {
        0 => Answer::error(404, "not_found", "nobody is connected by that id"),
        n => Answer::json(200, format!(r#"{{"closed":{n}}}"#)),
    }
}
