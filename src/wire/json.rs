//! A scanner that JSON from a stranger passes before anything is built from it (RFC 8259).
//!
//! It allocates nothing but a list of keys, never recurses, and looks at each byte a bounded
//! number of times. Beyond the grammar it refuses what two readers could understand differently:
//! repeated keys, NUL in text, `__proto__`, numbers that are not finite.

use std::borrow::Cow;

/// Objects and arrays inside each other at most, the outermost counted.
pub const DEPTH_MAX: usize = 16;
/// Keys of one object at most: each is compared with the earlier ones.
pub const OBJECT_KEYS_MAX: usize = 64;
/// Numbers of fewer bytes and without an exponent are finite as `f64`.
const FINITE_DIGITS: usize = 300;

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonFault<'a> {
    /// Not JSON, as seen at that byte.
    Syntax(usize),
    /// Over [`DEPTH_MAX`].
    TooDeep,
    /// An object over [`OBJECT_KEYS_MAX`].
    TooManyKeys,
    /// A key that is twice in one object.
    DuplicateKey(Cow<'a, str>),
    /// The key `__proto__`.
    ProtoKey,
    /// NUL in a text.
    Nul,
    /// A number that is not finite as `f64`.
    NumberRange,
}

/// A key of the outermost object and its value as sent, without the space around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key, unescaped.
    pub key: Cow<'a, str>,
    /// The JSON text of the value.
    pub value: &'a str,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan<'a> {
    /// The members of the outermost object, in order; with a fault perhaps not all of them.
    pub members: Vec<Member<'a>>,
    /// The fault: the syntax where that is wrong, else the first one.
    pub fault: Option<JsonFault<'a>>,
}

impl<'a> Scan<'a> {
    /// The value of the first member of that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.members.iter().find(|member| member.key == key).map(|member| member.value)
    }
}

/// Whether a JSON value (as in [`Member::value`]) is an object.
#[must_use]
pub fn is_object(value: &str) -> bool {
    value.starts_with('{')
}

/// The text that a JSON value (as in [`Member::value`]) is, if it is one.
#[must_use]
pub fn text(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Scans one JSON value with nothing but space around it.
#[must_use]
pub fn scan(text: &str) -> Scan<'_> {
    let mut scanner = Scanner {
        text,
        at: 0,
        open: [Open::default(); DEPTH_MAX],
        depth: 0,
        keys: Vec::new(),
        member: None,
        members: Vec::new(),
        fault: None,
    };
    let fault = match scanner.run() {
        Ok(()) => scanner.fault,
        // Where the depth ends the scan, an earlier fault stays the one to tell.
        Err(JsonFault::TooDeep) => scanner.fault.or(Some(JsonFault::TooDeep)),
        Err(fault) => Some(fault),
    };
    Scan { members: scanner.members, fault }
}

/// An object or array that has begun.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    is_object: bool,
    /// Where its keys begin in the list of all.
    first_key: usize,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    open: [Open; DEPTH_MAX],
    depth: usize,
    /// The keys of all open objects.
    keys: Vec<Cow<'a, str>>,
    /// The member of the outermost object whose value is being scanned: its key and start.
    member: Option<(Cow<'a, str>, usize)>,
    members: Vec<Member<'a>>,
    /// The first fault that the scan can go on after.
    fault: Option<JsonFault<'a>>,
}

