//! The keys that tokens are checked with: a secret, a JWK set (RFC 7517), or both.
//!
//! A key belongs to exactly one algorithm from the start. What a token says of its algorithm chooses
//! among the keys of that algorithm and does nothing else, so a public key can never be taken for
//! a secret (RFC 8725 section 3.1). The cryptography is ring's.

use std::fmt;

use ring::{hmac, signature};

use crate::policy::base64url;
use crate::policy::json::{self, Members};

/// Keys of one set: a token without a `kid` is tried with each that fits.
const MAX_KEYS: usize = 16;
/// Shortest secret, the length of the hash (RFC 7518 section 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// RFC 7518 section 3.3; the upper bound is what ring takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys a node takes tokens of. Its debug text tells no key.
pub struct KeySet(Vec<Key>);

struct Key {
    /// `None`: a candidate whatever the token's `kid`.
    kid: Option<Box<str>>,
    verifier: Verifier,
}

enum Verifier {
    Hs256(hmac::Key),
    Rs256(signature::RsaPublicKeyComponents<Vec<u8>>),
    Es256(signature::UnparsedPublicKey<Vec<u8>>),
    EdDsa(signature::UnparsedPublicKey<Vec<u8>>),
}

impl Verifier {
    /// The names by which a token may ask for it; `Ed25519` is RFC 9864's for `EdDSA`.
    fn answers_to(&self, alg: &str) -> bool {
        match self {
            Verifier::Hs256(_) => alg == "HS256",
            Verifier::Rs256(_) => alg == "RS256",
            Verifier::Es256(_) => alg == "ES256",
            Verifier::EdDsa(_) => alg == "EdDSA" || alg == "Ed25519",
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Verifier::Hs256(key) => hmac::verify(key, message, signature).is_ok(),
            Verifier::Rs256(key) => {
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Verifier::Es256(key) | Verifier::EdDsa(key) => key.verify(message, signature).is_ok(),
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.0.len())
    }
}

impl KeySet {
    /// The keys of a secret and of the text of a JWKS file.
    ///
    /// # Errors
    /// Which of the two is unusable and why: a short secret, a file that is no JWK set, a weak or
    /// broken key, no usable key at all, or more than sixteen.
    pub fn load(secret: Option<&str>, jwks: Option<&str>) -> Result<KeySet, String> {
        let mut keys = Vec::new();
        if let Some(secret) = secret {
            let key = from_secret(secret.as_bytes()).map_err(|e| format!("WS_JWT_SECRET: {e}"))?;
            keys.push(Key { kid: None, verifier: key });
        }
        if let Some(text) = jwks {
            keys.extend(read_jwks(text).map_err(|e| format!("WS_JWKS: {e}"))?);
        }
        if keys.len() > MAX_KEYS {
            return Err(format!("WS_JWKS: {} keys are too many, at most {MAX_KEYS} are allowed", keys.len()));
        }
        Ok(KeySet(keys))
    }

    /// Whether a key of exactly this algorithm made the signature: the one of this `kid` (or one that
    /// has none), or any where the token names none.
    ///
    /// # Errors
    /// Why not, for the log.
    pub(super) fn verify(
        &self,
        alg: &str,
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), String> {
        let fits = |key: &&Key| {
            key.verifier.answers_to(alg) && (kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid)
        };
        let mut candidates = self.0.iter().filter(fits).peekable();
        if candidates.peek().is_none() {
            let kid = kid.map(|kid| format!(" and kid {}", json::quoted(kid))).unwrap_or_default();
            return Err(format!("no key for alg {}{kid}", json::quoted(alg)));
        }
        match candidates.any(|key| key.verifier.verify(message, signature)) {
            true => Ok(()),
            false => Err("the signature does not fit".to_owned()),
        }
    }
}

fn from_secret(secret: &[u8]) -> Result<Verifier, String> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(format!("has {} bytes, at least {MIN_SECRET_BYTES} are needed", secret.len()));
    }
    Ok(Verifier::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)))
}

