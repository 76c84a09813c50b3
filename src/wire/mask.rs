//! The client's mask taken off (RFC 6455 section 5.3).

/// Unmasks `buf` in place, eight bytes at a time.
///
/// `phase` is how many bytes of the same payload were unmasked before, so that a payload can be
/// unmasked piece by piece.
pub fn unmask(buf: &mut [u8], key: [u8; 4], phase: usize) {
    let mut key = key;
    key.rotate_left(phase & 3);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = buf.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_the_bytewise_xor_however_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), key: [u8; 4], cut in 0usize..100,
        ) {
            let expected: Vec<u8> = bytes.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut got = bytes;
            let cut = cut.min(got.len());
            let (left, right) = got.split_at_mut(cut);
            unmask(left, key, 0);
            unmask(right, key, cut);
            prop_assert_eq!(got, expected);
        }
    }
}
