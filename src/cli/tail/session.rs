//! One client's conversation with a node, as a machine: text in, steps out. No socket, no clock.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The `id` of the `auth` that this client sends; it comes back as `replyTo`.
const AUTH: &str = "auth";
/// The `id` of the `subscribe` that this client sends.
const SUBSCRIBE: &str = "subscribe";

/// Who the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A token.
    Token(String),
    /// The plain identity of trusted mode.
    Plain {
        /// The user.
        user: String,
        /// The role.
        role: String,
        /// The session.
        session: String,
        /// Until when, in ms since the epoch.
        expires_at_ms: u64,
    },
}

impl Credential {
    /// The message that presents it.
    #[must_use]
    pub fn message(&self) -> String {
        let data = match self {
            Credential::Token(token) => json!({ "token": token }),
            Credential::Plain { user, role, session, expires_at_ms } => {
                json!({ "userId": user, "role": role, "sessionId": session, "expiresAt": expires_at_ms })
            }
        };
        json!({ "type": "auth", "id": AUTH, "data": data }).to_string()
    }
}

/// The last event that was seen, which is where a next connection takes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The node's epoch, opaque.
    pub epoch: Value,
    /// The event's id, opaque.
    pub id: Value,
}

/// An event, as much of it as is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `order:created`.
    pub kind: String,
    /// `orders`.
    pub namespace: String,
    /// Milliseconds since the epoch.
    pub timestamp_ms: u64,
    /// The id, opaque.
    pub id: String,
    /// The data as it came.
    pub data: String,
}

/// What the node announced about the end that follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closing {
    /// The close code.
    pub code: Option<u16>,
    /// The reason.
    pub reason: String,
    /// Whether to come back.
    pub retry: Option<bool>,
    /// When.
    pub retry_after_ms: Option<u64>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this text.
    Send(String),
    /// Present a fresh credential.
    Refresh,
    /// Show an event.
    Show(Shown),
    /// Tell the user.
    Tell(String),
    /// The conversation works.
    Live,
    /// End the command: trying again can't help.
    GiveUp(String),
    /// Leave this connection and try again.
    Leave(String),
}

/// The machine. It outlives a connection: what was seen last is asked for on the next one.
#[derive(Debug, Default)]
pub struct Session {
    /// Only these namespaces; all that the role may see where it is empty.
    namespaces: Vec<String>,
    /// Only these entities; all where it is empty.
    keys: Vec<String>,
    position: Option<Position>,
    epoch: Value,
    subscribed: bool,
    /// What the node announced, once it did.
    pub closing: Option<Closing>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    timestamp: Option<u64>,
    #[serde(default)]
    id: Value,
    #[serde(default)]
    reply_to: Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Data {
    user_id: String,
    role: String,
    namespaces: Vec<String>,
    epoch: Value,
    last_event_id: Value,
    recovered: Option<bool>,
    replayed: Option<u64>,
    reason: String,
    code: Value,
    message: String,
    retryable: bool,
    retry: Option<bool>,
    retry_after_ms: Option<u64>,
}

impl Session {
    /// A client that wishes to see these namespaces and entities, after `position` where one is given.
    #[must_use]
    pub fn new(namespaces: Vec<String>, keys: Vec<String>, position: Option<Position>) -> Session {
        Session { namespaces, keys, position, ..Session::default() }
    }

    /// Begins anew on another connection.
    pub fn reconnect(&mut self) {
        self.subscribed = false;
        self.closing = None;
    }

