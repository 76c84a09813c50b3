//! What a client says to come in, and what it understands of what it is told. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::bench::crowd::Crowd;
use crate::cli::bench::event::{key, user};
use crate::cli::bench::frames::client_frame;
use crate::policy::{Claims, mint_hs256};

/// The `id` of the `auth` that clients send; it comes back as `replyTo`.
const AUTH: &str = "auth";
/// How long a credential is good for: longer than any run.
const CREDENTIAL_TTL_S: u64 = 86_400;

/// How clients come in.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The request that asks for the upgrade.
    pub head: Vec<u8>,
    /// What follows it: `None` where the server speaks no protocol of ours and an upgrade is all.
    pub identity: Option<Credentials>,
}

/// How clients prove who they are.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The secret that signs their tokens; without it they say who they are.
    pub secret: Option<String>,
    /// The run, so that sessions of two generators differ.
    pub run: u32,
}

impl Entry {
    /// For a server at `host` (with its port), upgraded at `path`.
    pub fn new(host: &str, path: &str, identity: Option<Credentials>) -> Entry {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        Entry { head: head.into_bytes(), identity }
    }
}

/// Where a client was when it was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// The node's epoch, opaque.
    pub epoch: String,
    /// The id of the last event that it saw.
    pub id: String,
}

/// `auth` and `subscribe` of a client as frames, back to back. A client that may subscribe to nothing only authenticates.
pub fn hello(
    credentials: &Credentials,
    crowd: &Crowd,
    client: u32,
    since: Option<&Since>,
    now_ms: u64,
    out: &mut Vec<u8>,
) {
    let (user, role) = (user(client), crowd.role(client));
    let session = format!("bench_{:08x}_{client}", credentials.run);
    let data = match &credentials.secret {
        Some(secret) => {
            let (sub, role) = (user, role.to_owned());
            let claims = Claims { sub, role, sid: session, exp: now_ms / 1000 + CREDENTIAL_TTL_S, nbf: None };
            json!({ "token": mint_hs256(secret, &claims) })
        }
        None => {
            let expires_at = now_ms + CREDENTIAL_TTL_S * 1000;
            json!({ "userId": user, "role": role, "sessionId": session, "expiresAt": expires_at })
        }
    };
    let auth = json!({ "type": "auth", "id": AUTH, "data": data });
    client_frame(1, auth.to_string().as_bytes(), out);
    let namespaces: Vec<&str> = crowd.subscribes(client).collect();
    if namespaces.is_empty() {
        return;
    }
    let mut wish = json!({ "namespaces": namespaces });
    if let Some(asked) = crowd.key(client) {
        wish["keys"] = json!([key(asked)]);
    }
    if let Some(Since { epoch, id }) = since {
        wish["since"] = json!({ "epoch": epoch, "id": id });
    }
    client_frame(1, json!({ "type": "subscribe", "data": wish }).to_string().as_bytes(), out);
}

/// What a client is told, beside the events of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It is who it says.
    Authenticated,
    /// It is subscribed. What it missed follows where `recovered` is true, and is not to be had where it is false.
    Subscribed {
        /// The node's epoch.
        epoch: String,
        /// The last event before the subscription.
        last_id: String,
        /// Only where `since` was sent.
        recovered: Option<bool>,
    },
    /// It has all that it missed.
    CaughtUp,
    /// The node is about to close: code and reason.
    Closing(u16, String),
    /// Something was refused: code and message.
    Refused(String),
    /// Nothing that matters here, such as an event of somebody else.
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    reply_to: Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Data {
    epoch: Value,
    last_event_id: Value,
    recovered: Option<bool>,
    code: Value,
    reason: String,
    message: String,
}

