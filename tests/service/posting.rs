//! How events get in: connections, bodies, limits, and requests that are not sound.

use std::io::Write;
use std::net::Shutdown;

use serde_json::{Value, json};

use crate::support::{Client, Control, Node, order, request};

fn accepted(node: &Node) -> u64 {
    node.stats()["eventsAccepted"].as_u64().unwrap()
}

#[test]
fn a_hundred_pipelined_posts_are_answered_and_delivered_in_order() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::live(&node, "boss", "admin", &["orders"]);
        let mut control = Control::open(&node);
        let bodies: Vec<_> = (0..100).map(|i| order(&format!("o_{i}"), "c").to_string()).collect();
        let stream: String = bodies.iter().map(|b| request("POST", "/api/events", "", b)).collect();
        control.send(stream.as_bytes());
        for i in 0..100 {
            let answer = control.answer();
            assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)));
            assert_ne!(answer.header("connection"), Some("close"));
            let event = client.message();
            assert_eq!(event["data"]["orderId"], format!("o_{i}"));
            assert_eq!(event["id"], answer.json()["ids"][0]);
        }
        // Answers of different kinds keep their places too, though some wait for the shards.
        let paths = ["/api/ws/stats", "/healthz", "/metrics", "/nowhere", "/api/ws/info", "/api/connections"];
        let mixed: String = paths.iter().map(|path| request("GET", path, "", "")).collect();
        control.send(mixed.as_bytes());
        let kinds: Vec<_> = paths.iter().map(|_| control.answer()).collect();
        assert_eq!(kinds.iter().map(|a| a.status).collect::<Vec<_>>(), [200, 200, 200, 404, 200, 200]);
        assert!(kinds[0].body.contains("totalConnections") && kinds[1].body.contains("status"));
        assert!(kinds[2].body.starts_with('#') && kinds[4].body.contains("heartbeat"));
    }
}

#[test]
fn the_shape_of_the_body_decides_whatever_its_type_is_called() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "boss", "admin", &["orders"]);
    let mut control = Control::open(&node);
    let (a, b) = (order("a", "c"), order("b", "c"));
    let pretty = |v: &Value| serde_json::to_string_pretty(v).unwrap();
    let bodies = [
        (a.to_string(), 1),
        (pretty(&a), 1),
        (json!([a, b]).to_string(), 2),
        (pretty(&json!([a, b])), 2),
        (format!("{a}\n{b}\n"), 2),
        (format!("\r\n{a}\r\n\r\n{b}"), 2),
        (format!("{}\n{}", pretty(&a), pretty(&b)), 2),
        (format!("{a}{b}"), 2),
    ];
    for (body, count) in &bodies {
        for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-ndjson\r\n"] {
            control.send(request("POST", "/api/events", kind, body).as_bytes());
            let answer = control.answer();
            assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(count)), "{body}");
            for (i, id) in answer.json()["ids"].as_array().unwrap().iter().enumerate() {
                let event = client.message();
                assert_eq!((&event["id"], &event["data"]["orderId"]), (id, &json!(["a", "b"][i])));
            }
        }
    }
}

#[test]
fn chunked_bodies_count_however_they_are_cut() {
    let node = Node::start(&[("WS_MAX_BODY", "1024")]);
    let mut control = Control::open(&node);
    let body = json!([order("ünï", "c"), order("b", "c")]).to_string();
    for size in [1, 7, 100, 1000] {
        let mut stream =
            b"POST /api/events HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.as_bytes().chunks(size) {
            write!(stream, "{:x};ext=1\r\n", chunk.len()).unwrap();
            stream.extend_from_slice(chunk);
            stream.extend_from_slice(b"\r\n");
        }
        stream.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        let (first, second) = stream.split_at(stream.len() / 2);
        control.send(first);
        control.send(second);
        let answer = control.answer();
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(2)), "{}", answer.body);
    }
    let over = format!(
        "POST /api/events HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
        " ".repeat(0x401)
    );
    control.send(over.as_bytes());
    assert_eq!(control.answer().status, 413);
    control.expect_end();
}

#[test]
fn one_who_expects_a_word_before_the_body_gets_it() {
    let node = Node::start(&[]);
    let mut control = Control::open(&node);
    let whole = request("POST", "/api/events", "Expect: 100-continue\r\n", &order("a", "c").to_string());
    let (head, body) = whole.split_at(whole.find("\r\n\r\n").unwrap() + 4);
    for _ in 0..2 {
        control.send(head.as_bytes());
        assert_eq!(control.answer().status, 100);
        control.send(body.as_bytes());
        assert_eq!(control.answer().status, 200);
    }
}

