//! `omnicast history`: what the node has published and still holds, one JSON text a line.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde::Deserialize;

use crate::cli::control::{CONTROL_HELP, Control, persist, refusal};
use crate::cli::http::Response;
use crate::cli::output;

/// Events of one page. The node may answer with less; an answer of its is about a megabyte at most.
const PAGE: u64 = 10_000;

/// The subcommand's arguments.
pub fn command() -> Command {
    let option = |name: &'static str, value, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let list = |name, value, help| option(name, value, help).value_delimiter(',').action(ArgAction::Append);
    Command::new("history")
        .about("Print the events that the node still holds, oldest first, as JSON lines")
        .arg(option("since", "ID", "Begin behind this event [default: the oldest one held]"))
        .arg(option("epoch", "EPOCH", "The epoch that its id is from: fail where the node has another"))
        .arg(list("namespace", "LIST", "Only these namespaces, comma-separated"))
        .arg(list("type", "LIST", "Only these types, such as order:created, comma-separated"))
        .arg(option("key", "KEY", "Only this entity"))
        .arg(option("limit", "N", "End after so many events").value_parser(value_parser!(u64).range(1..)))
        .arg(Arg::new("control").long("control").value_name("PATH").help(CONTROL_HELP))
        .after_help(
            "Ends with the last event that was there; omnicast tail --since ID --epoch EPOCH goes on from there, with \
             the epoch of omnicast stats.\n\n\
             Examples:\n  \
             omnicast history --namespace orders,payments > events.ndjson\n  \
             omnicast history --since 1200 --key order_1 | jq .data",
        )
}

/// Prints page by page.
pub fn run(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> ExitCode {
    let control = Control::find(matches.get_one::<String>("control").map(String::as_str), env);
    let ask = |path: &str| persist(|| control.ask("GET", path, None), std::thread::sleep);
    match Walk::new(matches).print(ask, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Unwritten(e)) => output::ended(Err(e)),
        Err(End::Failed(sentence)) => output::fail(&sentence),
    }
}

/// Why it ended before the end.
#[derive(Debug)]
enum End {
    /// Nobody takes what is printed.
    Unwritten(io::Error),
    /// One sentence.
    Failed(String),
}

/// A way through the history.
#[derive(Debug, Default)]
struct Walk {
    /// Parameters that every page is asked with, each beginning with `&`.
    filter: String,
    since: Option<String>,
    epoch: Option<String>,
    /// Events still to print; `None` is without end.
    left: Option<u64>,
    /// Whether it was said that something is missing.
    warned: bool,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Line {
    id: String,
}

impl Walk {
    fn new(matches: &ArgMatches) -> Walk {
        let get = |name: &str| matches.get_one::<String>(name).cloned();
        let mut filter = String::new();
        for name in ["namespace", "type"] {
            let items: Vec<&str> =
                matches.get_many::<String>(name).into_iter().flatten().map(|s| &**s).collect();
            if !items.is_empty() {
                add(&mut filter, name, &items.join(","));
            }
        }
        if let Some(key) = get("key") {
            add(&mut filter, "key", &key);
        }
        let left = matches.get_one("limit").copied();
        Walk { filter, since: get("since"), epoch: get("epoch"), left, warned: false }
    }

    /// Asks for page after page, and writes each before it asks for the next.
    fn print(
        mut self,
        mut ask: impl FnMut(&str) -> Result<Response, String>,
        out: &mut impl Write,
    ) -> Result<(), End> {
        let mut written = None;
        while self.left != Some(0) {
            let page = ask(&self.path()).and_then(|answer| self.read(answer));
            let page = page.map_err(|sentence| End::Failed(self.with_place(sentence, written.as_deref())))?;
            out.write_all(&page.body).and_then(|()| out.flush()).map_err(End::Unwritten)?;
            if !page.body.is_empty() {
                written.clone_from(&self.since);
            }
            if !page.more {
                break;
            }
        }
        Ok(())
    }

