//! Who should get what: the five rules of the wire contract, sentence by sentence, over facts in
//! the words of those who posted them. Nothing of the node's own filter is used.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::rng::Rng;

pub const ROLES: [&str; 5] = ["admin", "manager", "staff", "customer", "guest"];
pub const NAMESPACES: [&str; 6] = ["orders", "customers", "products", "inventory", "payments", "system"];
pub const USERS: [&str; 8] = ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"];
pub const SESSIONS: [&str; 10] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
/// Entities; users are entities of `customers`.
pub const KEYS: [&str; 6] = ["k0", "k1", "k2", "k3", "u0", "u3"];

/// The table of the contract.
pub fn cell(role: &str, namespace: &str) -> &'static str {
    match (role, namespace) {
        ("admin", _) => "all",
        (_, "system") => "-",
        ("manager", _) => "all",
        ("staff", "payments") => "-",
        ("staff", _) => "all",
        (_, "products") => "all",
        ("customer", "orders") => "own",
        _ => "-",
    }
}

/// An event as its publisher knows it.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    pub event: String,
    pub namespace: String,
    pub owner: Option<String>,
    pub key: Option<String>,
    pub roles: Option<Vec<&'static str>>,
    pub users: Option<Vec<&'static str>>,
    pub exclude_users: Vec<&'static str>,
    pub exclude_session: Option<&'static str>,
    /// Bytes of its frame: what the window counts.
    pub frame_bytes: usize,
}

impl Fact {
    /// It names somebody, and `system` needs no subscription then.
    fn is_addressed(&self) -> bool {
        self.namespace == "system" && (self.roles.is_some() || self.users.is_some())
    }

    /// It reaches those whom it is for without a subscription.
    pub fn is_unasked(&self) -> bool {
        self.is_addressed() || self.event == "system:maintenance"
    }
}

/// One authenticated client as the rules see it. Keys: none = all entities of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub user: String,
    pub session: String,
    pub role: &'static str,
    pub expires_at: u64,
    pub asked: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Person {
    /// A change of role ends what the new role may not see.
    pub fn become_role(&mut self, role: &'static str) {
        self.role = role;
        self.asked.retain(|namespace, _| cell(role, namespace) != "-");
    }

    /// Rules 2 to 5; rule 1 is the caller's.
    pub fn is_due(&self, fact: &Fact) -> bool {
        let named = |list: &Option<Vec<&str>>, name: &str| list.as_ref().is_none_or(|l| l.contains(&name));
        if !fact.is_unasked() {
            let is_own = fact.owner.as_deref() == Some(&*self.user)
                || fact.users.as_ref().is_some_and(|users| users.contains(&&*self.user));
            match cell(self.role, &fact.namespace) {
                "all" => {}
                "own" if is_own => {}
                _ => return false,
            }
            match self.asked.get(&fact.namespace) {
                None => return false,
                Some(None) => {}
                Some(Some(keys)) => {
                    if !fact.key.as_ref().is_some_and(|key| keys.contains(key)) {
                        return false;
                    }
                }
            }
        }
        named(&fact.roles, self.role)
            && named(&fact.users, &self.user)
            && !fact.exclude_users.contains(&&*self.user)
            && fact.exclude_session != Some(&*self.session)
    }
}

/// Invents an event: the fact, and the JSON that a backend would post.
pub fn invent(rng: &mut Rng, padding: usize) -> (Fact, Value) {
    const EVENTS: [&str; 9] = [
        "order:created",
        "order:deleted",
        "customer:activity",
        "product:deleted",
        "inventory:out_of_stock",
        "payment:refunded",
        "system:notification",
        "system:alert",
        "system:maintenance",
    ];
    let event = EVENTS[rng.weighted(&[30, 10, 10, 25, 15, 10, 6, 3, 2])];
    let (key, owner) = (rng.pick(&KEYS), rng.pick(&USERS));
    let pad = "ä".repeat(rng.below(padding + 1));
    let mut fact = Fact { event: event.into(), ..Fact::default() };
    let (namespace, data) = match event {
        "order:created" => (
            "orders",
            json!({"orderId": key, "customerId": owner, "customerName": pad, "total": 1.5,
                   "status": "pending", "channel": "web"}),
        ),
        "order:deleted" if rng.percent(50) => ("orders", json!({"orderId": key, "pad": pad})),
        "order:deleted" => ("orders", json!({"orderId": key, "customerId": owner, "pad": pad})),
        "customer:activity" => {
            ("customers", json!({"customerId": owner, "action": "viewing", "timestamp": 1, "pad": pad}))
        }
        "product:deleted" => ("products", json!({"productId": key, "pad": pad})),
        "inventory:out_of_stock" => ("inventory", json!({"productId": key, "productName": pad, "sku": "x"})),
        "payment:refunded" => (
            "payments",
            json!({"paymentId": "p", "orderId": key, "customerId": owner, "amount": 2, "pad": pad}),
        ),
        "system:maintenance" => ("system", json!({"message": pad})),
        _ => ("system", json!({"title": "t", "message": pad, "severity": "info"})),
    };
    fact.namespace = namespace.into();
    fact.owner = data.get("customerId").and_then(Value::as_str).map(String::from);
    fact.key = match namespace {
        "customers" => fact.owner.clone(),
        "system" => None,
        _ => Some(key.into()),
    };
    let mut posted = json!({"type": event, "data": data});
    if rng.percent(20) || (namespace == "system" && rng.percent(50)) {
        let roles = rng.some_of(&ROLES, 3);
        match rng.below(3) {
            0 => posted["roles"] = json!(roles),
            1 if event == "system:notification" => posted["data"]["targetRoles"] = json!(roles),
            _ => posted["targetRoles"] = json!(roles),
        }
        fact.roles = Some(roles);
    }
    if rng.percent(15) {
        let users = rng.some_of(&USERS, 3);
        posted["userIds"] = json!(users);
        fact.users = Some(users);
    }
    if rng.percent(10) {
        fact.exclude_users = rng.some_of(&USERS, 2);
        posted["excludeUserIds"] = json!(fact.exclude_users);
    }
    if rng.percent(10) {
        let session = rng.pick(&SESSIONS);
        posted["excludeSessionId"] = json!(session);
        fact.exclude_session = Some(session);
    }
    if rng.percent(10) {
        let key = rng.pick(&KEYS);
        posted["key"] = json!(key);
        fact.key = Some(key.into());
    }
    (fact, posted)
}
