//! Credentials: forged, malformed, well signed and nonsense; and the files of keys.

use omnicast::policy::{AuthFault, Gate, Policy};
use ring::hmac;
use std::sync::OnceLock;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Inside the life of the tokens that are stored.
const NOW_MS: u64 = 1_700_000_000_000;

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * i)) as usize & 63]));
        }
    }
    text
}

/// The bytes of what is base64url, up to the first character that is not.
fn unbase64url(text: &str) -> Vec<u8> {
    let digit = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    };
    let bits = text.bytes().map_while(digit).flat_map(|six| (0..6).rev().map(move |i| six >> i & 1));
    let bits: Vec<u8> = bits.collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | bit)).collect()
}

fn sign(message: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    base64url(hmac::sign(&key, message.as_bytes()).as_ref())
}

/// Asks the gate; one that lets a token in must have seen the one signature that is good.
fn ask(gate: &Gate, token: &str) -> bool {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    let policy = POLICY.get_or_init(Policy::builtin);
    let data = serde_json::json!({ "token": token }).to_string();
    match gate.check(policy, &data, NOW_MS) {
        Ok(identity) => {
            assert!(identity.expires_at > NOW_MS && !identity.user.is_empty());
            let (message, signature) = token.rsplit_once('.').expect("three parts");
            assert_eq!(signature, sign(message), "a forged token");
            true
        }
        Err(AuthFault::Shape(message) | AuthFault::Expired { message }) => {
            assert!(message.len() < 1000, "{message}");
            false
        }
        Err(AuthFault::Refused { detail }) => {
            assert!(detail.len() < 1000, "{detail}");
            // One who says the secret hears it again: a fuzzer finds it in comparisons.
            let said = String::from_utf8_lossy(&unbase64url(token)).contains(SECRET);
            assert!(said || !detail.contains(SECRET), "{detail}");
            false
        }
    }
}

fn gate() -> &'static Gate {
    static GATE: OnceLock<Gate> = OnceLock::new();
    GATE.get_or_init(|| Gate::keys(Some(SECRET), None).expect("the secret is long enough"))
}

pub fn run(data: &[u8]) {
    let [first, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match first {
        // A token as it is.
        b't' => {
            ask(gate(), text);
        }
        // A header and claims, separated by a line feed, that somebody with the key signed.
        b's' => {
            let (header, claims) = text.split_once('\n').unwrap_or((text, ""));
            let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
            ask(gate(), &format!("{message}.{}", sign(&message)));
        }
        // The data of an `auth`, in both modes.
        b'd' => {
            let policy = Policy::builtin();
            for gate in [gate(), &Gate::Trusted] {
                if let Ok(identity) = gate.check(&policy, text, NOW_MS) {
                    assert!(identity.expires_at > NOW_MS && !identity.session.is_empty());
                }
            }
        }
        // A file of keys. None of them made a token of another algorithm.
        _ => match Gate::keys(None, Some(text)) {
            Ok(gate) => {
                let header = base64url(br#"{"alg":"none"}"#);
                let claims = base64url(br#"{"sub":"u","role":"admin","sid":"s","exp":4000000000}"#);
                assert!(!ask(&gate, &format!("{header}.{claims}.")));
            }
            Err(why) => assert!(why.starts_with("WS_JWKS: ") && !why.contains('\n'), "{why}"),
        },
    }
}
