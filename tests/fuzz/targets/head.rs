//! Request heads: where they end, what they say, and whether they ask for a WebSocket.

use omnicast::wire::head::{HEAD_BYTES_MAX, HEADERS_MAX, body_length, find_end, parse};
use omnicast::wire::origin::Origins;
use omnicast::wire::upgrade::{accept_response, check_upgrade};

pub fn run(data: &[u8]) {
    let end = find_end(data, &mut 0);
    let mut scanned = 0;
    let step = 1 + data.len() % 7;
    let cuts = (step..data.len()).step_by(step).chain([data.len()]);
    let found = cuts.into_iter().find_map(|cut| find_end(&data[..cut], &mut scanned));
    assert_eq!(found, end, "the same end however it is cut up");

    let Some(end) = end else { return };
    let Ok(head) = parse(&data[..end]) else { return };
    assert!(end <= HEAD_BYTES_MAX && head.headers().count() <= HEADERS_MAX);
    assert!(head.path().starts_with('/') || head.path() == "*", "{}", head.path());
    assert!(head.target.bytes().all(|b| b.is_ascii_graphic()));
    for (name, value) in head.headers() {
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':'), "{name:?}");
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "a value ends where its line does");
        assert!(head.all(name).any(|same| same == value));
    }
    let hosts = head.all("host").count();
    assert!(hosts == 1 || (hosts == 0 && head.version == 0));
    let _ = (head.param("limit"), head.param(""), head.keep_alive(), body_length(&head));

    let origins = Origins::parse("https://shop.example,https://*.pages.example").expect("both are origins");
    if let (Ok(Some(origin)), Ok(Some(host))) = (head.one("origin"), head.one("host"))
        && origins.admits(origin, Some(host), false)
    {
        let text = origin.to_ascii_lowercase();
        assert!(text.starts_with(b"http"), "no page of another scheme: {origin:?}");
    }
    if let Ok(upgrade) = check_upgrade(&head) {
        assert_eq!((head.method, head.version), ("GET", 1));
        assert_eq!(head.one("sec-websocket-version"), Ok(Some(&b"13"[..])));
        assert!(head.has_token("connection", "upgrade") && head.has_token("upgrade", "websocket"));
        let mut answer = Vec::new();
        accept_response(&upgrade, &mut answer);
        assert_eq!(find_end(&answer, &mut 0), Some(answer.len()), "nothing of the peer's breaks a line");
    }
}