    /// Takes one message of the node.
    pub fn handle(&mut self, text: &str) -> Vec<Step> {
        let Ok(incoming) = serde_json::from_str::<Incoming<'_>>(text) else {
            return vec![Step::Leave("the node sent something that is not of its protocol".into())];
        };
        let data =
            || incoming.data.and_then(|raw| serde_json::from_str::<Data>(raw.get()).ok()).unwrap_or_default();
        match &*incoming.r#type {
            _ if incoming.reply_to == AUTH => self.handle_auth(data()),
            _ if incoming.namespace.is_some() => self.handle_event(&incoming),
            "subscribed" => self.handle_subscribed(data()),
            "caught_up" => {
                vec![Step::Tell(format!("caught up: {} missed events", data().replayed.unwrap_or(0)))]
            }
            "session_expiring" => vec![Step::Refresh],
            "closing" => self.handle_closing(data()),
            "error" => handle_error(&incoming.id, &data()),
            _ => vec![], // Answers that need nothing, and what a later node may add.
        }
    }

    fn handle_auth(&mut self, data: Data) -> Vec<Step> {
        if self.subscribed {
            return vec![]; // A refresh in place; subscriptions stay.
        }
        self.epoch = data.epoch;
        let wished = if self.namespaces.is_empty() { &data.namespaces } else { &self.namespaces };
        let who = format!("connected as {} ({})", data.user_id, data.role);
        if wished.is_empty() {
            return vec![
                Step::Tell(format!("{who}, who may see no namespace; only what is addressed to it arrives")),
                Step::Live,
            ];
        }
        let mut asked = json!({ "namespaces": wished });
        if !self.keys.is_empty() {
            asked["keys"] = json!(self.keys);
        }
        if let Some(Position { epoch, id }) = &self.position {
            asked["since"] = json!({ "epoch": epoch, "id": id });
        }
        let subscribe = json!({ "type": "subscribe", "id": SUBSCRIBE, "data": asked }).to_string();
        vec![Step::Tell(format!("{who}, watching {}", wished.join(", "))), Step::Send(subscribe)]
    }

    fn handle_subscribed(&mut self, data: Data) -> Vec<Step> {
        self.subscribed = true;
        self.epoch = data.epoch;
        let mut steps = vec![Step::Live];
        match data.recovered {
            Some(true) => return steps, // The position moves with each event of the replay.
            Some(false) => {
                steps.insert(0, Step::Tell(format!("events may have been missed: {}", data.reason)))
            }
            None => {}
        }
        if !data.last_event_id.is_null() {
            self.position = Some(Position { epoch: self.epoch.clone(), id: data.last_event_id });
        }
        steps
    }

    fn handle_event(&mut self, incoming: &Incoming<'_>) -> Vec<Step> {
        if !incoming.id.is_null() {
            self.position = Some(Position { epoch: self.epoch.clone(), id: incoming.id.clone() });
        }
        let id = incoming.id.as_str().map_or_else(|| incoming.id.to_string(), str::to_string);
        vec![Step::Show(Shown {
            kind: incoming.r#type.to_string(),
            namespace: incoming.namespace.as_deref().unwrap_or_default().to_string(),
            timestamp_ms: incoming.timestamp.unwrap_or(0),
            id,
            data: incoming.data.map_or("{}", RawValue::get).to_string(),
        })]
    }

    fn handle_closing(&mut self, data: Data) -> Vec<Step> {
        self.closing = Some(Closing {
            code: data.code.as_u64().and_then(|code| u16::try_from(code).ok()),
            reason: data.reason,
            retry: data.retry,
            retry_after_ms: data.retry_after_ms,
        });
        vec![]
    }
}

