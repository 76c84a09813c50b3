//! Events as they go out: encoded and framed once, then shared by every connection.

use crate::wire::frame::{frame_header, spans};
use bytes::Bytes;
use std::borrow::Cow;

/// Digits of the longest `u64`.
const DIGITS_MAX: usize = 20;

/// The text frame of an event, header included, built in one allocation of its exact size.
///
/// `data` is an object as JSON text, by the caller's word; the other texts are escaped here.
/// `timestamp` is in ms since the epoch.
#[must_use]
pub fn encode_event(event_type: &str, namespace: &str, data: &str, timestamp: u64, id: &str) -> Bytes {
    let mut digits = [0; DIGITS_MAX];
    let parts = [
        "{\"type\":\"",
        &escaped(event_type),
        "\",\"namespace\":\"",
        &escaped(namespace),
        "\",\"data\":",
        data,
        ",\"timestamp\":",
        decimal(timestamp, &mut digits),
        ",\"id\":\"",
        &escaped(id),
        "\"}",
    ];
    let payload_len = parts.iter().map(|part| part.len()).sum();
    let header = frame_header(payload_len);
    let mut frame = Vec::with_capacity(header.as_ref().len() + payload_len);
    frame.extend_from_slice(header.as_ref());
    for part in parts {
        frame.extend_from_slice(part.as_bytes());
    }
    Bytes::from(frame)
}

/// The payload of one of the node's frames; empty where `frame` is no whole frame.
#[must_use]
pub fn payload_of(frame: &[u8]) -> &[u8] {
    let payload = spans(frame).and_then(|(header, payload)| frame.get(header..header.checked_add(payload)?));
    payload.unwrap_or_default()
}

/// The id that clients see for a position.
#[must_use]
pub fn event_id(position: u64) -> String {
    position.to_string()
}

/// The position of an id, if it is one that [`event_id`] gives: nothing but its digits.
#[must_use]
pub fn parse_event_id(id: &str) -> Option<u64> {
    let canonical = id == "0" || !id.starts_with('0');
    let plain = (1..=DIGITS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && plain { id.parse().ok() } else { None }
}

/// The inside of a JSON string. The names of the catalogue need no escape and cost nothing.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        return Cow::Borrowed(text);
    }
    let quoted = serde_json::to_string(text).expect("a text is always JSON");
    Cow::Owned(quoted[1..quoted.len() - 1].to_owned())
}

fn decimal(mut value: u64, digits: &mut [u8; DIGITS_MAX]) -> &str {
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[start..]).expect("digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_is_one_frame() {
        let data = r#"{"orderId":"o","total":1.50}"#;
        let frame = encode_event("order:created", "orders", data, 1700, "42");
        let text = format!(
            r#"{{"type":"order:created","namespace":"orders","data":{data},"timestamp":1700,"id":"42"}}"#
        );
        assert_eq!(payload_of(&frame), text.as_bytes());
        assert_eq!(frame.len(), 2 + text.len());
        assert_eq!(frame[0], 0x81);
        for cut in 0..frame.len() {
            assert_eq!(payload_of(&frame[..cut]), b"");
        }
        assert_eq!(payload_of(&[0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255, 0]), b"");
    }

    #[test]
    fn ids_are_canonical() {
        for id in
            ["", "00", "01", "+1", "-1", " 1", "1 ", "1.0", "0x1", "\u{661}", "18446744073709551616", "a"]
        {
            assert_eq!(parse_event_id(id), None, "{id}");
        }
        assert_eq!(parse_event_id(&event_id(u64::MAX)), Some(u64::MAX));
        assert_eq!(parse_event_id("0"), Some(0));
    }

    proptest! {
        #[test]
        fn every_event_reads_back(
            kind in "\\PC{0,8}|[\"\\\\\n]{0,3}", namespace in "[a-z\"]{0,8}", timestamp: u64, position: u64,
            filler in prop_oneof![0usize..100, 65400usize..65600],
        ) {
            let data = format!("{{\"x\":\"{}\"}}", "y".repeat(filler));
            let id = event_id(position);
            prop_assert_eq!(parse_event_id(&id), Some(position));
            let frame = encode_event(&kind, &namespace, &data, timestamp, &id);
            let value: serde_json::Value = serde_json::from_slice(payload_of(&frame)).unwrap();
            prop_assert_eq!(&value["type"], &kind);
            prop_assert_eq!(&value["namespace"], &namespace);
            prop_assert_eq!(&value["timestamp"], &timestamp);
            prop_assert_eq!(&value["id"], &id);
            prop_assert_eq!(value["data"]["x"].as_str().map(str::len), Some(filler));
        }
    }
}
