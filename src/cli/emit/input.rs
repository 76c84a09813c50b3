//! From bytes on stdin to events, as soon as each one is complete.
//!
//! Lines of JSON are events one by one, so that `tail -f log | omnicast emit` is live; an event may also span lines
//! (`jq` without `-c`). A JSON array is one request, all or nothing, and has to end before it can be sent.

use serde::de::IgnoredAny;

/// Longest single event that is collected; the node refuses far shorter ones, with a better message.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// Longest array that is collected.
const MAX_ARRAY_BYTES: usize = 64 << 20;

/// One event, or a whole array of them, on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The line of the input on which it begins, from 1.
    pub line: u64,
    /// The JSON text.
    pub json: Vec<u8>,
}

/// The input is not events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadInput {
    /// The line on which that was noticed.
    pub line: u64,
    /// Why, as the end of a sentence.
    pub why: String,
}

/// Input that is read piece by piece.
#[derive(Debug, Default)]
pub struct Input {
    /// What belongs to the piece that is not complete yet.
    text: Vec<u8>,
    /// Lines that are complete.
    lines: u64,
    /// The line on which `text` begins.
    begun: u64,
    is_array: bool,
}

impl Input {
    /// Takes the next bytes and appends the events that they complete to `out`.
    ///
    /// # Errors
    /// [`BadInput`] at the first line that can't be part of an event.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Piece>) -> Result<(), BadInput> {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (line, ended) = match line.strip_suffix(b"\n") {
                Some(line) => (line, true),
                None => (line, false),
            };
            self.append(line)?;
            if ended {
                self.lines += 1;
                self.end_of_line(out)?;
            }
        }
        Ok(())
    }

    /// The piece that ended together with the input, if any.
    ///
    /// # Errors
    /// [`BadInput`] when the input ends inside an event.
    pub fn finish(mut self) -> Result<Option<Piece>, BadInput> {
        self.lines += 1;
        if self.text.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        match serde_json::from_slice::<IgnoredAny>(&self.text) {
            Ok(_) => Ok(Some(Piece { line: self.begun, json: self.text })),
            Err(e) if e.is_eof() => Err(self.bad("the input ends inside an event")),
            Err(e) => Err(self.not_json(&e)),
        }
    }

    fn append(&mut self, part: &[u8]) -> Result<(), BadInput> {
        if self.text.is_empty() {
            let part = part.trim_ascii_start();
            let Some(first) = part.first() else { return Ok(()) };
            self.begun = self.lines + 1;
            self.is_array = *first == b'[';
            if !self.is_array && *first != b'{' {
                self.lines += 1;
                return Err(self.bad("an event is a JSON object"));
            }
            self.text.extend_from_slice(part);
        } else {
            self.text.extend_from_slice(part);
        }
        let limit = if self.is_array { MAX_ARRAY_BYTES } else { MAX_EVENT_BYTES };
        if self.text.len() > limit {
            self.lines += 1;
            return Err(self.bad(&format!("nothing may be longer than {limit} bytes")));
        }
        Ok(())
    }

    /// Looks whether the line that just ended completes an event. Only a line that ends with a brace can, so that an event
    /// over many lines is not parsed once for each.
    fn end_of_line(&mut self, out: &mut Vec<Piece>) -> Result<(), BadInput> {
        if self.text.is_empty() {
            return Ok(());
        }
        if !self.is_array && self.text.trim_ascii_end().ends_with(b"}") {
            match serde_json::from_slice::<IgnoredAny>(&self.text) {
                Ok(_) => {
                    out.push(Piece { line: self.begun, json: std::mem::take(&mut self.text) });
                    return Ok(());
                }
                Err(e) if e.is_eof() => {}
                Err(e) => return Err(self.not_json(&e)),
            }
        }
        self.text.push(b' '); // The line break itself would end the event in a body of lines.
        Ok(())
    }

    fn not_json(&self, error: &serde_json::Error) -> BadInput {
        self.bad(&format!("that is not JSON: {error}"))
    }

    fn bad(&self, why: &str) -> BadInput {
        BadInput { line: self.lines, why: why.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, step: usize) -> Result<Vec<(u64, String)>, BadInput> {
        let (mut input, mut out) = (Input::default(), vec![]);
        for chunk in text.as_bytes().chunks(step) {
            input.push(chunk, &mut out)?;
        }
        out.extend(input.finish()?);
        Ok(out.into_iter().map(|piece| (piece.line, String::from_utf8(piece.json).unwrap())).collect())
    }

    #[test]
    fn events_are_the_same_whatever_the_reads() {
        let table: [(&str, &[(u64, &str)]); 7] = [
            ("", &[]),
            (" \n\n", &[]),
            ("{\"a\":1}\n{\"b\":2}\n", &[(1, "{\"a\":1}"), (2, "{\"b\":2}")]),
            ("\r\n{\"a\":1}\r\n\r\n{\"b\":2}", &[(2, "{\"a\":1}\r"), (4, "{\"b\":2}")]),
            ("{\n  \"a\": {\n }\n}\n{}\n", &[(1, "{   \"a\": {  } }"), (5, "{}")]),
            ("[{},\n{}]\n", &[(1, "[{}, {}] ")]),
            ("{\"a\":\"}\"}\n", &[(1, "{\"a\":\"}\"}")]),
        ];
        for (text, events) in table {
            for step in [1, 3, 1000] {
                let found = read(text, step).unwrap();
                let found: Vec<_> = found.iter().map(|(line, json)| (*line, json.as_str())).collect();
                assert_eq!(found, events, "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn what_is_no_event_is_named_by_its_line() {
        let table = [
            ("{}\nhello\n", 2, "JSON object"),
            ("{\"a\":1\n{\"b\":2}\n", 2, "not JSON"),
            ("{}\n{\"a\":1", 2, "ends inside"),
            ("[{}\n{}]", 2, "not JSON"),
            ("{} {}\n", 1, "not JSON"),
        ];
        for (text, line, why) in table {
            let bad = read(text, 1000).unwrap_err();
            assert!(bad.line == line && bad.why.contains(why), "{text:?}: {bad:?}");
        }
        let bad = read(&format!("{{\"a\":\"{}", "x".repeat(MAX_EVENT_BYTES)), 4096).unwrap_err();
        assert!(bad.why.contains("longer"), "{bad:?}");
    }

    #[test]
    fn a_line_is_an_event_before_the_input_ends() {
        let (mut input, mut out) = (Input::default(), vec![]);
        input.push(b"{\"a\":1}\n{\"b\"", &mut out).unwrap();
        assert_eq!(out.len(), 1);
    }
}