fn handle_error(id: &Value, data: &Data) -> Vec<Step> {
    let code = data.code.as_str().unwrap_or("error");
    let sentence = format!("{code}: {}", data.message);
    let ours = *id == AUTH || *id == SUBSCRIBE;
    match (ours, data.retryable) {
        (false, _) => vec![Step::Tell(sentence)],
        (true, true) => vec![Step::Leave(sentence)],
        // A bad credential also closes, and the close says whether to come back: an expired one may be renewed.
        (true, false) if matches!(code, "auth_failed" | "token_expired") => vec![Step::Tell(sentence)],
        // The node has a key, and the plain identity is not enough for it; or the other way round.
        (true, false) if *id == AUTH && code == "bad_message" => vec![Step::GiveUp(format!(
            "{sentence} (a token is taken from --token, WS_TOKEN, or made with WS_JWT_SECRET)"
        ))],
        (true, false) => vec![Step::GiveUp(sentence)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHED: &str = r#"{"type":"system:notification","namespace":"system","replyTo":"auth","timestamp":1,
        "data":{"userId":"u","role":"staff","namespaces":["orders","products"],"epoch":"e1","lastEventId":"5"}}"#;

    fn event(id: &str) -> String {
        format!(
            r#"{{"type":"order:created","namespace":"orders","data":{{"total":1.50}},"timestamp":7,"id":"{id}"}}"#
        )
    }

    fn sent(steps: &[Step]) -> Value {
        let text = steps.iter().find_map(|step| if let Step::Send(text) = step { Some(text) } else { None });
        serde_json::from_str(text.expect("something is sent")).unwrap()
    }

    #[test]
    fn a_credential_is_presented_as_the_contract_says() {
        let plain =
            Credential::Plain { user: "u".into(), role: "r".into(), session: "s".into(), expires_at_ms: 9 };
        let message: Value = serde_json::from_str(&plain.message()).unwrap();
        assert_eq!(message["data"], json!({"userId": "u", "role": "r", "sessionId": "s", "expiresAt": 9}));
        let message: Value = serde_json::from_str(&Credential::Token("t".into()).message()).unwrap();
        assert_eq!(message, json!({"type": "auth", "id": "auth", "data": {"token": "t"}}));
    }

    #[test]
    fn it_subscribes_to_what_it_may_see_or_to_what_it_was_told() {
        let subscribe = sent(&Session::default().handle(AUTHED));
        assert_eq!(subscribe["data"], json!({"namespaces": ["orders", "products"]}));
        let mut told = Session::new(vec!["payments".into()], vec!["o_1".into()], None);
        assert_eq!(sent(&told.handle(AUTHED))["data"], json!({"namespaces": ["payments"], "keys": ["o_1"]}));
    }

    #[test]
    fn it_takes_up_where_it_left() {
        let mut session = Session::default();
        session.handle(AUTHED);
        let live = session.handle(r#"{"type":"subscribed","id":"subscribe","data":{"namespaces":[],"epoch":"e1","lastEventId":"5"}}"#);
        assert_eq!(live, [Step::Live]);
        let since = |session: &mut Session| {
            session.reconnect();
            sent(&session.handle(AUTHED))["data"]["since"].clone()
        };
        assert_eq!(since(&mut session), json!({"epoch": "e1", "id": "5"}));
        // In the middle of a replay the last event seen counts, not the newest one there is.
        session.handle(r#"{"type":"subscribed","data":{"epoch":"e1","lastEventId":"9","recovered":true}}"#);
        let [Step::Show(shown)] = &session.handle(&event("7"))[..] else { panic!("an event is shown") };
        assert_eq!(
            (shown.kind.as_str(), shown.id.as_str(), shown.data.as_str()),
            ("order:created", "7", r#"{"total":1.50}"#)
        );
        assert_eq!(since(&mut session), json!({"epoch": "e1", "id": "7"}));
        let steps = session
            .handle(r#"{"type":"subscribed","data":{"epoch":"e2","lastEventId":"1","recovered":false,"reason":"epoch_changed"}}"#);
        assert_eq!(steps[0], Step::Tell("events may have been missed: epoch_changed".into()));
        assert_eq!(since(&mut session), json!({"epoch": "e2", "id": "1"}));
    }

    #[test]
    fn other_messages_lead_to_their_step() {
        let mut session = Session::default();
        session.handle(AUTHED);
        session.handle(r#"{"type":"subscribed","data":{"epoch":"e1","lastEventId":"5"}}"#);
        let error = |id: &str, code: &str, retryable: bool| {
            format!(
                r#"{{"type":"error","id":"{id}","data":{{"code":"{code}","message":"m","retryable":{retryable}}}}}"#
            )
        };
        let table = [
            (AUTHED.to_string(), vec![]),
            (r#"{"type":"session_expiring","data":{"expiresAt":1}}"#.into(), vec![Step::Refresh]),
            (
                r#"{"type":"caught_up","data":{"replayed":3}}"#.into(),
                vec![Step::Tell("caught up: 3 missed events".into())],
            ),
            (
                error("subscribe", "forbidden_namespace", false),
                vec![Step::GiveUp("forbidden_namespace: m".into())],
            ),
            (error("subscribe", "rate_limited", true), vec![Step::Leave("rate_limited: m".into())]),
            (error("auth", "auth_failed", false), vec![Step::Tell("auth_failed: m".into())]),
            (
                error("auth", "bad_message", false),
                vec![Step::GiveUp(
                    "bad_message: m (a token is taken from --token, WS_TOKEN, or made with WS_JWT_SECRET)"
                        .into(),
                )],
            ),
            (error("", "internal", false), vec![Step::Tell("internal: m".into())]),
            (r#"{"type":"pong","timestamp":1}"#.into(), vec![]),
        ];
        for (text, steps) in table {
            assert_eq!(session.handle(&text), steps, "{text}");
        }
        assert!(matches!(&session.handle("[")[..], [Step::Leave(_)]));
        session.handle(
            r#"{"type":"closing","data":{"code":1001,"reason":"going_away","retry":true,"retryAfterMs":40}}"#,
        );
        let expected = Closing {
            code: Some(1001),
            reason: "going_away".into(),
            retry: Some(true),
            retry_after_ms: Some(40),
        };
        assert_eq!(session.closing, Some(expected));
    }
}
