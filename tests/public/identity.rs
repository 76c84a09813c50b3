//! Whom the node believes.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use crate::support::{Client, Node, SECRET, identity, now_ms};
use crate::tokens::{admitted, base64url, claims, hs256, present, sign, token, token_of};

/// `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`, as PKCS 8; made for tests.
const RSA: &[u8] = include_bytes!("../../src/policy/testdata/rsa2048.pk8");
const LOG: (&str, &str) = ("WS_LOG", "debug");

struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    oct: [u8; 32],
}

impl Keys {
    fn new() -> Keys {
        let random = SystemRandom::new();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Keys {
            rsa: RsaKeyPair::from_pkcs8(RSA).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            oct: [9; 32],
        }
    }

    fn rsa_modulus(&self) -> Vec<u8> {
        RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public()).n
    }

    fn jwks(&self) -> Value {
        let e = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public()).e;
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": base64url(&self.rsa_modulus()), "e": base64url(&e)},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..])},
            {"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": base64url(self.ed.public_key().as_ref())},
            {"kty": "oct", "kid": "o", "alg": "HS256", "k": base64url(&self.oct)},
            {"kty": "EC", "kid": "later", "crv": "P-521", "x": "AA", "y": "AA"},
        ]})
    }

    fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        match alg {
            "RS256" => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            "ES256" => self.ec.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(message).as_ref().to_vec(),
            "HS256" => hs256(&self.oct, message),
            other => panic!("no key for {other}"),
        }
    }
}

/// A node with these public keys in its file, and the directory that holds it.
fn node_with(keys: &Keys, more: &[(&str, &str)]) -> (Node, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, keys.jwks().to_string()).unwrap();
    let mut settings = vec![LOG, ("WS_JWKS", path.to_str().unwrap())];
    settings.extend_from_slice(more);
    (Node::start(&settings), dir)
}

/// Presents a credential that must be refused as every bad one is. Returns what the client saw.
fn refused(node: &Node, token: &str, what: &str) -> (Value, Value) {
    let mut client = Client::connect(node);
    present(&mut client, token);
    let (code, error) = client.expect_error();
    assert_eq!((code.as_str(), &error["id"]), ("auth_failed", &json!("a")), "{what}");
    let (code, closing) = client.expect_close();
    assert_eq!((code, &closing["data"]["reason"]), (4002, &json!("auth_failed")), "{what}");
    assert_eq!(closing["data"]["retry"], false, "{what}");
    assert_eq!(client.passed(), [] as [Value; 0], "{what}");
    (error["data"].clone(), closing["data"].clone())
}

#[test]
fn every_algorithm_opens_with_its_own_key() {
    let keys = Keys::new();
    let (node, _dir) = node_with(&keys, &[("WS_JWT_SECRET", SECRET)]);
    assert_eq!(node.get("/api/ws/info").json()["auth"]["mode"], "jwt");
    for (alg, kid) in [("RS256", "r"), ("ES256", "e"), ("EdDSA", "d"), ("HS256", "o")] {
        for header in [json!({"alg": alg, "kid": kid}), json!({"alg": alg, "typ": "JWT"})] {
            let token = sign(&header, &claims("u", "manager", 600_000), |m| keys.sign(alg, m));
            let mut client = Client::connect(&node);
            let welcome = admitted(&mut client, &token);
            assert_eq!(
                (&welcome["data"]["userId"], &welcome["data"]["role"]),
                (&json!("u"), &json!("manager"))
            );
            client.subscribe(&["payments"]);
        }
    }
    admitted(&mut Client::connect(&node), &token("u", "admin", 600_000));
}

