//! Tokens of every kind, signed in the test.

use ring::hmac;
use serde_json::{Value, json};

use crate::support::{Client, SECRET, now_ms, unique};

/// Base64url without padding (RFC 4648 section 5).
pub fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(char::from(DIGITS[(word >> (18 - 6 * i)) as usize & 63]));
        }
    }
    out
}

/// A token of a header and claims, signed by whatever signs.
pub fn sign(header: &Value, claims: &Value, by: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let [header, claims] = [header, claims].map(|part| base64url(part.to_string().as_bytes()));
    let message = format!("{header}.{claims}");
    let signature = base64url(&by(message.as_bytes()));
    format!("{message}.{signature}")
}

pub fn hs256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// Claims that end `ms` from now, with a session of their own.
pub fn claims(user: &str, role: &str, ms: i64) -> Value {
    let exp = (now_ms() as i64 + ms) as f64 / 1000.0;
    json!({"sub": user, "role": role, "sid": unique("session"), "exp": exp})
}

/// A token of the node's own secret.
pub fn token_of(claims: &Value) -> String {
    sign(&json!({"alg": "HS256", "typ": "JWT"}), claims, |m| hs256(SECRET.as_bytes(), m))
}

/// A token that is good for `ms`.
pub fn token(user: &str, role: &str, ms: i64) -> String {
    token_of(&claims(user, role, ms))
}

/// Presents a token and does not wait for the answer.
pub fn present(client: &mut Client, token: &str) {
    client.send(&json!({"type": "auth", "id": "a", "data": {"token": token}}));
}

/// Presents a token, which must be accepted.
pub fn admitted(client: &mut Client, token: &str) -> Value {
    present(client, token);
    client.expect_welcome()
}
