//! From what an `auth` message carries to an identity, or to the reason why not.
//!
//! With a key only tokens count (JWT, RFC 7519, signed as JWS compact, RFC 7515 section 7.1). Without
//! one the node believes what it is told. The two never mix: a node with a key refuses the plain
//! identity, however it looks. A token is believed in nothing before its signature was checked.

use ring::hmac;

use crate::policy::base64url;
use crate::policy::compiled::Policy;
use crate::policy::identity::{AuthFault, Identity};
use crate::policy::json::{self, Members, TextFault};
use crate::policy::keys::KeySet;
use crate::policy::names::Role;

/// Longest token. Work on a token is linear in this.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// How far another clock may be ahead where a token says from when it is good.
const NOT_BEFORE_LEEWAY_MS: f64 = 5000.0;
/// Below this a time in ms lies in 1973: it was meant in seconds. Above it a time in seconds lies
/// beyond the year 5000: it was meant in ms.
const UNLIKELY: f64 = 1e11;

const PLAIN: &str =
    "auth takes {\"userId\",\"role\",\"sessionId\",\"expiresAt\"}, expiresAt in ms since the epoch";
const TOKEN: &str = "auth takes {\"token\":\"<JWT>\"}";

/// What a node takes as a credential.
#[derive(Debug)]
pub enum Gate {
    /// Whatever the client says: for development and behind something that checks.
    Trusted,
    /// Tokens signed with one of these keys.
    Keys(KeySet),
}

/// What a token says. For [`mint_hs256`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// The role's name.
    pub role: String,
    /// The session.
    pub sid: String,
    /// When it ends, in seconds since the epoch.
    pub exp: u64,
    /// From when it is good, in seconds since the epoch.
    pub nbf: Option<u64>,
}

impl Gate {
    /// The gate of these keys; without any, [`Gate::Trusted`]. `jwks` is the text of a JWKS file.
    ///
    /// # Errors
    /// Which of the two is unusable and why.
    pub fn keys(secret: Option<&str>, jwks: Option<&str>) -> Result<Gate, String> {
        match (secret, jwks) {
            (None, None) => Ok(Gate::Trusted),
            _ => KeySet::load(secret, jwks).map(Gate::Keys),
        }
    }

    /// `trusted` or `jwt`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self {
            Gate::Trusted => "trusted",
            Gate::Keys(_) => "jwt",
        }
    }

    /// Checks the `data` of an `auth` message, given as JSON text, at a wall clock time.
    ///
    /// # Errors
    /// Whether it was no credential of this node's kind, a past one, or a bad one.
    pub fn check(&self, policy: &Policy, data: &str, now_wall_ms: u64) -> Result<Identity, AuthFault> {
        let expected = match self {
            Gate::Trusted => PLAIN,
            Gate::Keys(_) => TOKEN,
        };
        let members = Members::read(data).map_err(|_| AuthFault::shape(expected))?;
        if let Some(name) = members.duplicate() {
            return Err(AuthFault::shape(format!("data has {} twice", json::quoted(name))));
        }
        match self {
            Gate::Trusted => plain(policy, &members, now_wall_ms),
            Gate::Keys(keys) => {
                let text = members.get("token").map(json::text);
                let Some(Ok(text)) = text else {
                    return Err(AuthFault::shape(format!("{TOKEN}; this node takes nothing else")));
                };
                let claims = verified(keys, &text).map_err(AuthFault::refused)?;
                token(policy, &claims, now_wall_ms)
            }
        }
    }
}