#[test]
fn a_bad_credential_has_one_text_whatever_is_wrong_with_it() {
    let keys = Keys::new();
    let (node, _dir) = node_with(&keys, &[]);
    let good = claims("u", "admin", 600_000);
    let rs = |header: Value, claims: &Value| sign(&header, claims, |m| keys.sign("RS256", m));
    let token = rs(json!({"alg": "RS256", "kid": "r"}), &good);
    let [head, body, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let but = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        rs(json!({"alg": "RS256"}), &claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        rs(json!({"alg": "RS256"}), &claims)
    };
    let stranger = Keys::new();
    let none = |alg: &str| sign(&json!({"alg": alg}), &good, |_| Vec::new());
    let admin = base64url(claims("u", "guest", 600_000).to_string().as_bytes());
    let pem =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64url(&keys.rsa_modulus()));
    let confused = |secret: &[u8]| sign(&json!({"alg": "HS256", "kid": "r"}), &good, |m| hs256(secret, m));
    let cases: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("words", "not a token".into()),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{token}.x")),
        ("no signature", format!("{head}.{body}.")),
        ("alg none", none("none")),
        ("alg None", none("None")),
        ("alg NONE with a signature", sign(&json!({"alg": "NONE"}), &good, |m| keys.sign("RS256", m))),
        ("no alg", rs(json!({"typ": "JWT"}), &good)),
        ("a header that is a list", rs(json!(["RS256"]), &good)),
        ("crit", rs(json!({"alg": "RS256", "crit": ["exp"]}), &good)),
        ("the modulus as a secret", confused(&keys.rsa_modulus())),
        ("the PEM as a secret", confused(pem.as_bytes())),
        ("the EC point as a secret", confused(keys.ec.public_key().as_ref())),
        ("no secret", confused(b"")),
        (
            "another alg than its key",
            sign(&json!({"alg": "ES256", "kid": "e"}), &good, |m| keys.sign("EdDSA", m)),
        ),
        ("an unknown alg", sign(&json!({"alg": "RS512"}), &good, |m| keys.sign("RS256", m))),
        ("an unknown kid", rs(json!({"alg": "RS256", "kid": "x"}), &good)),
        ("the kid of another key", rs(json!({"alg": "RS256", "kid": "e"}), &good)),
        (
            "a stranger's key",
            sign(&json!({"alg": "ES256", "kid": "e"}), &good, |m| stranger.sign("ES256", m)),
        ),
        ("other claims", format!("{head}.{admin}.{signature}")),
        ("a cut signature", token[..token.len() - 2].to_owned()),
        ("padding", format!("{token}==")),
        ("space around it", format!(" {token} ")),
        ("no role", without("role")),
        ("an unknown role", but("role", json!("root"))),
        ("a role in capitals", but("role", json!("Admin"))),
        ("roles", but("role", json!(["admin"]))),
        ("no user", without("sub")),
        ("an empty user", but("sub", json!(""))),
        ("a user that is a number", but("sub", json!(7))),
        ("two users", but("userId", json!("other"))),
        ("no session", without("sid")),
        ("no end", without("exp")),
        ("an end that is a text", but("exp", json!("2099"))),
        ("an end in ms", but("exp", json!(now_ms() + 60_000))),
        ("not yet", but("nbf", json!(now_ms() / 1000 + 60))),
        ("too long", but("pad", json!("x".repeat(2000)))[..2600].to_owned()),
    ];
    let first = refused(&node, "x.y.z", "the first");
    for (what, token) in &cases {
        assert_eq!(refused(&node, token, what), first, "{what}");
    }
    assert_eq!(first.0["message"], "authentication failed");
    // The detail is there, for the operator.
    let log = node.log();
    for detail in ["no key for alg \\\"none", "the signature does not fit", "nbf", "sub and userId differ"] {
        let plain = detail.replace('\\', "");
        assert!(log.contains(detail) || log.contains(&plain), "{detail}: {log}");
    }
    for line in log.lines() {
        assert!(line.len() < 600, "a line of the log is short: {line}");
        assert!(!line.contains(signature), "no token is logged");
    }
    assert_eq!(node.metric("closes_total{reason=\"auth_failed\"}"), cases.len() as f64 + 1.0);
}

#[test]
fn a_key_shuts_out_the_plain_identity() {
    let node = Node::start_with_key(&[]);
    let mut client = Client::connect(&node);
    let mut both = identity("u", "admin");
    client.send(&json!({"type": "auth", "data": both}));
    assert_eq!(client.expect_error().0, "bad_message");
    both["token"] = token("u", "guest", 600_000).into();
    client.send(&json!({"type": "auth", "data": both}));
    assert_eq!(
        client.expect_welcome()["data"]["role"],
        "guest",
        "what stands beside a token counts for nothing"
    );
    let wrong = sign(&json!({"alg": "HS256"}), &claims("u", "admin", 600_000), |m| hs256(&[b'x'; 32], m));
    refused(&node, &wrong, "another secret");
}

#[test]
fn both_names_of_a_claim_are_read() {
    let node = Node::start_with_key(&[]);
    let ends = now_ms() + 600_000;
    let mut client = Client::connect(&node);
    let claims = json!({"userId": "u_2", "sessionId": "s_2", "role": "staff", "expiresAt": ends});
    let welcome = admitted(&mut client, &token_of(&claims));
    assert_eq!((&welcome["data"]["userId"], &welcome["data"]["expiresAt"]), (&json!("u_2"), &json!(ends)));
    assert_eq!(node.control("DELETE", "/api/sessions/s_2", "").status, 200);
    assert_eq!(client.expect_close().0, 4004);
}

