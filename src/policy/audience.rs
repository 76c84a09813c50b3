//! The one predicate: whether an event reaches a viewer.
//!
//! It comes in two steps, so that most viewers cost a few bit operations: [`Audience::ask_class`]
//! decides for all viewers of a class at once where it can, and [`Audience::admits`] asks
//! about the person where it can't. Whether the viewer is authenticated and its session still
//! runs (rule 1) is for its connection to know: only such a connection is a viewer.

use std::collections::BTreeSet;

use crate::base::masks::Mask;
use crate::policy::names::{Namespace, Role};

/// What besides role and person an event asks of its viewers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reach {
    /// A subscription to the namespace, or to the event's key in it.
    Subscribers,
    /// Nothing: it is addressed, so it needs neither subscription nor a cell in the table.
    Addressed,
    /// Nothing, of nobody.
    Everybody,
}

/// To whom an event goes. Compiled once, when the event comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audience {
    /// The event's namespace.
    pub namespace: Namespace,
    /// What it asks besides role and person.
    pub reach: Reach,
    /// Roles that are admitted without asking who it is: those whose cell is `all`, of the roles
    /// the event names. Where the reach is not [`Reach::Subscribers`], the named roles, or all.
    pub roles: Mask,
    /// Roles that are admitted only where the viewer is the owner or one of the users: those whose
    /// cell is `own`, of the roles the event names.
    pub own_roles: Mask,
    /// The user the event is about.
    pub owner: Option<Box<str>>,
    /// Only these users, whatever their role. Sorted, so that one is found among many.
    pub users: Option<Box<[Box<str>]>>,
    /// Never these users. Sorted.
    pub exclude_users: Box<[Box<str>]>,
    /// Never this session.
    pub exclude_session: Option<Box<str>>,
    /// The entity the event is about, for keyed subscriptions.
    pub key: Option<Box<str>>,
}

/// What viewers have in common. A namespace is in at most one of the two masks; were it in
/// both, the subscription to all entities would count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ViewerClass {
    /// The viewer's role.
    pub role: Role,
    /// Namespaces subscribed to with all their entities.
    pub subscribed: Mask,
    /// Namespaces subscribed to for named keys only.
    pub keyed: Mask,
}

/// One authenticated connection, as the predicate sees it.
#[derive(Clone, Copy)]
pub struct Viewer<'a> {
    /// What it has in common with others.
    pub class: ViewerClass,
    /// Its user.
    pub user: &'a str,
    /// Its session.
    pub session: &'a str,
    /// The keys it subscribed to.
    pub keys: &'a dyn HoldsKey,
}

/// The keys of a viewer's keyed subscriptions.
pub trait HoldsKey {
    /// Whether the viewer asked for this entity of this namespace.
    fn holds(&self, namespace: Namespace, key: &str) -> bool;
}

/// No keys.
impl HoldsKey for () {
    fn holds(&self, _: Namespace, _: &str) -> bool {
        false
    }
}

/// A plain set. It looks at every member, so it is for few keys.
impl HoldsKey for BTreeSet<(Namespace, Box<str>)> {
    fn holds(&self, namespace: Namespace, key: &str) -> bool {
        self.iter().any(|(n, k)| *n == namespace && **k == *key)
    }
}

/// What a class alone says about an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Nobody of the class.
    No,
    /// Everybody of the class, except those whom the event excludes.
    Yes,
    /// It depends on the person: ask [`Audience::admits`].
    Ask,
}

impl Audience {
    /// Nobody, ever.
    #[must_use]
    pub fn nobody(namespace: Namespace) -> Audience {
        Audience {
            namespace,
            reach: Reach::Addressed,
            roles: Mask::EMPTY,
            own_roles: Mask::EMPTY,
            owner: None,
            users: None,
            exclude_users: Box::default(),
            exclude_session: None,
            key: None,
        }
    }

    /// What the class alone says. Bit operations only.
    #[must_use]
    pub fn ask_class(&self, class: &ViewerClass) -> Verdict {
        let freely = self.roles.has(class.role.0);
        if !freely && !self.own_roles.has(class.role.0) {
            return Verdict::No;
        }
        let by_key = self.wants_key(class);
        if by_key && (self.key.is_none() || !class.keyed.has(self.namespace.0)) {
            return Verdict::No;
        }
        match (&self.users, &self.owner) {
            (None, None) if !freely => Verdict::No,
            (None, _) if freely && !by_key => Verdict::Yes,
            _ => Verdict::Ask,
        }
    }