/// The usable keys of a set. Keys of kinds unknown here are passed over, as RFC 7517 section 5 wants;
/// a set without a usable one is an error.
fn read_jwks(text: &str) -> Result<Vec<Key>, String> {
    let set = object(text).map_err(|e| format!("the file {e}"))?;
    let list = set.get("keys").ok_or("the file must be an object with the list \"keys\"")?;
    let list = json::elements(list).map_err(|_| "keys: must be a list")?;
    let (mut keys, mut unusable) = (Vec::new(), Vec::new());
    for (index, raw) in list.into_iter().enumerate() {
        match read_jwk(raw).map_err(|e| format!("keys.{index}: {e}"))? {
            Ok(key) => keys.push(key),
            Err(why) => unusable.push(format!("keys.{index}: {why}")),
        }
    }
    if keys.is_empty() {
        unusable.truncate(MAX_KEYS);
        return Err(format!("holds no key for HS256, RS256, ES256 or EdDSA; {}", unusable.join("; ")));
    }
    Ok(keys)
}

/// One key; the inner error says why it is not for us, the outer why it is broken.
fn read_jwk(raw: &str) -> Result<Result<Key, String>, String> {
    let jwk = object(raw)?;
    let [kty, alg, crv, usage] =
        [member(&jwk, "kty")?, member(&jwk, "alg")?, member(&jwk, "crv")?, member(&jwk, "use")?];
    if usage.is_some_and(|usage| usage != "sig") {
        return Ok(Err("not for signatures".to_owned()));
    }
    let kid = member(&jwk, "kid")?.map(Box::from);
    let verifier = match (kty.as_deref(), alg.as_deref(), crv.as_deref()) {
        (Some("oct"), Some("HS256"), _) => from_secret(&bytes(&jwk, "k")?)?,
        (Some("RSA"), None | Some("RS256"), _) => rsa(bytes(&jwk, "n")?, bytes(&jwk, "e")?)?,
        (Some("EC"), None | Some("ES256"), Some("P-256")) => {
            // An uncompressed point (SEC 1 section 2.3.3).
            let point = [&[4], &*sized(&jwk, "x", 32)?, &*sized(&jwk, "y", 32)?].concat();
            Verifier::Es256(signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point))
        }
        (Some("OKP"), None | Some("EdDSA" | "Ed25519"), Some("Ed25519")) => {
            let point = sized(&jwk, "x", 32)?;
            Verifier::EdDsa(signature::UnparsedPublicKey::new(&signature::ED25519, point))
        }
        (None, ..) => return Err("\"kty\" is missing".to_owned()),
        (Some(kty), alg, crv) => {
            let said = [Some(kty), alg, crv].into_iter().flatten().map(json::quoted).collect::<Vec<_>>();
            return Ok(Err(format!("{} is not supported", said.join(" "))));
        }
    };
    Ok(Ok(Key { kid, verifier }))
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Verifier, String> {
    // ring wants numbers without leading zeros; some writers put one.
    let trim = |number: Vec<u8>| number.into_iter().skip_while(|b| *b == 0).collect::<Vec<u8>>();
    let (n, e) = (trim(n), trim(e));
    let bits = n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!(
            "an RSA key of {bits} bits, {} to {} are allowed",
            RSA_BITS.start(),
            RSA_BITS.end()
        ));
    }
    Ok(Verifier::Rs256(signature::RsaPublicKeyComponents { n, e }))
}

fn object(raw: &str) -> Result<Members<'_>, String> {
    let members = Members::read(raw).map_err(|_| "is not a JSON object".to_owned())?;
    match members.duplicate() {
        Some(name) => Err(format!("has {} twice", json::quoted(name))),
        None => Ok(members),
    }
}

fn member(jwk: &Members<'_>, name: &str) -> Result<Option<String>, String> {
    let Some(raw) = jwk.get(name) else { return Ok(None) };
    json::text(raw).map(|text| Some(text.into())).map_err(|_| format!("{name} must be a text"))
}

