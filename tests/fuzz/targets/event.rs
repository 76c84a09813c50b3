//! Events as services post them and as clients publish them.

use omnicast::policy::{Draft, Policy, Rules};
use omnicast::wire::envelope::{encode_event, payload_of};
use serde_json::Value;
use std::sync::OnceLock;

fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(Policy::builtin)
}

/// What goes out is one event, and says for whom it was.
fn check(draft: &Draft) {
    let policy = policy();
    let kind = policy.event_name(draft.event);
    let namespace = policy.namespace_name(policy.event_namespace(draft.event));
    assert_eq!(draft.audience.namespace, policy.event_namespace(draft.event));
    assert!(!draft.data.contains(['\n', '\r', '\0']), "one line");
    let frame = encode_event(kind, namespace, &draft.data, 1, "2");
    let payload = std::str::from_utf8(payload_of(&frame)).expect("text");
    // Numbers that no double holds are passed through; only their reading here fails.
    if let Ok(event) = serde_json::from_str::<Value>(payload) {
        assert!(event["data"].is_object() && event.as_object().is_some_and(|event| event.len() == 5));
        assert_eq!((&event["type"], &event["id"]), (&Value::from(kind), &Value::from("2")));
    } else {
        serde_json::from_str::<serde::de::IgnoredAny>(payload).expect("JSON");
    }
    let restored = policy.restore(payload, draft.addressing.as_deref());
    assert_eq!(restored.as_ref(), Some(&(draft.event, draft.audience.clone())), "kept and restored");
}

pub fn run(data: &[u8]) {
    let [first, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let rules = Rules { validate: first & 1 == 0, max_event_bytes: 2000 };
    match policy().draft_posted(text, &rules) {
        Ok(draft) => {
            assert!(text.len() <= rules.max_event_bytes);
            check(&draft);
        }
        Err(violations) => {
            assert!(!violations.is_empty());
            assert!(
                violations.iter().all(|v| !v.message.is_empty() && v.message.len() < 1000),
                "{violations:?}"
            );
        }
    }
    for role in policy().roles() {
        for event in policy().event_types().filter(|event| policy().may_publish(role, *event)) {
            let name = policy().event_name(event);
            if let Ok(draft) = policy().draft_published(role, "the user", name, text, &rules) {
                assert!(
                    policy().owner_field(event).is_none()
                        || draft.audience.owner.as_deref() == Some("the user")
                );
                check(&draft);
            }
        }
    }
}
