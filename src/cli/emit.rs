//! `omnicast emit`: events from arguments or from stdin, posted to the control listener.

mod input;
mod post;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use crossbeam_channel::{Receiver, bounded};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::control::{CONTROL_HELP, Control};
use crate::cli::output;

use input::{Input, Piece};
use post::Poster;

/// Most events in one request.
const MAX_BATCH_EVENTS: usize = 1000;
/// Bytes at which a request is full.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Reads of stdin that wait while a request is under way.
const MAX_WAITING_READS: usize = 16;

/// The subcommand's arguments.
pub fn command() -> Command {
    let option = |name: &'static str, value, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).allow_hyphen_values(true)
    };
    Command::new("emit")
        .about("Post events to a running node: one from the arguments, or many from stdin")
        .arg(Arg::new("type").value_name("TYPE").help("Type of the event, such as order:created; - or nothing reads stdin"))
        .arg(Arg::new("json").value_name("JSON").help("Its data"))
        .arg(option("data", "JSON", "Its data").conflicts_with("json"))
        .arg(option("user-ids", "LIST", "Only these users, comma-separated"))
        .arg(option("roles", "LIST", "Only these roles, comma-separated"))
        .arg(option("key", "KEY", "Its entity key, where that is not in the data"))
        .arg(option("idempotency-key", "KEY", "Posting the same key again publishes nothing"))
        .arg(Arg::new("control").long("control").value_name("PATH").help(CONTROL_HELP))
        .after_help(
            "Prints the id of each event. Stdin holds one event a line (sent as soon as it is there; lines \
             that wait already go together, all or none) or a JSON array (published as a whole or not at \
             all).\n\n\
             Examples:\n  \
             omnicast emit product:deleted '{\"productId\":\"p_1\"}'\n  \
             omnicast emit system:notification '{\"title\":\"Hi\",\"message\":\"Lunch\",\"severity\":\"info\"}' --roles staff\n  \
             tail -f events.ndjson | omnicast emit",
        )
}

/// Posts what the arguments say.
pub fn run(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> ExitCode {
    let get = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let mut poster = Poster { control: Control::find(get("control"), env), pause: std::thread::sleep };
    let kind = get("type").filter(|kind| *kind != "-");
    let Some(kind) = kind else {
        let options = ["json", "data", "user-ids", "roles", "key", "idempotency-key"];
        if let Some(option) = options.into_iter().find(|option| get(option).is_some()) {
            return output::refuse(&format!(
                "{option} belongs to a single event, and those on stdin bring their own"
            ));
        }
        if get("type").is_none() && io::stdin().is_terminal() {
            return output::refuse("name a TYPE, or pipe events into stdin (see omnicast emit --help)");
        }
        return from_stdin(&mut poster);
    };
    let list = |name: &str| get(name).map(split_list);
    let body = body_of(
        kind,
        get("json").or_else(|| get("data")).unwrap_or("{}"),
        Addressing { user_ids: list("user-ids"), roles: list("roles") },
        get("key"),
        get("idempotency-key"),
    );
    match body.map(|body| poster.post(&[Piece { line: 0, json: body }])) {
        Err(sentence) => output::refuse(&sentence),
        Ok(Err(sentence)) => output::fail(&sentence),
        Ok(Ok(ids)) => output::ended(print_ids(&ids)),
    }
}

/// Items between commas. Nothing between two of them is nothing: an empty `--user-ids` stays an empty list, which the node
/// refuses, rather than no list, which is everybody.
fn split_list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// Whom the event is for.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Addressing<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ids: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<&'a str>>,
}

/// The body of a post of one event. The data goes through as it was typed, so that no number changes.
fn body_of(
    kind: &str,
    data: &str,
    addressing: Addressing<'_>,
    key: Option<&str>,
    idempotency_key: Option<&str>,
) -> Result<Vec<u8>, String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Posted<'a> {
        r#type: &'a str,
        data: Box<RawValue>,
        #[serde(flatten)]
        addressing: Addressing<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<&'a str>,
    }
    // On one line, so that the body can't be taken for lines of events.
    let data = RawValue::from_string(data.replace(['\n', '\r'], " "))
        .map_err(|e| format!("the data is not JSON: {e}"))?;
    let posted = Posted { r#type: kind, data, addressing, key, idempotency_key };
    serde_json::to_vec(&posted).map_err(|e| format!("the event can't be written as JSON: {e}"))
}