fn bytes(jwk: &Members<'_>, name: &str) -> Result<Vec<u8>, String> {
    let text = member(jwk, name)?.ok_or_else(|| format!("\"{name}\" is missing"))?;
    base64url::decode(&text).ok_or_else(|| format!("{name} must be base64url without padding"))
}

fn sized(jwk: &Members<'_>, name: &str, length: usize) -> Result<Vec<u8>, String> {
    let bytes = bytes(jwk, name)?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(format!("{name} has {} bytes, {length} are needed", bytes.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa_jwk(bytes: usize) -> String {
        let n = base64url::encode(&vec![0xff; bytes]);
        format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#)
    }

    fn jwks(keys: &[&str]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    #[test]
    fn bad_keys_refuse_to_start_and_say_why() {
        let point = base64url::encode(&[1; 32]);
        let secret = base64url::encode(&[1; 31]);
        let cases = [
            (jwks(&[]), "WS_JWKS: holds no key"),
            ("{".to_owned(), "WS_JWKS: the file is not a JSON object"),
            ("{}".to_owned(), "the list \"keys\""),
            (r#"{"keys":{}}"#.to_owned(), "keys: must be a list"),
            (jwks(&["7"]), "keys.0: is not a JSON object"),
            (jwks(&["{}"]), "keys.0: \"kty\" is missing"),
            (jwks(&[r#"{"kty":"RSA","kty":"RSA"}"#]), "keys.0: has \"kty\" twice"),
            (jwks(&[r#"{"kty":"RSA","e":"AQAB"}"#]), "\"n\" is missing"),
            (jwks(&[r#"{"kty":"RSA","n":"A=","e":"AQAB"}"#]), "n must be base64url"),
            (jwks(&[r#"{"kty":"RSA","n":"","e":"AQAB"}"#]), "RSA key of 0 bits"),
            (jwks(&[&rsa_jwk(128)]), "RSA key of 1024 bits, 2048 to 8192"),
            (jwks(&[&rsa_jwk(2048)]), "RSA key of 16384 bits"),
            (
                jwks(&[&format!(r#"{{"kty":"oct","alg":"HS256","k":"{secret}"}}"#)]),
                "has 31 bytes, at least 32",
            ),
            (jwks(&[&format!(r#"{{"kty":"oct","k":"{point}"}}"#)]), "\"oct\" is not supported"),
            (jwks(&[&format!(r#"{{"kty":"EC","crv":"P-256","x":"{point}","y":"AA"}}"#)]), "y has 1 bytes"),
            (
                jwks(&[r#"{"kty":"EC","crv":"P-384","alg":"ES384"}"#]),
                "\"EC\" \"ES384\" \"P-384\" is not supported",
            ),
            (jwks(&[r#"{"kty":"RSA","use":"enc"}"#]), "not for signatures"),
            (jwks(&[rsa_jwk(256).as_str(); 17]), "17 keys are too many, at most 16"),
        ];
        for (text, expected) in cases {
            let error = KeySet::load(None, Some(&text)).expect_err(expected);
            assert!(error.contains(expected), "{error} / {expected}");
        }
        let error = KeySet::load(Some("short"), None).expect_err("short");
        assert_eq!(error, "WS_JWT_SECRET: has 5 bytes, at least 32 are needed");
        assert!(KeySet::load(Some(&"s".repeat(32)), Some(&jwks(&[rsa_jwk(256).as_str(); 16]))).is_err());
    }

    #[test]
    fn foreign_keys_are_passed_over() {
        let text = jwks(&[r#"{"kty":"new"}"#, r#"{"kty":"RSA","alg":"PS256"}"#, &rsa_jwk(256)]);
        let keys = KeySet::load(None, Some(&text)).expect("one is good");
        assert_eq!(format!("{keys:?}"), "KeySet(1 keys)");
    }

    #[test]
    fn a_leading_zero_is_no_bit() {
        assert!(rsa([&[0][..], &[0xff; 256]].concat(), vec![0, 1, 0, 1]).is_ok());
        assert!(rsa([&[0][..], &[0xff; 255]].concat(), vec![1, 0, 1]).is_err());
    }
}
