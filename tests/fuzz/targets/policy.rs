//! Policy files: what is taken can be asked anything, what is not is told in a line.

use omnicast::policy::{Policy, Rules};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(fault) => {
            let why = fault.to_string();
            assert!(!why.is_empty() && why.len() < 2000 && !why.contains(['\n', '\x1b']), "{why}");
            return;
        }
    };
    assert!(!policy.table().is_empty());
    for namespace in policy.namespaces() {
        assert_eq!(policy.namespace(policy.namespace_name(namespace)), Some(namespace));
        for event in policy.events_of(namespace) {
            assert_eq!(policy.event_namespace(event), namespace);
        }
    }
    let rules = Rules { validate: true, max_event_bytes: 10_000 };
    for event in policy.event_types() {
        let name = policy.event_name(event);
        assert_eq!(policy.event_type(name), Some(event));
        let posted = serde_json::json!({"type": name, "data": {}}).to_string();
        if let Ok(draft) = policy.draft_posted(&posted, &rules) {
            assert_eq!(draft.event, event);
        }
        for role in policy.roles() {
            let _ = policy.draft_published(role, "u", name, "{}", &rules);
        }
    }
    for role in policy.roles() {
        assert_eq!(policy.role(policy.role_name(role)), Some(role));
        // What it sees as its own or as a whole is what it may ask for.
        let visible = policy.visible(role);
        assert!(policy.sees_all(role).without(visible).is_empty());
        assert!(policy.sees_own(role).without(visible).is_empty());
    }
    let _ = policy.draft_presence("u", true, 1);
}