    fn path(&self) -> String {
        let mut path = format!("/api/events?limit={}", self.left.unwrap_or(PAGE).min(PAGE));
        for (name, value) in [("since", &self.since), ("epoch", &self.epoch)] {
            if let Some(value) = value {
                add(&mut path, name, value);
            }
        }
        path + &self.filter
    }

    /// Takes in an answer: where the next page begins, and how much is left to print.
    fn read(&mut self, answer: Response) -> Result<Page, String> {
        if answer.status != 200 {
            return Err(refusal(&answer));
        }
        if answer.header("omnicast-gap").is_some() && !self.warned {
            self.warned = true;
            output::tell(
                "events are missing, at the beginning or between: the node let go of them, or its log is damaged",
            );
        }
        // The next page belongs to the same epoch, or the node shall refuse it.
        self.epoch = answer.header("omnicast-epoch").map(str::to_owned).or(self.epoch.take());
        let more = answer.header("omnicast-more").is_some();
        let cursor = answer.header("omnicast-cursor").map(str::to_owned);
        let body = answer.body;
        let mut lines = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let mut count = 0;
        if let Some(last) = lines.by_ref().inspect(|_| count += 1).last() {
            let line = serde_json::from_slice::<Line>(last);
            let id = line.map_err(|e| format!("the node's answer can't be read: {e}"))?.id;
            self.advance(cursor.unwrap_or(id), more)?;
        } else if more {
            self.advance(cursor.unwrap_or_default(), more)?;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(count);
        }
        Ok(Page { body, more })
    }

    /// An answer that leads nowhere must not be asked for again and again.
    fn advance(&mut self, position: String, more: bool) -> Result<(), String> {
        if more && (position.is_empty() || self.since.as_ref() == Some(&position)) {
            return Err("the node says that there is more, and not where".into());
        }
        self.since = Some(position);
        Ok(())
    }

