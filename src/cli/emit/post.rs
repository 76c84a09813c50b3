//! One request of events: sent again while the node is busy, its answer read.

use std::time::Duration;

use serde::Deserialize;

use crate::cli::control::{Control, MAX_ATTEMPTS, persist, refusal};
use crate::cli::emit::input::Piece;
use crate::cli::http::Response;

/// Something that answers posts: a node, or a table in a test.
pub trait Node {
    /// Answers one request.
    fn post(&mut self, body: &[u8]) -> Result<Response, String>;
}

impl Node for Control {
    fn post(&mut self, body: &[u8]) -> Result<Response, String> {
        self.ask("POST", "/api/events", Some(body))
    }
}

/// Posts, and tries again while the node is busy: a 503 is never half done, so that doubles nothing.
pub struct Poster<N> {
    /// The node.
    pub control: N,
    /// How to wait.
    pub pause: fn(Duration),
}

impl<N: Node> Poster<N> {
    /// Posts one request and returns the ids of its events.
    ///
    /// # Errors
    /// One sentence; nothing of the request was published then.
    pub fn post(&mut self, batch: &[Piece]) -> Result<Vec<String>, String> {
        let mut body = Vec::new();
        for piece in batch {
            body.extend_from_slice(&piece.json);
            body.push(b'\n');
        }
        let response = persist(|| self.control.post(&body), self.pause)?;
        if response.status == 503 {
            return Err(format!(
                "{}, after {MAX_ATTEMPTS} attempts; nothing of this request was published",
                refusal(&response)
            ));
        }
        read_answer(&response, batch)
    }
}

#[derive(Deserialize)]
struct Accepted {
    ids: Vec<String>,
}

#[derive(Deserialize)]
struct Refused {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    index: usize,
    #[serde(default)]
    path: Option<String>,
    message: String,
}

/// The ids of a 200, or what the node says in a sentence a reason.
fn read_answer(response: &Response, batch: &[Piece]) -> Result<Vec<String>, String> {
    let body = &response.body;
    if response.status == 200 {
        let accepted = serde_json::from_slice::<Accepted>(body);
        return accepted
            .map(|a| a.ids)
            .map_err(|e| format!("the node accepted, but its answer can't be read: {e}"));
    }
    if let Ok(Refused { errors }) = serde_json::from_slice(body) {
        let reasons: Vec<_> = errors.iter().map(|reason| describe(reason, batch)).collect();
        return Err(format!("nothing of this request was published; {}", reasons.join("; ")));
    }
    Err(refusal(response))
}

/// One reason: which event, by its line where it came by one, which field, and why.
fn describe(reason: &Reason, batch: &[Piece]) -> String {
    let place = match batch {
        [Piece { line: 0, .. }] => String::new(),
        [Piece { line, json }] if json.first() == Some(&b'[') => {
            format!("event {} of the array on line {line}: ", reason.index)
        }
        _ => match batch.get(reason.index) {
            Some(piece) => format!("line {}: ", piece.line),
            None => format!("event {}: ", reason.index),
        },
    };
    let path = reason
        .path
        .as_deref()
        .filter(|path| !path.is_empty())
        .map(|path| format!("{path}: "))
        .unwrap_or_default();
    format!("{place}{path}{}", reason.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response { status, headers: vec![("Retry-After".into(), "7".into())], body: body.into() }
    }

    struct Table(Vec<Response>, Vec<Vec<u8>>);

    impl Node for Table {
        fn post(&mut self, body: &[u8]) -> Result<Response, String> {
            self.1.push(body.to_vec());
            Ok(if self.0.len() > 1 { self.0.remove(0) } else { self.0[0].clone() })
        }
    }

    fn pieces(lines: &[u64]) -> Vec<Piece> {
        lines.iter().map(|&line| Piece { line, json: b"{}".to_vec() }).collect()
    }

    fn poster(answers: Vec<Response>) -> Poster<Table> {
        Poster { control: Table(answers, vec![]), pause: |wait| assert_eq!(wait.as_secs(), 7) }
    }

    #[test]
    fn a_busy_node_is_asked_again_and_not_for_ever() {
        let mut twice = poster(vec![
            response(503, ""),
            response(503, ""),
            response(200, r#"{"accepted":2,"ids":["1","2"]}"#),
        ]);
        assert_eq!(twice.post(&pieces(&[1, 2])).unwrap(), ["1", "2"]);
        assert_eq!(twice.control.1, vec![b"{}\n{}\n".to_vec(); 3]);
        let mut never = poster(vec![response(503, "")]);
        assert!(never.post(&pieces(&[1])).unwrap_err().contains("after 10 attempts"));
        assert_eq!(never.control.1.len(), 10);
    }

    #[test]
    fn refusals_are_readable() {
        let errors = r#"{"errors":[{"index":1,"path":"data.total","code":"missing","message":"is missing"},
            {"index":0,"path":"","code":"bad_value","message":"no"}]}"#;
        let array = [Piece { line: 4, json: b"[{},{}]".to_vec() }];
        let table = [
            (
                422,
                errors,
                pieces(&[3, 9]),
                "nothing of this request was published; line 9: data.total: is missing; line 3: no",
            ),
            (422, errors, pieces(&[0]), "published; data.total: is missing; no"),
            (422, errors, array.to_vec(), "event 1 of the array on line 4: data.total: is missing"),
            (
                413,
                r#"{"error":{"code":"too_large","message":"too large"}}"#,
                pieces(&[1]),
                "refused (413): too large",
            ),
            (500, "oops", pieces(&[1]), "refused with status 500"),
            (200, "oops", pieces(&[1]), "can't be read"),
        ];
        for (status, body, batch, part) in table {
            let sentence = read_answer(&response(status, body), &batch).unwrap_err();
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
