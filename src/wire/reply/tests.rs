use super::*;

#[test]
fn every_reply_has_the_shape_of_the_contract() {
    let id = Some(r#""a\u0062""#);
    let both = ["orders", "products"];
    let none: [&str; 0] = [];
    for (got, expected) in [
        (
            error(id, ErrorCode::RateLimited, "a \"b\"", &[("retryAfterMs", "600"), ("path", "\"data\"")]),
            r#"{"type":"error","id":"a\u0062","data":{"code":"rate_limited","message":"a \"b\"","retryable":true,"path":"data","retryAfterMs":600}}"#,
        ),
        (
            error(None, ErrorCode::BadJson, "x", &[]),
            r#"{"type":"error","data":{"code":"bad_json","message":"x","retryable":false}}"#,
        ),
        (
            subscribed(Some("1.0"), &both, "e", "7", None),
            r#"{"type":"subscribed","id":1.0,"data":{"namespaces":["orders","products"],"epoch":"e","lastEventId":"7"}}"#,
        ),
        (
            subscribed(None, &[String::from("orders")], "e", "7", Some(Recovery::Recovered)),
            r#"{"type":"subscribed","data":{"namespaces":["orders"],"epoch":"e","lastEventId":"7","recovered":true}}"#,
        ),
        (
            subscribed(None, &none, "e", "0", Some(Recovery::WindowExceeded)),
            r#"{"type":"subscribed","data":{"namespaces":[],"epoch":"e","lastEventId":"0","recovered":false,"reason":"window_exceeded"}}"#,
        ),
        (caught_up(&both[..1], 3), r#"{"type":"caught_up","data":{"namespaces":["orders"],"replayed":3}}"#),
        (
            unsubscribed(id, &both[..1]),
            r#"{"type":"unsubscribed","id":"a\u0062","data":{"namespaces":["orders"]}}"#,
        ),
        (pong(Some("7"), 5), r#"{"type":"pong","id":7,"timestamp":5}"#),
        (pong(None, 5), r#"{"type":"pong","timestamp":5}"#),
        (presence(None, 5), r#"{"type":"presence","data":{"customersOnline":5}}"#),
        (published(Some("7"), "42"), r#"{"type":"published","id":7,"data":{"eventId":"42"}}"#),
        (session_expiring(9), r#"{"type":"session_expiring","data":{"expiresAt":9}}"#),
        (
            closing(1001, "going_away", true, 250),
            r#"{"type":"closing","data":{"code":1001,"reason":"going_away","retry":true,"retryAfterMs":250}}"#,
        ),
    ] {
        assert_eq!(got, expected);
    }
}

#[test]
fn the_welcome_is_a_notification_without_a_position() {
    let got = welcome(&Welcome {
        reply_to: Some("7"),
        timestamp: 1,
        connection_id: "c",
        user_id: "u\n",
        role: "admin",
        namespaces: &["orders"],
        expires_at: 2,
        epoch: "e",
        last_event_id: "0",
    });
    assert_eq!(
        got,
        r#"{"type":"system:notification","namespace":"system","data":{"title":"Connected","message":"Authentication successful","severity":"success","connectionId":"c","userId":"u\n","role":"admin","namespaces":["orders"],"expiresAt":2,"epoch":"e","lastEventId":"0"},"timestamp":1,"replyTo":7}"#
    );
}

#[test]
fn codes_are_distinct() {
    let mut codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), ErrorCode::ALL.len());
    for recovery in [Recovery::EpochChanged, Recovery::WindowExceeded, Recovery::BadPosition] {
        assert!(recovery.reason().is_some());
    }
}
