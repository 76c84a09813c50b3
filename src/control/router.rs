//! The control listener's one routing table.

use crate::base::time::Now;
use crate::control::http::{Answer, Request};
use crate::control::questions::Question;
use crate::control::routes;
use crate::journal::history::HistoryQuery;
use crate::publish::sequencer::Sequencer;

/// What a route makes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The answer.
    Answer(Answer),
    /// The answer, if the journal settles this ticket in its favour.
    Once(u64, Answer),
    /// Only the log knows.
    Past(HistoryQuery),
    /// Only the shards know.
    Ask(Question),
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Outcome {
        Outcome::Answer(answer)
    }
}

/// Answers a request, or says what must be asked.
pub fn route(request: &Request<'_>, sequencer: &mut Sequencer, now: Now) -> Outcome {
    let path = request.head.path();
    match (request.head.method, path) {
        ("POST", "/api/events") => routes::events::post(request, sequencer, now),
        ("GET", "/api/events") => routes::history::get(&request.head, sequencer),
        ("GET" | "HEAD", "/api/ws/info") => routes::info::get(sequencer).into(),
        ("GET" | "HEAD", "/api/ws/stats") => Outcome::Ask(Question::Stats),
        ("GET" | "HEAD", "/metrics") => Outcome::Ask(Question::Metrics),
        ("GET" | "HEAD", "/healthz") => routes::health::get(sequencer.shared().is_alive(), sequencer).into(),
        ("GET" | "HEAD", "/readyz") => {
            routes::health::get(sequencer.shared().is_ready(now.mono), sequencer).into()
        }
        ("GET" | "HEAD", "/api/connections") => routes::connections::get(&request.head),
        ("DELETE", _) if path.starts_with("/api/sessions/") || path.starts_with("/api/users/") => {
            routes::kick::delete(path)
        }
        ("POST", "/api/drain") => routes::drain::post(sequencer).into(),
        _ => refuse(path),
    }
}

/// No such path, or not with this method.
fn refuse(path: &str) -> Outcome {
    let allow = match path {
        "/api/events" => "GET, POST",
        "/api/ws/info" | "/api/ws/stats" | "/metrics" | "/healthz" | "/readyz" | "/api/connections" => {
            "GET, HEAD"
        }
        "/api/drain" => "POST",
        _ if path.starts_with("/api/sessions/") || path.starts_with("/api/users/") => "DELETE",
        _ => return Answer::error(404, "not_found", "there is nothing here").into(),
    };
    Answer::error(405, "method_not_allowed", &format!("only {allow}")).with("Allow", allow).into()
}