    /// Whether the event reaches this viewer.
    #[must_use]
    pub fn admits(&self, viewer: &Viewer<'_>) -> bool {
        let named = match self.ask_class(&viewer.class) {
            Verdict::No => return false,
            Verdict::Yes => true,
            Verdict::Ask => self.admits_person(viewer) && self.admits_keys(viewer),
        };
        named && !self.excludes(viewer)
    }

    /// The people about whom the class does not decide: the owner (where a role sees only what
    /// is its own), the users, the excluded users. Somebody may come twice.
    pub fn persons(&self) -> impl Iterator<Item = &str> {
        let owner = self.owner.as_deref().filter(|_| !self.own_roles.is_empty());
        let users = self.users.iter().flat_map(|users| users.iter());
        owner.into_iter().chain(users.chain(self.exclude_users.iter()).map(|user| &**user))
    }

    /// Whether a viewer of the class gets it only for a key it holds.
    fn wants_key(&self, class: &ViewerClass) -> bool {
        self.reach == Reach::Subscribers && !class.subscribed.has(self.namespace.0)
    }

    /// Rules 2 and 4: the users it names, else the owner, where the role sees only its own.
    fn admits_person(&self, viewer: &Viewer<'_>) -> bool {
        match &self.users {
            Some(users) => names(users, viewer.user),
            None => self.roles.has(viewer.class.role.0) || self.owner.as_deref() == Some(viewer.user),
        }
    }

    fn admits_keys(&self, viewer: &Viewer<'_>) -> bool {
        !self.wants_key(&viewer.class)
            || self.key.as_deref().is_some_and(|key| viewer.keys.holds(self.namespace, key))
    }

    fn excludes(&self, viewer: &Viewer<'_>) -> bool {
        self.exclude_session.as_deref() == Some(viewer.session) || names(&self.exclude_users, viewer.user)
    }
}

