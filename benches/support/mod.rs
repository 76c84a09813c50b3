//! Inputs of the benches, and how long each bench runs.

// Each bench is a crate of its own and uses its part of this.
#![allow(dead_code)]

pub mod shop;

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use omnicast::base::time::Now;
use omnicast::policy::Rules;

/// The time of everything that is measured.
pub const NOW: Now = Now { mono: 86_400_000, wall: 1_760_000_000_000 };

/// As a node reads events by default.
pub const RULES: Rules = Rules { validate: true, max_event_bytes: 256 << 10 };

/// The mask of every client: RFC 6455 section 5.7 has it in its examples.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The upgrade request of a browser.
pub const BROWSER_HEAD: &str = "GET /api/ws HTTP/1.1\r\n\
    Host: 127.0.0.1:3001\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: http://localhost:3000\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// The upgrade request of a client that says no more than it must.
pub const PLAIN_HEAD: &str = "GET /api/ws HTTP/1.1\r\nHost: 127.0.0.1:3001\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Events as a backend posts them, each with a short name.
pub const POSTED: [(&str, &str); 6] = [
    (
        "order_created",
        r#"{"type":"order:created","data":{"orderId":"order_1042","customerId":"user_77","customerName":"Ada Lovelace","total":129.95,"status":"pending","channel":"web"}}"#,
    ),
    (
        "order_updated",
        r#"{"type":"order:updated","data":{"orderId":"order_1042","customerId":"user_77","changes":{"shippingAddress":{"street":"Main Street 1","city":"London","postcode":"N1 9GU"},"items":[{"sku":"A-1","quantity":2},{"sku":"B-7","quantity":1}],"note":"leave it with the neighbour"}},"excludeSessionId":"session_9"}"#,
    ),
    (
        "customer_activity",
        r#"{"type":"customer:activity","data":{"customerId":"user_77","action":"cart_add","productId":"prod_5","productName":"Blue mug","timestamp":1760000000000}}"#,
    ),
    (
        "inventory_updated",
        r#"{"type":"inventory:updated","data":{"productId":"prod_5","productName":"Blue mug","sku":"MUG-B","oldStock":14,"newStock":12,"difference":-2,"reason":"sale"}}"#,
    ),
    (
        "payment_received",
        r#"{"type":"payment:received","data":{"paymentId":"pay_9","orderId":"order_1042","customerId":"user_77","amount":129.95,"method":"card","status":"success"},"idempotencyKey":"pay_9-received"}"#,
    ),
    (
        "system_notification",
        r#"{"type":"system:notification","data":{"title":"Stocktaking","message":"Counting begins at six","severity":"info","targetRoles":["staff","manager"]},"userIds":["user_1","user_2","user_3"]}"#,
    ),
];

/// A text of `size` bytes.
pub fn text(size: usize) -> String {
    "A realtime node for shops. ".chars().cycle().take(size).collect()
}

/// A whole text frame of a client.
pub fn client_frame(text: &str) -> Vec<u8> {
    let len = text.len();
    let mut frame = vec![0x81];
    match len {
        0..=125 => frame.push(0x80 | len as u8),
        126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(text.bytes().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The `auth` of trusted mode.
pub fn auth(user: &str, role: &str, session: &str) -> String {
    let expires_at = NOW.wall + 86_400_000;
    format!(
        r#"{{"type":"auth","id":1,"data":{{"userId":"{user}","role":"{role}","sessionId":"{session}","expiresAt":{expires_at}}}}}"#
    )
}

/// A group whose benches take about a second each, so that all of them together stay under
/// four minutes on two cores that others use too.
pub fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(15);
    group.nresamples(5_000);
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    group
}