/// A token of these claims, signed by HMAC with SHA-256 (RFC 7518 section 3.2).
#[must_use]
pub fn mint_hs256(secret: &str, claims: &Claims) -> String {
    let mut body = serde_json::json!({
        "sub": claims.sub, "role": claims.role, "sid": claims.sid, "exp": claims.exp,
    });
    if let Some(nbf) = claims.nbf {
        body["nbf"] = nbf.into();
    }
    let [head, body] =
        [r#"{"alg":"HS256","typ":"JWT"}"#, &body.to_string()].map(|t| base64url::encode(t.as_bytes()));
    let message = format!("{head}.{body}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = base64url::encode(hmac::sign(&key, message.as_bytes()).as_ref());
    format!("{message}.{signature}")
}

/// The plain identity of trusted mode.
fn plain(policy: &Policy, data: &Members<'_>, now_ms: u64) -> Result<Identity, AuthFault> {
    if data.get("token").is_some() {
        let message = format!("this node has no key to check tokens with; {PLAIN}");
        return Err(AuthFault::Shape(message));
    }
    let id = |name: &str| -> Result<Box<str>, AuthFault> {
        let fault = |what: &str| AuthFault::Shape(format!("{name} {what}; {PLAIN}"));
        let raw = data.get(name).ok_or_else(|| fault("is missing"))?;
        let text = json::text(raw).map_err(|_| fault("must be a text"))?;
        json::id_fault(&text).map_or(Ok(text.into()), |what| Err(fault(what)))
    };
    let (user, session, role) = (id("userId")?, id("sessionId")?, id("role")?);
    let expires = data.get("expiresAt").and_then(json::number).filter(|ms| (0.0..=json::MAX_MS).contains(ms));
    let expires =
        expires.ok_or_else(|| AuthFault::Shape(format!("expiresAt is missing or no time; {PLAIN}")))?;
    let role = known_role(policy, &role)?;
    let expires_at = unexpired(expires, now_ms, true)?;
    Ok(Identity { user, session, role, expires_at })
}

/// The identity that verified claims tell.
fn token(policy: &Policy, claims: &str, now_ms: u64) -> Result<Identity, AuthFault> {
    let refused = |detail: String| AuthFault::Refused { detail };
    let claims = Members::read(claims).map_err(|_| refused("the claims are no JSON object".to_owned()))?;
    if let Some(name) = claims.duplicate() {
        return Err(refused(format!("the claim {} is there twice", json::quoted(name))));
    }
    let user = claimed_id(&claims, ["sub", "userId"]).map_err(refused)?;
    let session = claimed_id(&claims, ["sid", "sessionId"]).map_err(refused)?;
    let role = claimed_text(&claims, "role").map_err(refused)?;
    let role = role.ok_or_else(|| refused("role is missing".to_owned()))?;
    let role = known_role(policy, &role)?;
    if let Some(not_before) = claimed_time(&claims, "nbf").map_err(refused)?
        && not_before * 1000.0 > now_ms as f64 + NOT_BEFORE_LEEWAY_MS
    {
        return Err(refused("not good yet (nbf)".to_owned()));
    }
    let expires = claimed_expiry(&claims).map_err(refused)?;
    let expires_at = unexpired(expires, now_ms, claims.get("exp").is_none())?;
    Ok(Identity { user, session, role, expires_at })
}

/// The claims' text of a token whose signature one of the keys made.
fn verified(keys: &KeySet, token: &str) -> Result<String, String> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(format!("a token of {} bytes, at most {MAX_TOKEN_BYTES} are read", token.len()));
    }
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let [head, body, signature] = parts[..] else {
        return Err("a token has three parts".to_owned());
    };
    let [head_text, body_text] = [head, body].map(|part| {
        let bytes = base64url::decode(part).ok_or("a part is not base64url")?;
        String::from_utf8(bytes).map_err(|_| "a part is not UTF-8")
    });
    let (head_text, body_text) = (head_text?, body_text?);
    let signature = base64url::decode(signature).ok_or("the signature is not base64url")?;
    let header = Members::read(&head_text).map_err(|_| "the header is no JSON object")?;
    if header.duplicate().is_some() {
        return Err("the header has a name twice".to_owned());
    }
    // RFC 7515 section 4.1.11: what must be understood and is not, refuses. Nothing is understood here.
    if header.get("crit").is_some() {
        return Err("the header has crit".to_owned());
    }
    let part =
        |name| header.get(name).map(json::text).transpose().map_err(|_| "the header's alg or kid is no text");
    let alg = part("alg")?.ok_or("the header has no alg")?;
    let message = &token[..head.len() + 1 + body.len()];
    keys.verify(&alg, part("kid")?.as_deref(), message.as_bytes(), &signature)?;
    Ok(body_text)
}

fn known_role(policy: &Policy, name: &str) -> Result<Role, AuthFault> {
    policy.role(name).ok_or_else(|| AuthFault::refused(format!("there is no role {}", json::quoted(name))))
}

/// A claim that is a name of something.
fn claimed_text(claims: &Members<'_>, name: &str) -> Result<Option<Box<str>>, String> {
    let Some(raw) = claims.get(name) else { return Ok(None) };
    let text = json::text(raw).map_err(|fault| match fault {
        TextFault::Kind => format!("{name} is no text"),
        TextFault::Escape => format!("{name} is not valid Unicode"),
    })?;
    json::id_fault(&text).map_or(Ok(Some(text.into())), |fault| Err(format!("{name} {fault}")))
}

/// A claim that has two names. Were they to differ, one reader would see another user than the next.
fn claimed_id(claims: &Members<'_>, [name, other]: [&str; 2]) -> Result<Box<str>, String> {
    match (claimed_text(claims, name)?, claimed_text(claims, other)?) {
        (Some(a), Some(b)) if a != b => Err(format!("{name} and {other} differ")),
        (Some(id), _) | (None, Some(id)) => Ok(id),
        (None, None) => Err(format!("{name} is missing")),
    }
}

/// A time as a claim; NumericDate may have a fraction (RFC 7519 section 2).
fn claimed_time(claims: &Members<'_>, name: &str) -> Result<Option<f64>, String> {
    let Some(raw) = claims.get(name) else { return Ok(None) };
    let time = json::number(raw).filter(|time| (0.0..=json::MAX_MS).contains(time));
    time.map(Some).ok_or_else(|| format!("{name} is no time"))
}

/// The end that the claims tell, in ms since the epoch.
fn claimed_expiry(claims: &Members<'_>) -> Result<f64, String> {
    let seconds = claimed_time(claims, "exp")?;
    if seconds.is_some_and(|seconds| seconds > UNLIKELY) {
        return Err("exp looks like ms, seconds are due".to_owned());
    }
    match (seconds.map(|seconds| seconds * 1000.0), claimed_time(claims, "expiresAt")?) {
        (None, None) => Err("exp is missing".to_owned()),
        // Whole seconds are the same time as the ms they were cut from.
        (Some(a), Some(b)) if (a - b).abs() >= 1000.0 => Err("exp and expiresAt differ".to_owned()),
        (Some(a), Some(b)) => Ok(a.min(b)),
        (Some(time), None) | (None, Some(time)) => Ok(time),
    }
}

/// `expires`, in ms, as a whole number, if it lies ahead. There is no leeway. Where the number was
/// given as `expiresAt`, the fault says so if it looks like seconds.
fn unexpired(expires: f64, now_ms: u64, as_expires_at: bool) -> Result<u64, AuthFault> {
    // In range: every time read here is from 0 to 8.64e15 or, from seconds, at most 1e14.
    let expires_at = expires as u64;
    if expires_at > now_ms {
        Ok(expires_at)
    } else if as_expires_at && expires > 0.0 && expires < UNLIKELY {
        Err(AuthFault::expired("expiresAt has passed; it looks like seconds, ms since the epoch are due"))
    } else {
        Err(AuthFault::expired("the session has expired"))
    }
}

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