/// Posts what stdin brings, batch by batch, in order.
fn from_stdin(poster: &mut Poster<Control>) -> ExitCode {
    let reads = read_stdin();
    let (mut input, mut events) = (Input::default(), Vec::new());
    loop {
        // A full batch goes without waiting for more.
        if let Some(batch) = take_batch(&mut events) {
            match poster.post(&batch).map(|ids| print_ids(&ids)) {
                Ok(Ok(())) => continue,
                Ok(broken) => return output::ended(broken),
                Err(sentence) => return output::fail(&sentence),
            }
        }
        let Ok(first) = reads.recv() else { break };
        for read in std::iter::once(first).chain(reads.try_iter().take(MAX_WAITING_READS)) {
            let pushed = match read {
                Ok(bytes) => input.push(&bytes, &mut events),
                Err(e) => return output::fail(&format!("can't read stdin: {e}")),
            };
            if let Err(bad) = pushed {
                let unsent = events.first().map_or(bad.line, |piece| piece.line);
                return output::fail(&format!(
                    "line {}: {}; nothing from line {unsent} on was sent",
                    bad.line, bad.why
                ));
            }
        }
    }
    match input.finish() {
        Err(bad) => output::fail(&format!("line {}: {}", bad.line, bad.why)),
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(last)) => match poster.post(&[last]) {
            Ok(ids) => output::ended(print_ids(&ids)),
            Err(sentence) => output::fail(&sentence),
        },
    }
}

/// Reads of stdin as they come, from a thread of their own: whether more is there already can be asked without waiting.
fn read_stdin() -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = bounded(MAX_WAITING_READS);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = match io::stdin().read(&mut buffer) {
                Ok(0) => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map(|n| buffer[..n].to_vec()),
            };
            let failed = read.is_err();
            if sender.send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// The first events, as many as fit into a request; at least one where there is any.
fn take_batch(events: &mut Vec<Piece>) -> Option<Vec<Piece>> {
    let mut bytes = 0;
    let fits = |piece: &&Piece| {
        bytes += piece.json.len() + 1;
        bytes <= MAX_BATCH_BYTES
    };
    let count = events.iter().take(MAX_BATCH_EVENTS).take_while(fits).count().max(1).min(events.len());
    (count > 0).then(|| events.drain(..count).collect())
}

/// A reader of the ids that went away (`| head`) is no reason to stop posting.
fn print_ids(ids: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written =
        ids.iter().try_for_each(|id| writeln!(out, "{}", output::printable(id))).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(lines: &[u64]) -> Vec<Piece> {
        lines.iter().map(|&line| Piece { line, json: b"{}".to_vec() }).collect()
    }

    #[test]
    fn arguments_become_a_body() {
        let body =
            |kind, data, user_ids: Option<&'static str>, roles: Option<&'static str>, key, idempotency| {
                let addressing =
                    Addressing { user_ids: user_ids.map(split_list), roles: roles.map(split_list) };
                body_of(kind, data, addressing, key, idempotency).map(|body| String::from_utf8(body).unwrap())
            };
        assert_eq!(
            body("order:created", "{\"total\":\n 123456789012345678901.50}", None, None, None, None).unwrap(),
            r#"{"type":"order:created","data":{"total":  123456789012345678901.50}}"#
        );
        assert_eq!(
            body("t", "{}", Some("a, b,"), Some("admin"), Some("k"), Some("i")).unwrap(),
            r#"{"type":"t","data":{},"userIds":["a","b"],"roles":["admin"],"key":"k","idempotencyKey":"i"}"#
        );
        assert_eq!(
            body("t", "{}", Some(""), None, None, None).unwrap(),
            r#"{"type":"t","data":{},"userIds":[]}"#
        );
        assert!(body("t", "{a:1}", None, None, None, None).unwrap_err().contains("not JSON"));
    }

    #[test]
    fn batches_are_bounded_by_events_and_bytes() {
        let mut events = pieces(&vec![1; 2500]);
        let sizes: Vec<_> = std::iter::from_fn(|| take_batch(&mut events)).map(|batch| batch.len()).collect();
        assert_eq!(sizes, [1000, 1000, 500]);
        let big = |bytes| Piece { line: 1, json: vec![b'x'; bytes] };
        let mut events =
            vec![big(2 * MAX_BATCH_BYTES), big(MAX_BATCH_BYTES / 2), big(MAX_BATCH_BYTES / 2), big(1)];
        let sizes: Vec<_> = std::iter::from_fn(|| take_batch(&mut events)).map(|batch| batch.len()).collect();
        assert_eq!(sizes, [1, 1, 2]);
    }
}
