//! The whole history, against what was posted, acknowledged and seen.

use std::collections::HashMap;
use std::sync::Mutex;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::load::{Event, MARKERS, VIEWERS, idempotency_key};
use crate::site::Site;
use crate::stage::Stage;
use crate::watcher::{Seen, fingerprint};
use crate::wire::Line;

#[derive(Deserialize)]
struct Published<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    namespace: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
    id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    n: Option<u64>,
    k: Option<String>,
    customer_id: Option<String>,
}

/// What a history must be.
struct Check<'a> {
    seed: u64,
    last: u64,
    /// The position of the last marker, which everybody has seen. What is behind it may be on its way: that somebody
    /// came or went is told when the node finds time.
    until: u64,
    /// Positions of events, by number.
    found: HashMap<u64, u64>,
    /// What each viewer saw, and how much of it was compared.
    seen: Vec<(std::sync::MutexGuard<'a, Seen>, usize)>,
}

/// Reads the history page by page and holds it against everything else. Returns how many events it has.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(
    site: &Site,
    stage: &Stage,
    seen: &[Mutex<Seen>],
    seed: u64,
    markers: &[(u64, u64)],
) -> Result<u64, String> {
    let seen = seen.iter().map(|seen| (seen.lock().unwrap(), 0)).collect();
    let until = markers.last().expect("a look begins with one").1;
    let mut check = Check { seed, last: 0, until, found: HashMap::new(), seen };
    let epoch = stage.look().epoch.clone().expect("somebody subscribed");
    let mut line = Line::open(&site.control()).map_err(|gone| gone.0)?;
    let mut since = "0".to_owned();
    loop {
        let path = format!("/api/events?limit=65536&since={since}&epoch={epoch}");
        let page = line.send("GET", &path, "").and_then(|()| line.answer()).map_err(|gone| gone.0)?;
        if page.status != 200 || page.header("omnicast-gap").is_some() {
            return Err(format!("{path}: {} {:?} {:.200}", page.status, page.headers, page.body));
        }
        for text in page.body.lines() {
            check.take(text)?;
        }
        since = page.header("omnicast-cursor").map_or(check.last.to_string(), str::to_owned);
        if page.header("omnicast-more").is_none() {
            break;
        }
    }
    check.finish(stage, markers)
}

impl Check<'_> {
    fn take(&mut self, text: &str) -> Result<(), String> {
        let line: Published<'_> = serde_json::from_str(text).map_err(|e| format!("{e}: {text:.300}"))?;
        let data: Data = serde_json::from_str(line.data.get()).map_err(|e| format!("{e}: {text:.300}"))?;
        let position: u64 = line.id.parse().map_err(|e| format!("{e}: {text:.300}"))?;
        if position != self.last + 1 {
            return Err(format!("after {} there is {position}", self.last));
        }
        self.last = position;
        let event = match (data.n, data.customer_id) {
            (Some(n), _) => {
                let event = Event::of(self.seed, n);
                let posted = (event.kind, event.namespace, &*event.data, Some(idempotency_key(self.seed, n)));
                if posted != (line.kind, line.namespace, line.data.get(), data.k) {
                    return Err(format!("{n} was not posted like this: {text:.300}"));
                }
                if let Some(first) = self.found.insert(n, position) {
                    return Err(format!("{n} is there as {first} and as {position}"));
                }
                event
            }
            (None, Some(customer)) if line.kind.ends_with("line") => {
                Event::presence(line.kind == "customer:online", &customer)
            }
            _ => return Err(format!("nobody posted this: {text:.300}")),
        };
        self.compare(position, fingerprint(text.as_bytes()), &event)
    }

    /// Whoever may see it has seen it next, and it was the same to the byte.
    fn compare(&mut self, position: u64, print: u64, event: &Event) -> Result<(), String> {
        for (index, (seen, at)) in self.seen.iter_mut().enumerate() {
            let viewer = &VIEWERS[index];
            if position > self.until
                || seen.first.is_none_or(|first| position <= first)
                || !viewer.sees(event)
            {
                continue;
            }
            match seen.events.get(*at) {
                Some(got) if *got == (position, print) => *at += 1,
                got => {
                    return Err(format!(
                        "viewer {index}, {viewer:?}, should have seen {position} ({}) and saw {:?}",
                        event.kind,
                        got.map(|(position, _)| position)
                    ));
                }
            }
        }
        Ok(())
    }

    fn finish(self, stage: &Stage, markers: &[(u64, u64)]) -> Result<u64, String> {
        for (index, (seen, at)) in self.seen.iter().enumerate() {
            if let Some((position, _)) = seen.events.get(*at).filter(|(position, _)| *position <= self.until)
            {
                return Err(format!(
                    "viewer {index}, {:?}, saw {position}, which is not for it",
                    VIEWERS[index]
                ));
            }
        }
        let state = stage.look();
        for (n, position) in
            state.acked.iter().map(|(n, position)| (*n, *position)).chain(markers.iter().copied())
        {
            if self.found.get(&n) != Some(&position) {
                return Err(format!("{n} was acknowledged as {position}, and is {:?}", self.found.get(&n)));
            }
        }
        let unknown = self.found.keys().find(|n| **n < MARKERS && !state.acked.contains_key(n));
        if let Some(n) = unknown {
            return Err(format!("{n} is there, and was never acknowledged although all was"));
        }
        Ok(self.last)
    }
}