#[test]
fn limits_hold_to_the_byte() {
    let node = Node::start(&[("WS_MAX_BODY", "1024"), ("WS_MAX_EVENT_SIZE", "400")]);
    let mut client = Client::live(&node, "boss", "admin", &["orders"]);
    let mut control = Control::open(&node);
    let sized = |bytes: usize| {
        let mut event = order("o", "c");
        event["data"]["pad"] = "".into();
        let pad = bytes - event.to_string().len();
        event["data"]["pad"] = "x".repeat(pad).into();
        event.to_string()
    };
    assert_eq!(control.ask("POST", "/api/events", &sized(400)).status, 200);
    assert_eq!(client.message()["type"], "order:created");
    let body = format!("{}\n{}", sized(300), sized(401));
    let answer = control.ask("POST", "/api/events", &body);
    assert_eq!(answer.status, 413);
    let error = &answer.json()["errors"][0];
    assert_eq!((&error["index"], &error["code"]), (&json!(1), &json!("too_large")));
    // The stream is in step, and the good one was not published.
    let full = format!("{}{}", sized(400), " ".repeat(624));
    let ids = control.ask("POST", "/api/events", &full).json()["ids"].clone();
    assert_eq!(client.message()["id"], ids[0]);
    let answer = control.ask("POST", "/api/events", &format!("{full} "));
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    control.expect_end();
    // Refused by its length alone, before a byte of it came.
    let mut control = Control::open(&node);
    control.send(b"POST /api/events HTTP/1.1\r\nHost: n\r\nContent-Length: 99999999999999999999\r\n\r\n");
    assert!(matches!(control.answer().status, 400 | 413));
    assert!(client.settle(&node).is_empty());
}

#[test]
fn what_is_no_json_is_refused_and_the_stream_stays_in_step() {
    let node = Node::start(&[]);
    let mut client = Client::live(&node, "boss", "admin", &["orders"]);
    let mut control = Control::open(&node);
    let good = order("o", "c").to_string();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies = [
        ("", 0),
        (" \r\n ", 0),
        ("{", 0),
        (&good[..good.len() - 1], 0),
        ("order:created", 0),
        ("[{}, ", 0),
        (&format!("[{good},]"), 0),
        (&format!("[{good}] {good}"), 0),
        (&format!("{good}\n{good}\n{{\"type\":"), 2),
        (&format!("{good}\nnonsense\n{good}"), 1),
        ("{\"type\":\"order:created\",\"data\":{\"total\":NaN}}", 0),
        (&deep, 0),
    ];
    for (body, index) in bodies {
        let answer = control.ask("POST", "/api/events", body);
        let shown = &body[..body.len().min(80)];
        assert!(matches!(answer.status, 400 | 422), "{shown}: {answer:?}");
        let error = answer.json()["errors"][0].clone();
        assert_eq!(error["index"], index, "{shown}: {error}");
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{error}");
    }
    control.send(b"POST /api/events HTTP/1.1\r\nHost: n\r\nContent-Length: 4\r\n\r\n\"\xff\xfe\"");
    assert_eq!(control.answer().status, 400);
    assert!(client.settle(&node).is_empty());
    assert_eq!(control.ask("POST", "/api/events", &good).status, 200);
    assert_eq!(client.message()["type"], "order:created");
}

#[test]
fn a_request_that_ends_too_early_publishes_nothing() {
    let node = Node::start(&[]);
    let whole = request("POST", "/api/events", "", &order("o", "c").to_string());
    for cut in [10, whole.find("\r\n\r\n").unwrap() + 4, whole.len() - 1] {
        let mut control = Control::open(&node);
        control.send(&whole.as_bytes()[..cut]);
        control.stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        let _ = std::io::Read::read_to_string(&mut control.stream, &mut rest);
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400"), "{cut}: {rest}");
    }
    assert_eq!(accepted(&node), 0);
    // A whole one whose sender says that it is done is still answered.
    let mut control = Control::open(&node);
    control.send(whole.as_bytes());
    control.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(control.answer().status, 200);
    control.expect_end();
}

#[test]
fn two_opinions_about_a_length_end_the_connection() {
    let node = Node::start(&[]);
    let good = order("o", "c").to_string();
    let inner = request("POST", "/api/events", "", &good);
    let n = inner.len();
    let heads = [
        format!("Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n"),
        format!("Content-Length: 0\r\nContent-Length: {n}\r\n"),
        format!("Content-Length: 0, {n}\r\n"),
        "Content-Length: +0\r\n".into(),
        "Content-Length: -1\r\n".into(),
        "Content-Length: 0x0\r\n".into(),
        "Content-Length : 0\r\n".into(),
        "Transfer-Encoding: gzip, chunked\r\n".into(),
        "Transfer-Encoding: chunked, identity\r\n".into(),
        "Transfer-Encoding: xchunked\r\n".into(),
        "Transfer-Encoding : chunked\r\n".into(),
        "X: a\r\n Transfer-Encoding: chunked\r\n".into(),
    ];
    for head in &heads {
        let mut control = Control::open(&node);
        let bytes = format!("POST /api/events HTTP/1.1\r\nHost: n\r\n{head}\r\n0\r\n\r\n{inner}");
        let _ = control.stream.write_all(bytes.as_bytes());
        let answer = control.answer();
        assert_eq!(answer.status, 400, "{head}: {answer:?}");
        control.expect_end();
    }
    assert_eq!(accepted(&node), 0, "nothing was smuggled in");
}

#[test]
fn methods_and_paths_that_are_not_there_are_told_apart() {
    let node = Node::start(&[]);
    let mut control = Control::open(&node);
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("POST", "/api/events/", 404),
        ("PUT", "/api/events", 405),
        ("POST", "/metrics", 405),
        ("GET", "/api/drain", 405),
        ("GET", "/api/users/u", 405),
        ("DELETE", "/api/users/", 404),
    ] {
        let answer = control.ask(method, path, "");
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("allow").is_some(), status == 405);
        assert!(!answer.code().is_empty());
    }
    for path in ["/api/ws/info", "/api/ws/stats", "/metrics"] {
        let mut control = Control::open(&node);
        control.send(request("HEAD", path, "Connection: close\r\n", "").as_bytes());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut control.stream, &mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\n"), "a head alone: {text}");
    }
}