    /// How to go on after a failure, where something was printed.
    fn with_place(&self, sentence: String, written: Option<&str>) -> String {
        match (written, &self.epoch) {
            (Some(id), Some(epoch)) => format!("{sentence}; go on with --since {id} --epoch {epoch}"),
            _ => sentence,
        }
    }
}

struct Page {
    body: Vec<u8>,
    more: bool,
}

/// Adds a parameter of a query, percent-encoded (RFC 3986 section 2.1).
fn add(query: &mut String, name: &str, value: &str) {
    query.push('&');
    query.push_str(name);
    query.push('=');
    for &byte in value.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,:".contains(&byte) {
            query.push(char::from(byte));
        } else {
            query.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wish of these arguments.
    fn walk(arguments: &[&str]) -> Walk {
        let arguments = ["history"].iter().chain(arguments);
        Walk::new(&command().try_get_matches_from(arguments).unwrap())
    }

    fn answer(ids: std::ops::Range<u64>, headers: &[(&str, &str)]) -> Response {
        let body: String = ids.map(|id| format!("{{\"id\":\"{id}\"}}\n")).collect();
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Response { status: 200, headers, body: body.into_bytes() }
    }

    const MORE: (&str, &str) = ("Omnicast-More", "true");
    const EPOCH: (&str, &str) = ("Omnicast-Epoch", "e1");

    /// What is printed, what was asked, and how it ended.
    fn print(walk: Walk, answers: Vec<Result<Response, String>>) -> (String, Vec<String>, Result<(), End>) {
        let (mut out, mut asked, mut answers) = (Vec::new(), Vec::new(), answers.into_iter());
        let end = walk.print(
            |path| {
                asked.push(path.to_owned());
                answers.next().expect("no more than that is asked")
            },
            &mut out,
        );
        assert!(answers.next().is_none(), "all of it is asked for: {asked:?}");
        (String::from_utf8(out).unwrap(), asked, end)
    }

    fn lines(ids: std::ops::Range<u64>) -> String {
        ids.map(|id| format!("{{\"id\":\"{id}\"}}\n")).collect()
    }

    #[test]
    fn wishes_become_a_query() {
        let all =
            ["--since", "7", "--epoch", "e 1", "--namespace", "orders,payments", "--namespace", "system"];
        let more = ["--type", "order:created", "--key", "a&b=ü", "--limit", "20000"];
        for (arguments, path) in [
            (vec![], "/api/events?limit=10000"),
            (vec!["--limit", "3"], "/api/events?limit=3"),
            (
                [&all[..], &more].concat(),
                "/api/events?limit=10000&since=7&epoch=e%201&namespace=orders,payments,system&type=order:created&key=a%26b%3D%C3%BC",
            ),
        ] {
            assert_eq!(walk(&arguments).path(), path);
        }
    }

    #[test]
    fn pages_follow_each_other_by_the_last_id_or_the_cursor() {
        let pages = vec![
            Ok(answer(1..4, &[MORE, EPOCH])),
            Ok(answer(4..6, &[MORE, EPOCH, ("Omnicast-Cursor", "9")])),
            // Nothing on this page passed the filter.
            Ok(answer(0..0, &[MORE, EPOCH, ("omnicast-cursor", "12")])),
            Ok(answer(13..14, &[EPOCH, ("Omnicast-Cursor", "20")])),
        ];
        let (out, asked, end) = print(walk(&[]), pages);
        assert!(end.is_ok());
        assert_eq!(out, lines(1..6) + &lines(13..14));
        let since = |id: u64| format!("/api/events?limit=10000&since={id}&epoch=e1");
        assert_eq!(asked, ["/api/events?limit=10000".to_owned(), since(3), since(9), since(12)]);
    }

    #[test]
    fn it_ends_after_the_limit() {
        let pages = vec![Ok(answer(1..4, &[MORE, EPOCH])), Ok(answer(4..6, &[MORE, EPOCH]))];
        let (out, asked, end) = print(walk(&["--limit", "5"]), pages);
        assert!(end.is_ok());
        assert_eq!(out, lines(1..6));
        assert_eq!(asked[1], "/api/events?limit=2&since=3&epoch=e1");
    }

    #[test]
    fn a_failure_tells_how_to_go_on() {
        let changed = Response {
            status: 400,
            headers: vec![],
            body: br#"{"error":{"code":"epoch_changed","message":"that epoch is over"}}"#.to_vec(),
        };
        let junk = Response { status: 200, headers: vec![], body: b"junk\n".to_vec() };
        let place = "; go on with --since 3 --epoch e1";
        for (first, then, sentence, place) in [
            (true, Ok(changed.clone()), "the node refused (400): that epoch is over", place),
            (false, Ok(changed), "the node refused (400): that epoch is over", ""),
            (true, Err("no node".to_owned()), "no node", place),
            (true, Ok(junk), "the node's answer can't be read", place),
            (true, Ok(answer(3..4, &[MORE, EPOCH])), "there is more, and not where", place),
            (true, Ok(answer(0..0, &[MORE, EPOCH])), "there is more, and not where", place),
        ] {
            let page = Ok(answer(1..4, &[MORE, EPOCH]));
            let pages = [page].into_iter().filter(|_| first).chain([then]).collect();
            let (out, _, end) = print(walk(&[]), pages);
            let Err(End::Failed(told)) = end else { panic!("it failed") };
            assert!(told.contains(sentence) && told.ends_with(place), "{told}");
            assert_eq!(out, if first { lines(1..4) } else { String::new() });
        }
    }

    #[test]
    fn a_reader_that_went_away_ends_it() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut asked = 0;
        let end = walk(&[]).print(
            |_| {
                asked += 1;
                Ok(answer(1..4, &[MORE, EPOCH]))
            },
            &mut Gone,
        );
        assert!(matches!(end, Err(End::Unwritten(e)) if e.kind() == io::ErrorKind::BrokenPipe));
        assert_eq!(asked, 1);
    }
}
