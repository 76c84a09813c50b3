//! The contract's table of event types, written out a second time, and events made from it.

/// Type, namespace, and fields as `name:kind`; a `?` marks the optional ones.
pub const TYPES: [(&str, &str, &str); 23] = [
    (
        "order:created",
        "orders",
        "orderId:id customerId:id customerName:text total:number \
         status:pending|processing|shipped|delivered|cancelled channel:text",
    ),
    ("order:updated", "orders", "orderId:id customerId?:id changes:object"),
    (
        "order:status_changed",
        "orders",
        "orderId:id customerId:id customerName:text oldStatus:pending|processing|shipped|delivered|cancelled \
         newStatus:shipped|pending|processing|delivered|cancelled timestamp:ms",
    ),
    ("order:deleted", "orders", "orderId:id customerId?:id"),
    (
        "customer:activity",
        "customers",
        "customerId:id customerName?:text \
         action:viewing|cart_add|cart_remove|checkout_start|checkout_complete productId?:id productName?:text \
         timestamp:ms",
    ),
    ("customer:viewing_product", "customers", "customerId:id productId:id productName:text duration?:number"),
    ("customer:added_to_cart", "customers", "customerId:id productId:id productName:text quantity:number"),
    ("customer:online", "customers", "customerId:id isOnline:boolean lastSeen:ms"),
    ("customer:offline", "customers", "customerId:id isOnline:boolean lastSeen:ms"),
    (
        "inventory:updated",
        "inventory",
        "productId:id productName:text sku:text oldStock:number newStock:number difference:number \
         reason?:sale|restock|adjustment|return",
    ),
    (
        "inventory:low_stock",
        "inventory",
        "productId:id productName:text sku:text currentStock:number threshold:number severity:low|critical",
    ),
    ("inventory:out_of_stock", "inventory", "productId:id productName:text sku:text"),
    (
        "inventory:restocked",
        "inventory",
        "productId:id productName:text sku:text newStock:number addedQuantity:number",
    ),
    (
        "product:price_changed",
        "products",
        "productId:id productName:text sku:text oldPrice:number newPrice:number changePercentage:number",
    ),
    ("product:created", "products", "productId:id productName:text category:text price:number"),
    ("product:updated", "products", "productId:id changes:object"),
    ("product:deleted", "products", "productId:id"),
    (
        "payment:received",
        "payments",
        "paymentId:id orderId:id customerId:id amount:number method:text status:success|pending|failed",
    ),
    (
        "payment:failed",
        "payments",
        "paymentId:id orderId:id customerId:id amount:number reason:text retryable:boolean",
    ),
    ("payment:refunded", "payments", "paymentId:id orderId:id customerId:id amount:number reason?:text"),
    (
        "system:notification",
        "system",
        "title:text message:text severity:info|warning|error|success targetRoles?:roles actionUrl?:text",
    ),
    (
        "system:alert",
        "system",
        "title:text message:text severity:info|warning|error|success targetRoles?:roles",
    ),
    ("system:maintenance", "system", "message:text scheduledAt?:ms duration?:number"),
];

/// One field of a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    pub name: &'static str,
    pub kind: &'static str,
    pub required: bool,
}

/// The fields of a row of [`TYPES`].
pub fn fields(row: &'static str) -> Vec<Field> {
    let field = |text: &'static str| {
        let (name, kind) = text.split_once(':').unwrap();
        Field { name: name.trim_end_matches('?'), kind, required: !name.ends_with('?') }
    };
    row.split_whitespace().map(field).collect()
}

impl Field {
    /// JSON text of a good value. Everything with `customerId` is about `cust_1`.
    pub fn good(&self) -> String {
        match self.kind {
            "id" if self.name == "customerId" => r#""cust_1""#.into(),
            "id" => format!("\"{}_1\"", self.name),
            "text" => r#""Zoë 漢字 😀 \u001b \"q\"""#.into(),
            "number" => "123456789012345678901234567890".into(),
            "boolean" => "true".into(),
            "object" => r#"{"status":"shipped","by":9007199254740993}"#.into(),
            "ms" => "1700000000000".into(),
            "roles" => r#"["admin"]"#.into(),
            words => format!("\"{}\"", words.split('|').next().unwrap()),
        }
    }

    /// JSON texts of wrong values, and the code that refuses each.
    pub fn bad(&self) -> Vec<(&'static str, &'static str)> {
        let mut bad = vec![("null", "wrong_type")];
        bad.extend_from_slice(match self.kind {
            "id" => &[("7", "wrong_type"), ("\"a\\nb\"", "bad_value")][..],
            "text" => &[("7", "wrong_type"), ("{}", "wrong_type")],
            "number" => &[("\"7\"", "wrong_type"), ("true", "wrong_type"), ("1e999", "bad_value")],
            "boolean" => &[("\"true\"", "wrong_type"), ("1", "wrong_type")],
            "object" => &[("[]", "wrong_type"), ("\"{}\"", "wrong_type")],
            "ms" => &[("\"now\"", "wrong_type"), ("1.5", "bad_value"), ("-1", "bad_value")],
            "roles" => &[("\"admin\"", "wrong_type"), ("[\"boss\"]", "unknown_role"), ("[]", "empty_list")],
            _ => &[("7", "wrong_type"), ("\"nope\"", "bad_value"), ("\"\"", "bad_value")],
        });
        bad
    }
}

/// The JSON text of `data` with all of `fields`, where `value` may put another value or (with
/// `None`) nothing.
pub fn data(fields: &[Field], value: impl Fn(&Field) -> Option<String>) -> String {
    let member = |field| value(field).map(|text| format!("\"{}\":{text}", field.name));
    format!("{{{}}}", fields.iter().filter_map(member).collect::<Vec<_>>().join(","))
}

/// The JSON text of a good event of this row.
pub fn event((name, _, row): &(&'static str, &'static str, &'static str), required_only: bool) -> String {
    let data = data(&fields(row), |f| (f.required || !required_only).then(|| f.good()));
    format!(r#"{{"type":"{name}","data":{data}}}"#)
}