#[test]
fn users_and_sessions_may_have_odd_names() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards), LOG]);
        for name in [
            "\u{1f468}\u{200d}\u{1f469}",
            "a b",
            "\"quoted\\\"",
            "../../etc",
            "%00",
            "O'Brien",
            "\u{202e}x",
            "{}",
        ] {
            let mut client = Client::connect(&node);
            let mut identity = identity(name, "customer");
            identity["sessionId"] = name.into();
            client.send(&json!({"type": "auth", "data": identity}));
            assert_eq!(client.expect_welcome()["data"]["userId"], name);
            client.subscribe(&["orders"]);
            node.post(&crate::support::order("o", name));
            assert_eq!(client.expect("order:created")["data"]["customerId"], name);
        }
        let longest = "\u{e9}".repeat(128);
        Client::live(&node, &longest, "admin", &[]).sync();
        for bad in ["a\nb", "a\rb", "\u{1b}[31mred", "\u{7f}", "\u{85}", "\t", &format!("{longest}x")] {
            let mut client = Client::connect(&node);
            for field in ["userId", "sessionId", "role"] {
                let mut identity = identity("u", "admin");
                identity[field] = bad.into();
                client.send(&json!({"type": "auth", "data": identity}));
                let (code, error) = client.expect_error();
                assert_eq!(code, "bad_message", "{bad:?} as {field}: {error}");
            }
        }
    }
}

/// Nothing that a peer sends may forge a line of the log, colour it or fill it.
fn assert_clean(log: &str) {
    for line in log.lines() {
        assert!(line.starts_with("20"), "a line that the node did not begin: {line:?}");
        assert!(line.len() < 600, "{} bytes: {line:.100}", line.len());
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    assert!(!log.contains("FORGED\n") && !log.contains("\nFORGED"));
}

#[test]
fn what_a_peer_says_cannot_forge_the_log() {
    const FORGED: &str = "x\r\n2026-01-01T00:00:00Z ERROR FORGED\n\u{1b}[2J\u{9b}31m\u{2028}\0";
    let megabyte = "M".repeat(1 << 20);
    let trusted = Node::start(&[LOG]);
    for odd in [FORGED.trim_end_matches('\0'), &megabyte[..3000]] {
        for field in ["userId", "sessionId", "role"] {
            let mut client = Client::connect(&trusted);
            let mut identity = identity("u", "admin");
            identity[field] = odd.into();
            client.send(&json!({"type": "auth", "data": identity}));
            client.expect_error();
        }
    }
    let mut client = Client::connect(&trusted);
    client.send_text(&json!({"type": "auth", "data": {"userId": megabyte}}).to_string());
    assert_eq!(client.expect_close().0, 1009, "a name of 1 MB is not even read");
    for head in [
        format!("GET /{} HTTP/1.1\r\nHost: \u{1b}[31m\r\nOrigin: {FORGED}\r\n\r\n", "\u{1b}[2J"),
        format!("GET /api/ws HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: \u{1b}[2J{}\r\n\r\n", "M".repeat(5000)),
        FORGED.into(),
    ] {
        trusted.public(&format!("{head}\r\n\r\n"));
    }
    trusted.public(&format!("GET /{megabyte} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_clean(&trusted.log());

    let keyed = Node::start_with_key(&[LOG]);
    let forged = |name: &str| {
        let mut claims = claims("u", "admin", 600_000);
        claims[name] = FORGED.into();
        token_of(&claims)
    };
    let mut seen = 0;
    for token in [
        forged("sub"),
        forged("role"),
        forged("sid"),
        sign(&json!({"alg": FORGED}), &json!({}), |_| Vec::new()),
        sign(&json!({"alg": "HS256", "kid": FORGED}), &json!({}), |_| Vec::new()),
        sign(&json!({"alg": "M".repeat(2000)}), &json!({}), |_| Vec::new()),
        FORGED.to_owned(),
    ] {
        refused(&keyed, &token.replace('\0', ""), "forged");
        seen += 1;
        let log = keyed.log();
        assert_eq!(log.matches("credential refused").count(), seen, "each leaves one line: {log}");
        assert_clean(&log);
    }
}
