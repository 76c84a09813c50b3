//! What is posted, and who is to see it: pure functions of a seed and a number.

use crate::rng::Rng;

/// Numbers from here on are those of markers: events for everybody.
pub const MARKERS: u64 = 1 << 40;
/// Customers that events are about.
const CUSTOMERS: u64 = 4;
/// Orders and products that events are about.
const ENTITIES: u64 = 20;

/// A posted event.
#[derive(Debug, Default)]
pub struct Event {
    pub kind: &'static str,
    pub namespace: &'static str,
    /// Its data as posted, and as everybody gets it.
    pub data: String,
    pub owner: Option<String>,
    pub key: Option<String>,
    roles: Vec<&'static str>,
    users: Vec<String>,
    exclude_users: Vec<String>,
}

/// The idempotency key of event `n`.
pub fn idempotency_key(seed: u64, n: u64) -> String {
    format!("k_{seed:x}_{n}")
}

impl Event {
    /// Event `n` of a run.
    pub fn of(seed: u64, n: u64) -> Event {
        let mut rng = Rng::new(seed ^ n.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let tail = format!(
            r#""n":{n},"k":"{}","pad":"{}""#,
            idempotency_key(seed, n),
            "x".repeat(pad_bytes(&mut rng))
        );
        if n >= MARKERS {
            let data = format!(r#"{{"message":"marker",{tail}}}"#);
            return Event { kind: "system:maintenance", namespace: "system", data, ..Event::default() };
        }
        let customer = format!("cust_{}", rng.within(1, CUSTOMERS));
        let order = format!("order_{}", rng.within(1, ENTITIES));
        let product = format!("prod_{}", rng.within(1, ENTITIES));
        let mut event = match rng.weighted(&[30, 20, 10, 15, 10, 5, 10]) {
            0 => Event {
                kind: "order:created",
                namespace: "orders",
                data: format!(
                    r#"{{"orderId":"{order}","customerId":"{customer}","customerName":"Ada","total":129.90,"status":"pending","channel":"web",{tail}}}"#
                ),
                owner: Some(customer),
                key: Some(order),
                ..Event::default()
            },
            1 => Event {
                kind: "order:updated",
                namespace: "orders",
                data: format!(r#"{{"orderId":"{order}","changes":{{"note":"é"}},{tail}}}"#),
                key: Some(order),
                ..Event::default()
            },
            2 => Event {
                kind: "payment:refunded",
                namespace: "payments",
                data: format!(
                    r#"{{"paymentId":"pay","orderId":"{order}","customerId":"{customer}","amount":1e2,{tail}}}"#
                ),
                owner: Some(customer),
                key: Some(order),
                ..Event::default()
            },
            3 => Event {
                kind: "product:deleted",
                namespace: "products",
                data: format!(r#"{{"productId":"{product}",{tail}}}"#),
                key: Some(product),
                ..Event::default()
            },
            4 => Event {
                kind: "inventory:out_of_stock",
                namespace: "inventory",
                data: format!(r#"{{"productId":"{product}","productName":"Mug","sku":"M",{tail}}}"#),
                key: Some(product),
                ..Event::default()
            },
            5 => Event {
                kind: "customer:viewing_product",
                namespace: "customers",
                data: format!(
                    r#"{{"customerId":"{customer}","productId":"{product}","productName":"Mug",{tail}}}"#
                ),
                owner: Some(customer.clone()),
                key: Some(customer),
                ..Event::default()
            },
            _ => Event {
                kind: "system:notification",
                namespace: "system",
                data: format!(r#"{{"title":"t","message":"m","severity":"info",{tail}}}"#),
                ..Event::default()
            },
        };
        if rng.percent(if event.namespace == "system" { 80 } else { 15 }) {
            event.roles = rng.some_of(&["admin", "manager", "staff", "customer", "guest"], 3);
        }
        if rng.percent(10) {
            event.users = (1..=2).map(|_| format!("cust_{}", rng.within(1, CUSTOMERS))).collect();
        }
        if rng.percent(10) {
            event.exclude_users = vec![format!("cust_{}", rng.within(1, CUSTOMERS))];
        }
        event
    }

    /// What the node posts itself when a customer comes or goes.
    pub fn presence(online: bool, customer: &str) -> Event {
        Event {
            kind: if online { "customer:online" } else { "customer:offline" },
            namespace: "customers",
            owner: Some(customer.to_owned()),
            key: Some(customer.to_owned()),
            ..Event::default()
        }
    }

    /// The text of a post.
    pub fn body(&self, seed: u64, n: u64) -> String {
        let mut body = format!(
            r#"{{"type":"{}","data":{},"idempotencyKey":"{}""#,
            self.kind,
            self.data,
            idempotency_key(seed, n)
        );
        let mut list = |name: &str, items: &[&str]| {
            if !items.is_empty() {
                body.push_str(&format!(r#","{name}":["{}"]"#, items.join(r#"",""#)));
            }
        };
        list(if self.namespace == "system" { "targetRoles" } else { "roles" }, &self.roles);
        list("userIds", &self.users.iter().map(|user| &**user).collect::<Vec<_>>());
        list("excludeUserIds", &self.exclude_users.iter().map(|user| &**user).collect::<Vec<_>>());
        body.push('}');
        body
    }
}

/// Mostly small, some as large as they come: 20 KB.
fn pad_bytes(rng: &mut Rng) -> usize {
    let most = [50, 400, 3_000, 20_000][rng.weighted(&[45, 30, 18, 7])];
    rng.below(most)
}

/// Somebody who watches.
#[derive(Clone, Copy, Debug)]
pub struct Viewer {
    pub role: &'static str,
    pub user: &'static str,
    pub namespaces: &'static [&'static str],
    /// Only these entities; none is all.
    pub keys: &'static [&'static str],
}

const fn viewer(role: &'static str, user: &'static str, namespaces: &'static [&'static str]) -> Viewer {
    Viewer { role, user, namespaces, keys: &[] }
}

const ALL: &[&str] = &["orders", "customers", "products", "inventory", "payments", "system"];

/// Those who watch a run.
pub const VIEWERS: [Viewer; 12] = [
    viewer("admin", "boss", ALL),
    viewer("admin", "cashier", &["payments", "system"]),
    viewer("manager", "ann", &["orders", "customers", "products", "inventory", "payments"]),
    Viewer { keys: &["prod_1", "prod_2", "prod_3"], ..viewer("manager", "bob", &["products", "inventory"]) },
    viewer("staff", "cho", &["orders", "inventory"]),
    Viewer { keys: &["order_1", "order_7"], ..viewer("staff", "dan", &["orders"]) },
    viewer("staff", "eve", &["customers", "products"]),
    viewer("customer", "cust_1", &["orders", "products"]),
    Viewer { keys: &["prod_4", "order_2"], ..viewer("customer", "cust_1", &["orders", "products"]) },
    viewer("customer", "cust_2", &["orders"]),
    viewer("customer", "cust_9", &["products"]),
    viewer("guest", "visitor", &["products"]),
];

impl Viewer {
    /// Whether it is to get `event`: the rights table, said anew.
    pub fn sees(&self, event: &Event) -> bool {
        let among_users = event.users.iter().any(|user| user == self.user);
        let named = (event.roles.is_empty() || event.roles.contains(&self.role))
            && (event.users.is_empty() || among_users)
            && !event.exclude_users.iter().any(|user| user == self.user);
        let subscribed = self.namespaces.contains(&event.namespace)
            && (self.keys.is_empty() || event.key.as_deref().is_some_and(|key| self.keys.contains(&key)));
        let own = among_users || event.owner.as_deref() == Some(self.user);
        let addressed = !event.roles.is_empty() || !event.users.is_empty();
        let allowed = match (self.role, event.namespace) {
            (_, "system") if addressed || event.kind == "system:maintenance" => return named,
            ("admin", _) => true,
            ("manager", namespace) => namespace != "system",
            ("staff", namespace) => namespace != "system" && namespace != "payments",
            ("customer", "orders") => own,
            ("customer" | "guest", namespace) => namespace == "products",
            _ => false,
        };
        named && subscribed && allowed
    }
}
