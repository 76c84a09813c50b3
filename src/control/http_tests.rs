//! One control connection, whatever comes on it.

use super::*;
use proptest::prelude::*;

/// Feeds `input` in pieces that end at `cuts`; serves every request with its own body.
fn run(input: &[u8], cuts: &[usize]) -> (Vec<(String, String)>, String) {
    let mut client = Client::new(1000, None);
    let (mut seen, mut wire, mut from) = (vec![], vec![], 0);
    for to in cuts.iter().copied().chain([input.len()]) {
        let to = to.clamp(from, input.len());
        client.handle_bytes(&input[from..to]);
        from = to;
        while client.poll_request(|r| {
            seen.push((r.head.target.to_owned(), String::from_utf8(r.body.to_vec()).unwrap()));
            Reply::Now(Answer::json(200, "ok"))
        }) {}
        wire.extend_from_slice(&client.unsent());
        client.advance_sent(client.unsent().len());
    }
    (seen, String::from_utf8(wire).unwrap())
}

const STREAM: &[u8] = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
    GET /b HTTP/1.1\r\nHost: x\r\n\r\n\
    POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n\
    POST /d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n";

proptest! {
    #[test]
    fn pipelined_requests_are_the_same_however_they_are_cut(
        mut cuts in proptest::collection::vec(0usize..STREAM.len(), 0..40),
    ) {
        cuts.sort_unstable();
        let (seen, wire) = run(STREAM, &cuts);
        let expected = [("/a", "hello"), ("/b", ""), ("/c", "abcde"), ("/d", "")];
        let expected: Vec<_> = expected.iter().map(|(t, b)| (t.to_string(), b.to_string())).collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(wire.matches("HTTP/1.1 200").count(), 4);
        prop_assert_eq!(wire.matches("Connection: close").count(), 1);
    }
}

#[test]
fn what_cannot_be_understood_is_refused_once_and_ends_the_connection() {
    let big = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 1001);
    let huge = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", u64::MAX);
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000));
    let chunks = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{}",
        "a".repeat(0x400)
    );
    let smuggled =
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let cases: &[(&str, &str)] = &[
        ("garbage\r\n\r\n", "400"),
        (&big, "413"),
        (&huge, "413"),
        (&chunks, "413"),
        (&long, "431"),
        (smuggled, "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"),
    ];
    for (input, status) in cases {
        let twice = format!("{input}GET /after HTTP/1.1\r\nHost: x\r\n\r\n");
        let (seen, wire) = run(twice.as_bytes(), &[]);
        assert!(seen.is_empty(), "{input}");
        assert!(wire.starts_with(&format!("HTTP/1.1 {status} ")), "{input}: {wire}");
        assert_eq!(wire.matches("HTTP/1.1 ").count(), 1, "{input}");
        assert!(wire.contains("Connection: close"));
    }
}

#[test]
fn one_who_expects_a_word_gets_it_before_the_body() {
    let mut client = Client::new(1000, None);
    client.handle_bytes(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert!(!client.poll_request(|_| unreachable!()));
    assert_eq!(&*client.unsent(), b"HTTP/1.1 100 Continue\r\n\r\n");
    assert!(client.is_midway());
    client.handle_bytes(b"ok");
    assert!(client.poll_request(|r| Reply::Now(Answer::json(200, r.body))));
    let wire = String::from_utf8(client.unsent().to_vec()).unwrap();
    assert!(wire.ends_with("\r\n\r\nok") && wire.matches("100 Continue").count() == 1);
}

#[test]
fn an_answer_that_comes_later_keeps_its_place() {
    let mut client = Client::new(1000, None);
    client.handle_bytes(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.poll_request(|_| Reply::Later));
    assert!(!client.poll_request(|_| unreachable!("the first is not answered")));
    client.answer(&Answer::json(200, "first"));
    assert!(client.poll_request(|_| Reply::Now(Answer::json(200, "second"))));
    let wire = String::from_utf8(client.unsent().to_vec()).unwrap();
    assert!(wire.find("first").unwrap() < wire.find("second").unwrap());
}

#[test]
fn answers_that_wait_for_the_journal_hold_those_behind_them() {
    let mut client = Client::new(1000, None);
    for n in 1..=5 {
        client.handle_bytes(format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    }
    let mut serve = |reply: Reply| assert!(client.poll_request(|_| reply));
    serve(Reply::Now(Answer::json(200, "one")));
    serve(Reply::Once(7, Answer::json(200, "two")));
    serve(Reply::Once(9, Answer::json(200, "three")));
    serve(Reply::Now(Answer::json(200, "four")));
    serve(Reply::Later);
    assert_eq!(String::from_utf8(client.unsent().to_vec()).unwrap().matches("200 OK").count(), 1);
    let refusal = Answer::json(503, "refused");
    client.settle(7, None);
    assert_eq!(String::from_utf8(client.unsent().to_vec()).unwrap().matches("200 OK").count(), 2);
    client.answer(&Answer::json(200, "five"));
    client.handle_end();
    assert!(!client.is_done());
    client.settle(9, Some(&refusal));
    let text = String::from_utf8(client.unsent().to_vec()).unwrap();
    let order: Vec<_> =
        ["one", "two", "refused", "four", "five"].iter().map(|body| text.find(body).unwrap()).collect();
    assert!(order.is_sorted() && !text.contains("three") && text.contains("503"), "{text}");
    assert!(!client.poll_request(|_| unreachable!()) && client.is_done());
}

#[test]
fn held_answers_are_bounded() {
    let mut client = Client::new(1000, None);
    client.handle_bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(HELD_MAX + 1).as_bytes());
    let ok = || Answer::json(200, "");
    let held = (0..).take_while(|n| client.poll_request(|_| Reply::Once(*n, ok()))).count();
    assert_eq!(held, HELD_MAX);
    client.settle(0, None);
    assert!(client.poll_request(|_| Reply::Once(u64::MAX, ok())));
}

#[test]
fn held_bytes_are_bounded_too() {
    let mut client = Client::new(1000, None);
    client.handle_bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100).as_bytes());
    assert!(client.poll_request(|_| Reply::Once(1, Answer::json(200, ""))));
    let large = || Answer::json(200, vec![b'x'; ANSWER_BYTES_MAX / 4]);
    let held = (0..).take_while(|_| client.poll_request(|_| Reply::Now(large()))).count();
    assert_eq!(held, 4);
    assert!(!client.is_midway(), "it is not the peer that lets us wait");
    client.settle(1, Some(&large()));
    assert!(client.is_choked(), "now it is the peer that must read");
    client.advance_sent(client.unsent().len());
    assert!(client.poll_request(|_| Reply::Now(large())));
    assert_eq!(client.held_bytes, 0);
}
