//! `GET /api/connections?limit=n&after=cursor`: who is connected, in pages.

use serde::Serialize;

use crate::control::http::Answer;
use crate::control::questions::{Question, Settled};
use crate::control::router::Outcome;
use crate::shard::census::Row;
use crate::wire::head::Head;

/// Rows of a page at most.
const LIMIT_MAX: usize = 1_000;
/// Rows of a page where nothing else is asked.
const LIMIT: usize = 100;

#[derive(Serialize)]
struct Page<'a> {
    connections: Vec<&'a Row>,
    /// Ask with `after=` this for what follows; null: there is no more.
    next: Option<String>,
}

/// Reads which page is asked for.
#[must_use]
pub fn get(head: &Head<'_>) -> Outcome {
    let limit = match head.param("limit").map(|text| text.parse()) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => {
            let message = format!("limit is a whole number from 1 to {LIMIT_MAX}");
            return Answer::error(400, "bad_limit", &message).into();
        }
    };
    let from = match head.param("after").as_deref().map(parse_cursor) {
        None => (0, 0),
        Some(Some((shard, slot))) => (shard, slot.saturating_add(1)),
        Some(None) => return Answer::error(400, "bad_cursor", "after is the `next` of another page").into(),
    };
    // One more row than asked for tells whether another page follows.
    Outcome::Ask(Question::List { from, limit: limit + 1 })
}

/// The place behind which a page begins: `shard-slot`.
fn parse_cursor(text: &str) -> Option<(usize, u32)> {
    let (shard, slot) = text.split_once('-')?;
    Some((shard.parse().ok()?, slot.parse().ok()?))
}

/// Answers it.
#[must_use]
pub fn answer(settled: &Settled, limit: usize, shards: usize) -> Answer {
    if !settled.is_whole(shards) {
        return Answer::error(503, "unavailable", "a shard does not answer").with("Retry-After", "1");
    }
    let mut by_shard: Vec<_> = settled.rows.iter().collect();
    by_shard.sort_by_key(|(shard, _)| *shard);
    let mut rows: Vec<(usize, &Row)> =
        by_shard.into_iter().flat_map(|(shard, rows)| rows.iter().map(|row| (*shard, row))).collect();
    let more = rows.len() >= limit;
    rows.truncate(limit - 1);
    let next = rows.last().filter(|_| more).map(|(shard, row)| format!("{shard}-{}", row.slot));
    let page = Page { connections: rows.into_iter().map(|(_, row)| row).collect(), next };
    match serde_json::to_vec(&page) {
        Ok(body) => Answer::json(200, body),
        Err(e) => Answer::error(500, "internal", &e.to_string()),
    }
}