impl<'a> Scanner<'a> {
    fn run(&mut self) -> Result<(), JsonFault<'a>> {
        loop {
            self.skip_space();
            let whole = match self.peek() {
                Some(b'{') => self.begin(true)?,
                Some(b'[') => self.begin(false)?,
                Some(b'"') => self.string().map(|_| true)?,
                Some(b'-' | b'0'..=b'9') => self.number().map(|()| true)?,
                _ => self.literal().map(|()| true)?,
            };
            if whole && self.after_value()? {
                return Ok(());
            }
        }
    }

    /// Goes on after a complete value, through the ends of whatever it completes, to where the
    /// next value is due. True at the end of the text.
    fn after_value(&mut self) -> Result<bool, JsonFault<'a>> {
        loop {
            if self.depth == 1
                && let Some((key, start)) = self.member.take()
            {
                self.members.push(Member { key, value: &self.text[start..self.at] });
            }
            self.skip_space();
            let Some(&Open { is_object, first_key }) = self.open[..self.depth].last() else {
                return if self.at == self.text.len() { Ok(true) } else { self.syntax() };
            };
            match (self.peek(), is_object) {
                (Some(b','), _) => {
                    self.at += 1;
                    if is_object {
                        self.skip_space();
                        self.key()?;
                    }
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    self.depth -= 1;
                    self.keys.truncate(first_key);
                }
                _ => return self.syntax(),
            }
        }
    }

    /// Enters an object or array. True where it was empty and is complete.
    fn begin(&mut self, is_object: bool) -> Result<bool, JsonFault<'a>> {
        let open = self.open.get_mut(self.depth).ok_or(JsonFault::TooDeep)?;
        *open = Open { is_object, first_key: self.keys.len() };
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(if is_object { b'}' } else { b']' }) {
            self.at += 1;
            return Ok(true);
        }
        self.depth += 1;
        if is_object {
            self.key()?;
        }
        Ok(false)
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<(), JsonFault<'a>> {
        if self.peek() != Some(b'"') {
            return self.syntax();
        }
        let start = self.at;
        self.string()?;
        let key = text(&self.text[start..self.at]).ok_or(JsonFault::Syntax(start))?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return self.syntax();
        }
        self.at += 1;
        self.skip_space();
        if self.depth == 1 {
            self.member = Some((key.clone(), self.at));
        }
        let earlier = &self.keys[self.open[self.depth - 1].first_key..];
        if key == "__proto__" {
            self.note(JsonFault::ProtoKey);
        } else if earlier.contains(&key) {
            self.note(JsonFault::DuplicateKey(key));
        } else if earlier.len() == OBJECT_KEYS_MAX {
            self.note(JsonFault::TooManyKeys);
        } else {
            self.keys.push(key);
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonFault<'a>> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) | None => return self.syntax(),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonFault<'a>> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => match self.code_unit()? {
                0 => self.note(JsonFault::Nul),
                // A high surrogate must be followed by a low one, which is nowhere else.
                0xd800..=0xdbff => {
                    if self.peek() != Some(b'\\') {
                        return self.syntax();
                    }
                    self.at += 1;
                    if self.peek() != Some(b'u') || !(0xdc00..=0xdfff).contains(&self.code_unit()?) {
                        return self.syntax();
                    }
                }
                0xdc00..=0xdfff => return self.syntax(),
                _ => {}
            },
            _ => return self.syntax(),
        }
        Ok(())
    }

    /// `uXXXX`.
    fn code_unit(&mut self) -> Result<u16, JsonFault<'a>> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5).ok_or(JsonFault::Syntax(self.at))?;
        let mut unit = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or(JsonFault::Syntax(self.at))?;
            unit = unit << 4 | digit as u16;
        }
        self.at += 5;
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), JsonFault<'a>> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let number = &self.text[start..self.at];
        if (has_exponent || number.len() > FINITE_DIGITS) && !number.parse().is_ok_and(f64::is_finite) {
            self.note(JsonFault::NumberRange);
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonFault<'a>> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.syntax() } else { Ok(()) }
    }

    fn literal(&mut self) -> Result<(), JsonFault<'a>> {
        let rest = &self.text.as_bytes()[self.at..];
        let Some(word) = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word.as_bytes()))
        else {
            return self.syntax();
        };
        self.at += word.len();
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn note(&mut self, fault: JsonFault<'a>) {
        self.fault.get_or_insert(fault);
    }

    fn syntax<T>(&self) -> Result<T, JsonFault<'a>> {
        Err(JsonFault::Syntax(self.at))
    }
}

#[cfg(test)]
mod tests;
