//! The event that everybody carries, and the stamp in it.

use memchr::memmem;

/// What a stamp begins with. No quote is in it, so that it survives JSON within JSON.
const MARK: &[u8; 6] = b"stamp:";
const SEQ_DIGITS: usize = 9;
const TIME_DIGITS: usize = 15;

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = MARK.len() + SEQ_DIGITS + 1 + TIME_DIGITS;

/// Which event it is and when it was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Counts all events of a run from 0.
    pub seq: u64,
    /// In ns since the start of the generator.
    pub due_ns: u64,
}

/// The fields of an `inventory:updated`. Every event has the same size.
pub fn data(stamp: Stamp) -> String {
    format!(
        r#"{{"productId":"p_1","productName":"Cups","sku":"C-6","oldStock":41,"newStock":40,"difference":-1,"at":"stamp:{:09}:{:015}"}}"#,
        stamp.seq, stamp.due_ns
    )
}

/// The whole event, of the size and shape in which the node delivers it.
pub fn event(stamp: Stamp) -> String {
    format!(
        r#"{{"type":"inventory:updated","namespace":"inventory","data":{},"timestamp":1767225600000,"id":"{:06}"}}"#,
        data(stamp),
        stamp.seq
    )
}

/// The first stamp behind `from`, and where it ends. `hint` is where the last one was found: they all lie at the
/// same place, as a rule.
pub fn find(bytes: &[u8], from: usize, hint: &mut usize) -> Option<(Stamp, usize)> {
    let guess = from + *hint;
    let at = if bytes.get(guess..guess + MARK.len()) == Some(MARK) {
        guess
    } else {
        from + memmem::find(bytes.get(from..)?, MARK)?
    };
    let digits = bytes.get(at + MARK.len()..at + STAMP_BYTES)?;
    *hint = at - from;
    let (seq, time) = (&digits[..SEQ_DIGITS], &digits[SEQ_DIGITS + 1..]);
    Some((Stamp { seq: number(seq), due_ns: number(time) }, at + STAMP_BYTES))
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |n, b| n * 10 + u64::from(b.wrapping_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_one_after_the_other_wherever_they_are() {
        let stamps = [Stamp { seq: 7, due_ns: 1_234_567 }, Stamp { seq: 8, due_ns: 999_999_999_999_999 }];
        let text = format!("MSG {}\r\nMSG x {}\r\n", event(stamps[0]), event(stamps[1]));
        for wrong_hint in [0, 3, 1 << 20] {
            let mut hint = wrong_hint;
            let (first, end) = find(text.as_bytes(), 0, &mut hint).unwrap();
            let (second, end) = find(text.as_bytes(), end, &mut hint).unwrap();
            assert_eq!([first, second], stamps);
            assert_eq!(find(text.as_bytes(), end, &mut hint), None);
        }
        let cut = &event(stamps[0]).into_bytes()[..150];
        assert_eq!(find(cut, 0, &mut 0), None);
    }

    #[test]
    fn an_event_has_the_size_that_is_promised() {
        for seq in [0, 999_999] {
            let length = event(Stamp { seq, due_ns: seq }).len();
            assert!((215..=240).contains(&length), "{length}");
        }
    }
}
