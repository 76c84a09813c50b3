//! Every way into the node, and every way that is none.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Generated for these tests: `openssl genpkey -algorithm RSA`, 2048 bits, as PKCS 8.
const RSA: &[u8] = include_bytes!("testdata/rsa2048.pk8");

fn good_claims() -> String {
    format!(r#"{{"sub":"u1","role":"customer","sid":"s1","exp":{}}}"#, NOW_MS / 1000 + 60)
}

fn hmac_sign(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// A token of a header and claims, signed by whatever signs.
fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message =
        format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(claims.as_bytes()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", base64url::encode(&signature))
}

fn hs256(claims: &str) -> String {
    token(r#"{"alg":"HS256"}"#, claims, |m| hmac_sign(SECRET.as_bytes(), m))
}

fn auth(gate: &Gate, token: &str) -> Result<Identity, AuthFault> {
    let data = serde_json::json!({ "token": token }).to_string();
    gate.check(&Policy::builtin(), &data, NOW_MS)
}

fn identity(user: &str, session: &str, role: &str, expires_at: u64) -> Identity {
    let role = Policy::builtin().role(role).expect("known");
    Identity { user: user.into(), session: session.into(), role, expires_at }
}

fn refused(result: Result<Identity, AuthFault>) -> String {
    match result {
        Err(AuthFault::Refused { detail }) => detail,
        other => panic!("not refused: {other:?}"),
    }
}

fn secret_gate() -> Gate {
    Gate::keys(Some(SECRET), None).expect("a good secret")
}

fn rsa() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(RSA).expect("the fixture is a key")
}

fn rsa_sign(message: &[u8]) -> Vec<u8> {
    let pair = rsa();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("signs");
    signature
}

fn rsa_jwk(kid: &str) -> String {
    let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(rsa().public());
    let [n, e] = [n, e].map(|number| base64url::encode(&number));
    format!(r#"{{"kty":"RSA","alg":"RS256","use":"sig","kid":"{kid}","n":"{n}","e":"{e}"}}"#)
}

fn ecdsa() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).expect("a key")
}

fn ecdsa_jwk(pair: &EcdsaKeyPair) -> String {
    let point = pair.public_key().as_ref();
    let [x, y] = [&point[1..33], &point[33..65]].map(base64url::encode);
    format!(r#"{{"kty":"EC","crv":"P-256","kid":"e","x":"{x}","y":"{y}"}}"#)
}

fn ed25519() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed")
}

fn ed25519_jwk(kid: &str) -> String {
    let x = base64url::encode(ed25519().public_key().as_ref());
    format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#)
}

fn jwks_gate(secret: Option<&str>, keys: &[&str]) -> Gate {
    Gate::keys(secret, Some(&format!(r#"{{"keys":[{}]}}"#, keys.join(",")))).expect("good keys")
}

#[test]
fn every_algorithm_is_accepted_by_its_own_key_only() {
    let ecdsa = ecdsa();
    let oct = format!(r#"{{"kty":"oct","alg":"HS256","kid":"o","k":"{}"}}"#, base64url::encode(&[9; 32]));
    let gate = jwks_gate(None, &[&rsa_jwk("r"), &ecdsa_jwk(&ecdsa), &ed25519_jwk("d"), &oct]);
    let es = |m: &[u8]| ecdsa.sign(&SystemRandom::new(), m).expect("signs").as_ref().to_vec();
    let ed = |m: &[u8]| ed25519().sign(m).as_ref().to_vec();
    let hs = |m: &[u8]| hmac_sign(&[9; 32], m);
    type Sign<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let signers: [(&str, &str, Sign<'_>); 5] = [
        ("RS256", "r", &rsa_sign),
        ("ES256", "e", &es),
        ("EdDSA", "d", &ed),
        ("Ed25519", "d", &ed),
        ("HS256", "o", &hs),
    ];
    let expected = identity("u1", "s1", "customer", NOW_MS + 60_000);
    for (alg, kid, sign) in signers {
        for header in
            [format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#), format!(r#"{{"typ":"JWT","alg":"{alg}"}}"#)]
        {
            assert_eq!(
                auth(&gate, &token(&header, &good_claims(), sign)).as_ref(),
                Ok(&expected),
                "{header}"
            );
        }
        // The right signature under every other name or key id.
        for (other, other_kid, _) in signers.iter().filter(|(_, k, _)| *k != kid) {
            for header in [
                format!(r#"{{"alg":"{other}"}}"#),
                format!(r#"{{"alg":"{alg}","kid":"{other_kid}"}}"#),
                format!(r#"{{"alg":"{other}","kid":"{kid}"}}"#),
            ] {
                refused(auth(&gate, &token(&header, &good_claims(), sign)));
            }
        }
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    let gate = jwks_gate(None, &[&rsa_jwk("r"), &ed25519_jwk("d")]);
    let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(rsa().public());
    let der = rsa().public().as_ref().to_vec();
    let jwk = rsa_jwk("r").into_bytes();
    let ed = ed25519().public_key().as_ref().to_vec();
    for secret in [n, e, der, jwk, ed, Vec::new()] {
        for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","kid":"r"}"#, r#"{"alg":"RS256","kid":"r"}"#] {
            refused(auth(&gate, &token(header, &good_claims(), |m| hmac_sign(&secret, m))));
        }
    }
}

#[test]
fn keys_are_chosen_by_kid_and_tried_without() {
    // The same kind of key, another point.
    let x = base64url::encode(&[1; 32]);
    let wrong = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"old","x":"{x}"}}"#);
    let gate = jwks_gate(Some(SECRET), &[&wrong, &ed25519_jwk("new")]);
    let sign = |header: &str| token(header, &good_claims(), |m| ed25519().sign(m).as_ref().to_vec());
    assert!(auth(&gate, &sign(r#"{"alg":"EdDSA"}"#)).is_ok());
    assert!(auth(&gate, &sign(r#"{"alg":"EdDSA","kid":"new"}"#)).is_ok());
    assert!(refused(auth(&gate, &sign(r#"{"alg":"EdDSA","kid":"old"}"#))).contains("does not fit"));
    assert!(refused(auth(&gate, &sign(r#"{"alg":"EdDSA","kid":"none"}"#))).contains("no key for"));
    // The secret has no kid, so a token with one may still be its.
    let hs = token(r#"{"alg":"HS256","kid":"x"}"#, &good_claims(), |m| hmac_sign(SECRET.as_bytes(), m));
    assert!(auth(&gate, &hs).is_ok());
}

#[test]
fn bad_headers_are_refused() {
    let gate = secret_gate();
    let signed = |header: &str| token(header, &good_claims(), |m| hmac_sign(SECRET.as_bytes(), m));
    assert!(auth(&gate, &signed(r#"{"alg":"HS256"}"#)).is_ok());
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":null}"#,
        r#"{"alg":"HS256","kid":7}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"typ":"JWT"}"#,
        r#"["HS256"]"#,
        "{",
        "",
    ] {
        refused(auth(&gate, &signed(header)));
    }
    // Unsigned.
    refused(auth(&gate, &token(r#"{"alg":"none"}"#, &good_claims(), |_| Vec::new())));
    refused(auth(&gate, &token(r#"{"alg":"HS256"}"#, &good_claims(), |_| Vec::new())));
}

#[test]
fn tampering_is_noticed_at_every_byte() {
    let gate = secret_gate();
    let good = hs256(&good_claims());
    assert!(auth(&gate, &good).is_ok());
    for at in 0..good.len() {
        refused(auth(&gate, &good[..at]));
        for replacement in ["A", "B", ".", "=", " "] {
            let mut bad = good.clone();
            bad.replace_range(at..=at, replacement);
            if bad != good {
                refused(auth(&gate, &bad));
            }
        }
    }
    for bad in [
        String::new(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{good}."),
        format!("{good}.a.b"),
        format!(" {good}"),
    ] {
        refused(auth(&gate, &bad));
    }
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    assert!(refused(auth(&gate, &long)).contains("8193 bytes"));
    let other = mint_hs256("another secret, also long enough", &claims());
    assert!(refused(auth(&gate, &other)).contains("does not fit"));
}

fn claims() -> Claims {
    let exp = NOW_MS / 1000 + 60;
    Claims { sub: "u\"1".to_owned(), role: "admin".to_owned(), sid: "s1".to_owned(), exp, nbf: None }
}

#[test]
fn what_is_minted_is_accepted() {
    let gate = secret_gate();
    let expected = identity("u\"1", "s1", "admin", NOW_MS + 60_000);
    assert_eq!(auth(&gate, &mint_hs256(SECRET, &claims())), Ok(expected.clone()));
    let soon = Claims { nbf: Some(NOW_MS / 1000 + 5), ..claims() };
    assert_eq!(auth(&gate, &mint_hs256(SECRET, &soon)), Ok(expected));
    let later = Claims { nbf: Some(NOW_MS / 1000 + 6), ..claims() };
    assert!(refused(auth(&gate, &mint_hs256(SECRET, &later))).contains("nbf"));
}

/// What is told of the claims: accepted until then, or a part of the fault.
enum Told {
    Until(u64),
    Expired(&'static str),
    Refused(&'static str),
}

#[test]
fn claims_are_read_as_the_contract_says() {
    use Told::{Expired, Refused, Until};
    let gate = secret_gate();
    let who = r#""sub":"u1","role":"customer","sid":"s1""#;
    let soon = r#""exp":1700000060"#;
    let long = "x".repeat(257);
    let cases = [
        (format!(r#"{{{who},{soon}}}"#), Until(NOW_MS + 60_000)),
        (
            r#"{"userId":"u1","role":"customer","sessionId":"s1","expiresAt":1700000060500}"#.to_owned(),
            Until(NOW_MS + 60_500),
        ),
        (
            format!(r#"{{{who},{soon},"userId":"u1","sessionId":"s1","expiresAt":1700000060999}}"#),
            Until(NOW_MS + 60_000),
        ),
        (format!(r#"{{{who},{soon},"iat":"whatever","nbf":1700000004.9}}"#), Until(NOW_MS + 60_000)),
        (format!(r#"{{{who},"exp":1700000000.5}}"#), Until(NOW_MS + 500)),
        (format!(r#"{{{who},"exp":1.70000006e9}}"#), Until(NOW_MS + 60_000)),
        // No leeway.
        (format!(r#"{{{who},"exp":1700000000}}"#), Expired("has expired")),
        (format!(r#"{{{who},"exp":1}}"#), Expired("has expired")),
        (format!(r#"{{{who},"expiresAt":1700000060}}"#), Expired("looks like seconds")),
        (format!(r#"{{{who},"expiresAt":1700000000000}}"#), Expired("has expired")),
        (format!(r#"{{{who}}}"#), Refused("exp is missing")),
        (format!(r#"{{{who},"exp":"1700000060"}}"#), Refused("exp is no time")),
        (format!(r#"{{{who},"exp":null}}"#), Refused("exp is no time")),
        (format!(r#"{{{who},"exp":-1}}"#), Refused("exp is no time")),
        (format!(r#"{{{who},"exp":1e999}}"#), Refused("exp is no time")),
        (format!(r#"{{{who},"exp":1700000060000}}"#), Refused("looks like ms")),
        (format!(r#"{{{who},{soon},"expiresAt":1700000061000}}"#), Refused("differ")),
        (format!(r#"{{{who},{soon},"exp":1700000060}}"#), Refused("twice")),
        (format!(r#"{{{who},{soon},"userId":"u2"}}"#), Refused("sub and userId differ")),
        (format!(r#"{{{who},{soon},"sessionId":"s2"}}"#), Refused("sid and sessionId differ")),
        (format!(r#"{{{who},{soon},"nbf":"0"}}"#), Refused("nbf is no time")),
        (format!(r#"{{{who},{soon},"nbf":1700000006}}"#), Refused("not good yet")),
        (format!(r#"{{"role":"customer","sid":"s1",{soon}}}"#), Refused("sub is missing")),
        (format!(r#"{{"sub":"u1","role":"customer",{soon}}}"#), Refused("sid is missing")),
        (format!(r#"{{"sub":"u1","sid":"s1",{soon}}}"#), Refused("role is missing")),
        (format!(r#"{{"sub":"u1","sid":"s1","role":"root",{soon}}}"#), Refused("no role \"root\"")),
        (format!(r#"{{"sub":"u1","sid":"s1","role":["admin"],{soon}}}"#), Refused("role is no text")),
        (format!(r#"{{"sub":1,"sid":"s1","role":"admin",{soon}}}"#), Refused("sub is no text")),
        (format!(r#"{{"sub":"","sid":"s1","role":"admin",{soon}}}"#), Refused("sub must not be empty")),
        (format!(r#"{{"sub":"a\nb","sid":"s1","role":"admin",{soon}}}"#), Refused("control characters")),
        (format!(r#"{{"sub":"\ud800","sid":"s1","role":"admin",{soon}}}"#), Refused("Unicode")),
        (format!(r#"{{"sub":"{long}","sid":"s1","role":"admin",{soon}}}"#), Refused("256 bytes")),
        ("[]".to_owned(), Refused("no JSON object")),
        ("".to_owned(), Refused("no JSON object")),
    ];
    for (claims, told) in cases {
        match (auth(&gate, &hs256(&claims)), told) {
            (Ok(got), Until(expires_at)) => {
                assert_eq!(got, identity("u1", "s1", "customer", expires_at), "{claims}")
            }
            (Err(AuthFault::Expired { message: got }), Expired(part)) => {
                assert!(got.contains(part), "{got} {claims}")
            }
            (Err(AuthFault::Refused { detail: got }), Refused(part)) => {
                assert!(got.contains(part), "{got} {claims}")
            }
            (got, _) => panic!("{claims}: {got:?}"),
        }
    }
}

#[test]
fn with_a_key_only_a_token_is_of_the_right_shape() {
    let gate = secret_gate();
    assert_eq!(gate.mode(), "jwt");
    for data in [
        r#"{"userId":"u1","role":"admin","sessionId":"s1","expiresAt":1700000060000}"#,
        r#"{"token":7}"#,
        r#"{"token":null}"#,
        r#"{"token":"\ud800"}"#,
        r#"{"token":"a","token":"b"}"#,
        "{}",
        "[]",
        "null",
        "{",
    ] {
        let got = gate.check(&Policy::builtin(), data, NOW_MS);
        assert!(matches!(got, Err(AuthFault::Shape(_))), "{data}: {got:?}");
    }
    let both = format!(r#"{{"userId":"evil","role":"admin","token":"{}"}}"#, hs256(&good_claims()));
    let got = gate.check(&Policy::builtin(), &both, NOW_MS);
    assert_eq!(got, Ok(identity("u1", "s1", "customer", NOW_MS + 60_000)));
}

#[test]
fn without_a_key_the_plain_identity_counts() {
    let gate = Gate::keys(None, None).expect("trusted");
    assert_eq!(gate.mode(), "trusted");
    let check = |data: &str| gate.check(&Policy::builtin(), data, NOW_MS);
    let with = |user: &str, role: &str, session: &str, expires: &str| {
        check(&format!(
            r#"{{"userId":{user},"role":{role},"sessionId":{session},"expiresAt":{expires},"more":1}}"#
        ))
    };
    let got = with(r#""ü""#, r#""guest""#, r#""s""#, "1700000000001");
    assert_eq!(got, Ok(identity("ü", "s", "guest", NOW_MS + 1)));
    let shape = |got: Result<Identity, AuthFault>, part: &str| match got {
        Err(AuthFault::Shape(message)) => assert!(message.contains(part), "{message}"),
        other => panic!("{part}: {other:?}"),
    };
    let (u, g, s, e) = (r#""u""#, r#""guest""#, r#""s""#, "1700000060000");
    let long = format!("\"{}\"", "x".repeat(257));
    shape(with("7", g, s, e), "userId must be a text");
    shape(with("\"\"", g, s, e), "userId must not be empty");
    shape(with(r#""a\u0000""#, g, s, e), "control characters");
    shape(with(&long, g, s, e), "256 bytes");
    shape(with(u, "null", s, e), "role must be a text");
    shape(with(u, g, "[]", e), "sessionId must be a text");
    for expires in ["null", "\"1700000060000\"", "-1", "1e999", "1e16"] {
        shape(with(u, g, s, expires), "expiresAt is missing or no time");
    }
    shape(check(r#"{"userId":"u","role":"guest","sessionId":"s"}"#), "expiresAt is missing");
    shape(check(r#"{"userId":"u","role":"guest","expiresAt":1700000060000}"#), "sessionId is missing");
    shape(check(r#"{"token":"x"}"#), "no key");
    shape(check(r#"{"userId":"u","userId":"v"}"#), "twice");
    shape(check("7"), "auth takes {\"userId\"");
    assert!(refused(with(u, r#""root""#, s, e)).contains("no role"));
    let expired = |expires: &str, part: &str| match with(u, g, s, expires) {
        Err(AuthFault::Expired { message }) => assert!(message.contains(part), "{message}"),
        other => panic!("{expires}: {other:?}"),
    };
    expired("1700000000000", "has expired");
    expired("0", "has expired");
    expired("1700000060", "looks like seconds");
}

#[test]
fn an_empty_secret_is_no_way_into_trusted_mode() {
    assert!(Gate::keys(Some(""), None).is_err());
    assert!(Gate::keys(None, Some("")).is_err());
    assert!(!format!("{:?}", secret_gate()).contains(SECRET));
}