/// Whether the sorted `users` name this one.
fn names(users: &[Box<str>], user: &str) -> bool {
    users.binary_search_by(|named| (**named).cmp(user)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, Rules};
    use proptest::prelude::*;

    const USERS: [&str; 3] = ["ann", "bob", "cy"];
    const SESSIONS: [&str; 3] = ["s1", "s2", "s3"];
    const KEYS: [&str; 3] = ["ann", "o1", "o2"];

    /// An event in the words of its publisher.
    #[derive(Clone, Debug)]
    struct Posted {
        event: &'static str,
        namespace: &'static str,
        roles: Option<Vec<&'static str>>,
        roles_in: usize,
        users: Option<Vec<&'static str>>,
        owner: Option<&'static str>,
        exclude_users: Vec<&'static str>,
        exclude_session: Option<&'static str>,
        key: Option<&'static str>,
    }

    #[derive(Clone, Debug)]
    struct Person {
        role: &'static str,
        user: &'static str,
        session: &'static str,
        subscribed: Vec<&'static str>,
        keyed: Vec<(&'static str, &'static str)>,
    }

    const ROLES: [&str; 5] = ["admin", "manager", "staff", "customer", "guest"];
    const EVENTS: [(&str, &str); 7] = [
        ("order:created", "orders"),
        ("order:created", "orders"),
        ("customer:activity", "customers"),
        ("product:created", "products"),
        ("payment:failed", "payments"),
        ("system:notification", "system"),
        ("system:maintenance", "system"),
    ];
    const NAMESPACES: [&str; 6] = ["orders", "customers", "products", "inventory", "payments", "system"];

    fn some_of(from: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        proptest::sample::subsequence(from, 1..=from.len().min(3))
    }

    fn posted() -> impl Strategy<Value = Posted> {
        (
            proptest::sample::select(&EVENTS[..]),
            proptest::option::weighted(0.4, some_of(&ROLES)),
            0usize..3,
            proptest::option::weighted(0.3, some_of(&USERS)),
            proptest::option::of(proptest::sample::select(&USERS[..])),
            proptest::option::weighted(0.2, some_of(&USERS)),
            proptest::option::weighted(0.2, proptest::sample::select(&SESSIONS[..])),
            proptest::option::of(proptest::sample::select(&KEYS[..])),
        )
            .prop_map(
                |((event, namespace), roles, roles_in, users, owner, ex, exclude_session, key)| Posted {
                    event,
                    namespace,
                    roles,
                    roles_in,
                    users,
                    owner,
                    exclude_users: ex.unwrap_or_default(),
                    exclude_session,
                    key,
                },
            )
    }

    fn person() -> impl Strategy<Value = Person> {
        (
            proptest::sample::select(&ROLES[..]),
            proptest::sample::select(&USERS[..]),
            proptest::sample::select(&SESSIONS[..]),
            proptest::sample::subsequence(&NAMESPACES[..], 0..=6),
            proptest::collection::vec(
                (proptest::sample::select(&NAMESPACES[..]), proptest::sample::select(&KEYS[..])),
                0..6,
            ),
        )
            .prop_map(|(role, user, session, subscribed, keyed)| {
                let keyed = keyed.into_iter().filter(|(n, _)| !subscribed.contains(n)).collect();
                Person { role, user, session, subscribed, keyed }
            })
    }

    /// The five rules, sentence by sentence, in names instead of masks.
    fn oracle(event: &Posted, viewer: &Person) -> bool {
        let cell = match (viewer.role, event.namespace) {
            ("admin", _) => "all",
            ("manager", namespace) if namespace != "system" => "all",
            ("staff", "orders" | "customers" | "products" | "inventory") => "all",
            ("customer", "orders") => "own",
            ("customer" | "guest", "products") => "all",
            _ => "-",
        };
        let addressed = event.namespace == "system" && (event.roles.is_some() || event.users.is_some());
        let everybody = event.event == "system:maintenance" && !addressed;
        let in_users = event.users.as_ref().is_some_and(|users| users.contains(&viewer.user));
        let role_may_see = match cell {
            "all" => true,
            "own" => event.owner == Some(viewer.user) || in_users,
            _ => addressed || everybody,
        };
        let subscribed = viewer.subscribed.contains(&event.namespace)
            || event.key.is_some_and(|key| viewer.keyed.contains(&(event.namespace, key)));
        let role_is_named = event.roles.as_ref().is_none_or(|roles| roles.contains(&viewer.role));
        let user_is_named = event.users.is_none() || in_users;
        let excluded =
            event.exclude_users.contains(&viewer.user) || event.exclude_session == Some(viewer.session);
        role_may_see && (subscribed || addressed || everybody) && role_is_named && user_is_named && !excluded
    }

    /// The event as JSON, read back by the policy.
    fn audience(policy: &Policy, posted: &Posted) -> Audience {
        let mut event = serde_json::json!({"type": posted.event, "data": {}});
        if let Some(roles) = &posted.roles {
            match posted.roles_in {
                0 => event["roles"] = serde_json::json!(roles),
                1 => event["targetRoles"] = serde_json::json!(roles),
                _ if posted.namespace == "system" => event["data"]["targetRoles"] = serde_json::json!(roles),
                _ => event["roles"] = serde_json::json!(roles),
            }
        }
        if let Some(users) = &posted.users {
            event["userIds"] = serde_json::json!(users);
        }
        if let Some(owner) = posted.owner {
            event["data"]["customerId"] = serde_json::json!(owner);
        }
        if !posted.exclude_users.is_empty() {
            event["excludeUserIds"] = serde_json::json!(posted.exclude_users);
        }
        if let Some(session) = posted.exclude_session {
            event["excludeSessionId"] = serde_json::json!(session);
        }
        if let Some(key) = posted.key {
            event["key"] = serde_json::json!(key);
        }
        let rules = Rules { validate: false, max_event_bytes: 4096 };
        policy.draft_posted(&event.to_string(), &rules).expect("a good event").audience
    }

    /// Without a posted key the owner is the key in `customers`: the oracle is told so.
    fn with_default_key(mut posted: Posted) -> Posted {
        if posted.namespace == "customers" && posted.key.is_none() {
            posted.key = posted.owner;
        }
        posted
    }

    fn class(policy: &Policy, person: &Person) -> ViewerClass {
        let mask = |names: &mut dyn Iterator<Item = &'static str>| {
            names.fold(Mask::EMPTY, |m, n| m | Mask::only(policy.namespace(n).expect("known").0))
        };
        ViewerClass {
            role: policy.role(person.role).expect("known"),
            subscribed: mask(&mut person.subscribed.iter().copied()),
            keyed: mask(&mut person.keyed.iter().map(|(n, _)| *n)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn admits_by_the_five_rules_and_the_class_agrees(posted in posted(), person in person()) {
            let policy = Policy::builtin();
            let audience = audience(&policy, &posted);
            let posted = with_default_key(posted);
            let keys: BTreeSet<(Namespace, Box<str>)> =
                person.keyed.iter().map(|(n, k)| (policy.namespace(n).expect("known"), (*k).into())).collect();
            let viewer =
                Viewer { class: class(&policy, &person), user: person.user, session: person.session, keys: &keys };
            let admits = audience.admits(&viewer);
            prop_assert_eq!(admits, oracle(&posted, &person));
            let excluded = posted.exclude_users.contains(&person.user)
                || posted.exclude_session == Some(person.session);
            match audience.ask_class(&viewer.class) {
                Verdict::No => prop_assert!(!admits),
                Verdict::Yes => prop_assert_eq!(admits, !excluded),
                // Whom the class does not decide about, and who is let in for being somebody, is listed.
                Verdict::Ask if admits && viewer.class.keyed.is_empty() => {
                    prop_assert!(audience.persons().any(|p| p == person.user));
                }
                Verdict::Ask => {}
            }
        }
    }

    #[test]
    fn a_class_is_refused_when_nobody_in_it_could_be_admitted() {
        let orders = Namespace(0);
        let (own, all) = (Role(1), Role(0));
        let audience = Audience {
            namespace: orders,
            reach: Reach::Subscribers,
            roles: Mask::only(all.0),
            own_roles: Mask::only(own.0),
            owner: None,
            users: None,
            exclude_users: Box::default(),
            exclude_session: None,
            key: None,
        };
        let live = Mask::only(orders.0);
        let class = |role, subscribed, keyed| ViewerClass { role, subscribed, keyed };
        let ask = |a: &Audience, c: ViewerClass| a.ask_class(&c);
        assert_eq!(ask(&audience, class(all, live, Mask::EMPTY)), Verdict::Yes);
        assert_eq!(ask(&audience, class(all, Mask::EMPTY, Mask::EMPTY)), Verdict::No);
        assert_eq!(ask(&audience, class(all, Mask::EMPTY, live)), Verdict::No, "no key");
        assert_eq!(ask(&audience, class(own, live, Mask::EMPTY)), Verdict::No, "no owner");
        assert_eq!(ask(&audience, class(Role(2), live, Mask::EMPTY)), Verdict::No, "no cell");
        let audience = Audience { key: Some("k".into()), owner: Some("ann".into()), ..audience };
        assert_eq!(ask(&audience, class(all, Mask::EMPTY, live)), Verdict::Ask);
        assert_eq!(ask(&audience, class(own, live, Mask::EMPTY)), Verdict::Ask);
        let audience = Audience { users: Some(["ann".into()].into()), ..audience };
        assert_eq!(ask(&audience, class(all, live, Mask::EMPTY)), Verdict::Ask);
        let audience = Audience { reach: Reach::Everybody, users: None, ..audience };
        assert_eq!(ask(&audience, class(all, Mask::EMPTY, Mask::EMPTY)), Verdict::Yes);
    }

    #[test]
    fn each_of_many_users_is_found_in_whatever_order_they_were_named() {
        let users: Vec<String> = (0..1_000).rev().map(|n| format!("user_{n}")).collect();
        let policy = Policy::builtin();
        let rules = Rules { validate: false, max_event_bytes: 1 << 20 };
        let posted = serde_json::json!({
            "type": "product:deleted", "data": {"productId": "p"},
            "userIds": users, "excludeUserIds": users[500..],
        });
        let audience = policy.draft_posted(&posted.to_string(), &rules).expect("a good event").audience;
        let class = ViewerClass {
            role: policy.role("guest").expect("a role"),
            subscribed: Mask::only(audience.namespace.0),
            keyed: Mask::EMPTY,
        };
        let admits = |user: &str| audience.admits(&Viewer { class, user, session: "s", keys: &() });
        assert!(users[..500].iter().all(|user| admits(user)));
        assert!(!users[500..].iter().any(|user| admits(user)), "excluded");
        assert!(!admits("user_") && !admits("user_1000") && !admits("zoe"));
    }

    #[test]
    fn nobody_is_nobody_whatever_they_subscribed_to() {
        let policy = Policy::builtin();
        for namespace in policy.namespaces() {
            let audience = Audience::nobody(namespace);
            for role in policy.roles() {
                let class = ViewerClass { role, subscribed: Mask::first(32), keyed: Mask::first(32) };
                assert_eq!(audience.ask_class(&class), Verdict::No);
                assert!(!audience.admits(&Viewer { class, user: "u", session: "s", keys: &() }));
            }
        }
        assert_eq!(Audience::nobody(Namespace(0)).persons().count(), 0);
    }

    #[test]
    fn owners_are_persons_only_where_ownership_counts() {
        let policy = Policy::builtin();
        let rules = Rules { validate: false, max_event_bytes: 4096 };
        let persons = |raw: &str| {
            let draft = policy.draft_posted(raw, &rules).expect("a good event");
            draft.audience.persons().map(str::to_owned).collect::<Vec<_>>()
        };
        let data = r#""data":{"customerId":"ann"},"excludeUserIds":["bob"]"#;
        assert_eq!(persons(&format!(r#"{{"type":"order:deleted",{data}}}"#)), ["ann", "bob"]);
        assert_eq!(persons(&format!(r#"{{"type":"payment:failed",{data}}}"#)), ["bob"]);
        assert_eq!(persons(&format!(r#"{{"type":"order:deleted","roles":["admin"],{data}}}"#)), ["bob"]);
    }
}