/// Reads a message that is no event of the run.
pub fn read(text: &[u8]) -> Word {
    let Ok(told) = serde_json::from_slice::<Told<'_>>(text) else {
        return Word::Refused("what the node says is not of its protocol".into());
    };
    let data = || told.data.and_then(|raw| serde_json::from_str::<Data>(raw.get()).ok()).unwrap_or_default();
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match &*told.r#type {
        _ if told.reply_to == AUTH => Word::Authenticated,
        "subscribed" => {
            let Data { epoch, last_event_id, recovered, .. } = data();
            Word::Subscribed { epoch: plain(&epoch), last_id: plain(&last_event_id), recovered }
        }
        "caught_up" => Word::CaughtUp,
        "closing" => {
            let Data { code, reason, .. } = data();
            Word::Closing(code.as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0), reason)
        }
        "error" => {
            let Data { code, message, .. } = data();
            Word::Refused(format!("{}: {message}", plain(&code)))
        }
        _ => Word::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::crowd::Plan;
    use crate::cli::bench::crowd::tests::plan;

    /// The messages of a hello.
    fn said(crowd: &Crowd, client: u32, secret: Option<&str>, since: Option<&Since>) -> Vec<Value> {
        let credentials = Credentials { secret: secret.map(str::to_owned), run: 7 };
        let mut out = Vec::new();
        hello(&credentials, crowd, client, since, 1_000_000, &mut out);
        let mut said = Vec::new();
        while !out.is_empty() {
            let (head, length) = match out[1] & 0x7f {
                126 => (4, usize::from(u16::from_be_bytes([out[2], out[3]]))),
                short => (2, usize::from(short)),
            };
            said.push(serde_json::from_slice(&out[head + 4..head + 4 + length]).unwrap());
            out.drain(..head + 4 + length);
        }
        said
    }

    #[test]
    fn a_client_says_who_it_is_and_what_it_wants() {
        let crowd = Crowd::new(Plan {
            keys: 3,
            ..plan(10, &[("staff", 1), ("customer", 1), ("guest", 1)], &["orders", "products"])
        });
        let crowd = crowd.unwrap();
        let plain = said(&crowd, 4, None, None);
        let who = json!({"userId": "bench_4", "role": "customer", "sessionId": "bench_00000007_4", "expiresAt": 87_400_000});
        assert_eq!(plain[0], json!({"type": "auth", "id": "auth", "data": who}));
        let wish = json!({"namespaces": ["orders", "products"], "keys": ["bench_key_1"]});
        assert_eq!(plain[1]["data"], wish);
        let since = Since { epoch: "e".into(), id: "5".into() };
        let back = said(&crowd, 2, Some("0123456789abcdef0123456789abcdef"), Some(&since));
        assert!(back[0]["data"]["token"].as_str().unwrap().starts_with("ey"));
        assert_eq!(back[1]["data"]["since"], json!({"epoch": "e", "id": "5"}));
        assert_eq!(back[1]["data"]["namespaces"], json!(["products"]));
        let nothing = Crowd::new(plan(1, &[("guest", 1)], &["orders"])).unwrap();
        assert_eq!(said(&nothing, 0, None, None).len(), 1);
    }

    #[test]
    fn what_it_is_told_is_understood() {
        let subscribed = |recovered| Word::Subscribed { epoch: "e".into(), last_id: "7".into(), recovered };
        let table = [
            (
                r#"{"type":"system:notification","replyTo":"auth","data":{"role":"staff"}}"#,
                Word::Authenticated,
            ),
            (r#"{"type":"subscribed","data":{"epoch":"e","lastEventId":"7"}}"#, subscribed(None)),
            (
                r#"{"type":"subscribed","data":{"epoch":"e","lastEventId":7,"recovered":true}}"#,
                subscribed(Some(true)),
            ),
            (r#"{"type":"caught_up","data":{"replayed":3}}"#, Word::CaughtUp),
            (
                r#"{"type":"closing","data":{"code":4103,"reason":"slow_consumer"}}"#,
                Word::Closing(4103, "slow_consumer".into()),
            ),
            (
                r#"{"type":"error","data":{"code":"auth_failed","message":"m"}}"#,
                Word::Refused("auth_failed: m".into()),
            ),
            (r#"{"type":"customer:online","namespace":"customers","data":{}}"#, Word::Other),
        ];
        for (text, word) in table {
            assert_eq!(read(text.as_bytes()), word, "{text}");
        }
        assert!(matches!(read(b"["), Word::Refused(_)));
    }
}
