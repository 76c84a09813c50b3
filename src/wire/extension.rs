//! What is agreed about permessage-deflate in the opening handshake (RFC 7692 sections 5 and 7.1).
//!
//! An offer is taken or passed over as a whole: one parameter that is unknown, doubled or ill-formed, and the
//! next offer is looked at. A header that is no list of extensions offers nothing.

use std::fmt::Write;

const NAME: &[u8] = b"permessage-deflate";
/// The smallest and the largest window that can be asked for, as powers of two.
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 8..=15;

/// An offer that was taken. Neither side takes its context over from message to message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// The window that the client asked the node to keep to.
    server_window_bits: Option<u8>,
}

impl Deflate {
    /// Takes the first offer that can be taken. `lines` are the values of `Sec-WebSocket-Extensions`.
    pub fn agree<'b>(lines: impl Iterator<Item = &'b [u8]>) -> Option<Deflate> {
        let mut taken = None;
        for line in lines {
            let mut rest = Scanner { rest: line };
            loop {
                let offer = rest.offer()?;
                taken = taken.or(offer);
                if !rest.eat(b',') {
                    break;
                }
            }
            if !rest.rest.is_empty() {
                return None;
            }
        }
        taken
    }

    /// Whether events may go out compressed: the shared copies are made with the largest window. To a client
    /// that asked for a smaller one everything goes out as it is, which is always allowed; it may compress
    /// what it sends all the same.
    #[must_use]
    pub fn takes_shared_copies(self) -> bool {
        self.server_window_bits.is_none_or(|bits| bits == *WINDOW_BITS.end())
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer. That the client takes nothing over is asked of
    /// it whether or not it offered to, as the server may (7.1.1.2).
    #[must_use]
    pub fn answer(self) -> String {
        let mut text =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
        if let Some(bits) = self.server_window_bits {
            write!(text, "; server_max_window_bits={bits}").expect("writing to memory does not fail");
        }
        text
    }
}

/// One line of the header, from where it was read up to.
struct Scanner<'b> {
    rest: &'b [u8],
}

impl<'b> Scanner<'b> {
    /// The next element of the list: an offer that can be taken, or `None` for one that cannot and for an
    /// element that is empty. Nothing at all where the header is malformed.
    fn offer(&mut self) -> Option<Option<Deflate>> {
        self.skip_space();
        if matches!(self.rest, [] | [b',', ..]) {
            return Some(None);
        }
        let is_ours = self.token()?.eq_ignore_ascii_case(NAME);
        let mut terms = Terms::default();
        let mut is_good = is_ours;
        while self.eat(b';') {
            self.skip_space();
            let name = self.token()?;
            let value = if self.eat(b'=') { Some(self.value()?) } else { None };
            is_good &= terms.take(name, value).is_some();
        }
        let deflate = Deflate { server_window_bits: terms.server_window_bits };
        Some(is_good.then_some(deflate))
    }

