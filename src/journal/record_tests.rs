use super::*;
use proptest::prelude::*;

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, &mut bytes).unwrap();
    assert_eq!(bytes.len(), encoded_len(record));
    bytes
}

proptest! {
    #[test]
    fn a_record_reads_back_and_no_damage_goes_unseen(
        position: u64, at: u64, key in "[ -~]{0,9}|\\PC{0,4}", addressing in "\\{\\PC{0,9}\\}|", payload in "\\{\\PC{0,30}\\}",
        goes_on: bool, behind in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let optional = |text: &'static str| (!text.is_empty()).then_some(text);
        let (key, addressing): (&'static str, &'static str) = (key.leak(), addressing.leak());
        let record = Record { position, at, key: optional(key), addressing: optional(addressing), payload: &payload, goes_on };
        let mut bytes = encoded(&record);
        let len = bytes.len();
        prop_assert_ne!(bytes[len - 1], 0);
        for bit in 0..len * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(decode(&bytes), Found::Whole(..)), "bit {}", bit);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..len {
            prop_assert_eq!(decode(&bytes[..cut]), Found::Short);
            prop_assert!(!is_whole_but_for_its_length(&bytes[..cut]));
        }
        bytes.extend(behind);
        prop_assert_eq!(decode(&bytes), Found::Whole(record, len));
        prop_assert_eq!(claimed_position(&bytes), Some(position));
        prop_assert_eq!(claimed_len(&bytes), Some(len));
    }

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..80), is_marked: bool) {
        let bytes = if is_marked { [&MAGIC[..], &bytes].concat() } else { bytes };
        let _ = (decode(&bytes), claimed_position(&bytes), is_whole_but_for_its_length(&bytes));
        prop_assert!(claimed_len(&bytes).is_none_or(|len| len <= PREFIX_BYTES + BODY_BYTES_MAX));
    }
}

#[test]
fn a_wrong_length_at_the_end_is_no_write_that_was_cut_short() {
    let record = Record { position: 7, at: 1, key: None, addressing: None, payload: "{}", goes_on: false };
    let mut bytes = encoded(&record);
    bytes[5] ^= 1;
    assert_eq!(decode(&bytes), Found::Short);
    assert!(is_whole_but_for_its_length(&bytes));
}

#[test]
fn no_text_looks_like_a_record() {
    for at in [0, MAGIC.len() - 1] {
        assert!((0..=255u8).all(|next| std::str::from_utf8(&[MAGIC[at], next]).is_err()));
    }
}

#[test]
fn lengths_are_bounded() {
    let payload = "x".repeat(BODY_BYTES_MAX);
    let record =
        Record { position: 7, at: 1, key: None, addressing: None, payload: &payload[24..], goes_on: true };
    assert!(matches!(decode(&encoded(&record)), Found::Whole(..)));
    let mut bytes = vec![1];
    assert_eq!(encode(&Record { payload: &payload[23..], ..record }, &mut bytes), Err(TooLarge));
    assert_eq!(bytes, [1]);
    let mut claims = encoded(&Record { payload: "{}", ..record });
    claims[4..8].copy_from_slice(&(BODY_BYTES_MAX as u32 + 1).to_le_bytes());
    assert_eq!(decode(&claims), Found::Bad, "not asked for more bytes");
    // Lengths inside that do not add up, under a right checksum.
    let mut inside = encoded(&Record { payload: "{}", ..record });
    inside[28] = 9;
    let crc = checksum(26, &inside[PREFIX_BYTES..]);
    inside[8..12].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(decode(&inside), Found::Bad);
}