    /// A token or a quoted string. No text that means something here needs an escape.
    fn value(&mut self) -> Option<&'b [u8]> {
        self.skip_space();
        let Some(quoted) = self.rest.strip_prefix(b"\"") else { return self.token() };
        let end = quoted.iter().position(|byte| *byte == b'"')?;
        self.rest = &quoted[end + 1..];
        self.skip_space();
        (!quoted[..end].contains(&b'\\')).then_some(&quoted[..end])
    }

    fn token(&mut self) -> Option<&'b [u8]> {
        let end = self.rest.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.skip_space();
        (!token.is_empty()).then_some(token)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let Some((_, rest)) = self.rest.split_first().filter(|(first, _)| **first == byte) else {
            return false;
        };
        self.rest = rest;
        true
    }

    fn skip_space(&mut self) {
        let space = self.rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.rest = &self.rest[space..];
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The parameters of one offer so far.
#[derive(Default)]
struct Terms {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_window_bits: Option<u8>,
    client_window: bool,
}

impl Terms {
    /// `None`: with this parameter the offer cannot be taken.
    fn take(&mut self, name: &[u8], value: Option<&[u8]>) -> Option<()> {
        let is_new = match name {
            b"server_no_context_takeover" if value.is_none() => {
                !std::mem::replace(&mut self.server_no_takeover, true)
            }
            b"client_no_context_takeover" if value.is_none() => {
                !std::mem::replace(&mut self.client_no_takeover, true)
            }
            b"server_max_window_bits" => self.server_window_bits.replace(window_bits(value?)?).is_none(),
            b"client_max_window_bits" => {
                // The inflater's window is the largest: any the client chooses will do.
                if let Some(value) = value {
                    window_bits(value)?;
                }
                !std::mem::replace(&mut self.client_window, true)
            }
            _ => false,
        };
        is_new.then_some(())
    }
}

/// A decimal number without leading zeros (7.1.2).
fn window_bits(value: &[u8]) -> Option<u8> {
    let bits = match *value {
        [digit @ b'1'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'9'] => 10 + digit - b'0',
        _ => return None,
    };
    WINDOW_BITS.contains(&bits).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agree(lines: &[&str]) -> Option<Deflate> {
        Deflate::agree(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn offers_that_are_taken() {
        for (lines, bits) in [
            (&["permessage-deflate"][..], None),
            (&["PerMessage-Deflate"], None),
            // Chrome and Firefox; ws; Safari.
            (&["permessage-deflate; client_max_window_bits"], None),
            (&["permessage-deflate"], None),
            (&["permessage-deflate; server_no_context_takeover; client_no_context_takeover"], None),
            (&["permessage-deflate;client_max_window_bits=10;server_no_context_takeover"], None),
            (
                &["permessage-deflate; client_max_window_bits=\"10\" ; server_max_window_bits = \"15\""],
                Some(15),
            ),
            (&["permessage-deflate; server_max_window_bits=8"], Some(8)),
            (&["x-webkit-deflate-frame, permessage-deflate"], None),
            (&["bbf-usp-protocol; eid=\"proto::a\", permessage-deflate"], None),
            (&["x; a=b; c", "permessage-deflate"], None),
            (&[" ,, permessage-deflate ,", ""], None),
            // The second offer is the one that can be taken.
            (&["permessage-deflate; server_max_window_bits=7, permessage-deflate"], None),
            (&["permessage-deflate; unknown, permessage-deflate; server_max_window_bits=9"], Some(9)),
            // Both could be: the first one is meant to be preferred.
            (&["permessage-deflate; server_max_window_bits=10, permessage-deflate"], Some(10)),
        ] {
            assert_eq!(agree(lines), Some(Deflate { server_window_bits: bits }), "{lines:?}");
        }
    }

    #[test]
    fn offers_that_are_passed_over() {
        for line in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflat",
            "permessage-deflate2",
            "permessage-bzip2",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover=\"true\"",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+8",
            "permessage-deflate; server_max_window_bits=115",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"1 0\"",
            "permessage-deflate; Server_No_Context_Takeover",
        ] {
            assert_eq!(agree(&[line]), None, "{line}");
        }
    }

    #[test]
    fn a_malformed_header_offers_nothing() {
        for lines in [
            &["permessage-deflate;"][..],
            &["permessage-deflate; ;"],
            &["permessage-deflate; client_max_window_bits="],
            &["permessage-deflate; client_max_window_bits=\"10"],
            &["permessage-deflate; client_max_window_bits=\"1\\0\""],
            &["permessage-deflate client_max_window_bits"],
            &["permessage-deflate, =x"],
            &["permessage-deflate, a/b"],
            &["permessage-deflate", "\"x\""],
            &["(permessage-deflate)"],
        ] {
            assert_eq!(agree(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn the_answer_says_what_holds() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for (offer, answer, shared) in [
            ("permessage-deflate; client_max_window_bits", plain.to_owned(), true),
            (
                "permessage-deflate; server_max_window_bits=15",
                format!("{plain}; server_max_window_bits=15"),
                true,
            ),
            (
                "permessage-deflate; server_max_window_bits=9",
                format!("{plain}; server_max_window_bits=9"),
                false,
            ),
        ] {
            let deflate = agree(&[offer]).unwrap();
            assert_eq!((deflate.answer(), deflate.takes_shared_copies()), (answer.clone(), shared));
            // An answer is itself well-formed, and names nothing that was not understood.
            assert_eq!(agree(&[&answer]), Some(deflate));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_offer_or_none(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "permessage-deflate", ";", ",", "=", " ", "\"", "client_max_window_bits", "server_max_window_bits",
                "10", "8", "x", "server_no_context_takeover", "\t", "\u{e9}",
            ]), 0..14),
        ) {
            let line = parts.concat();
            if let Some(deflate) = agree(&[&line]) {
                prop_assert_eq!(agree(&[&deflate.answer()]), Some(deflate));
            }
        }
    }
}
