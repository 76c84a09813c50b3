use super::*;
use proptest::prelude::*;

fn with(lines: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

#[test]
fn refuses_what_two_parsers_could_read_differently() {
    let many = |n: usize| with(&"a: b\r\n".repeat(n));
    let huge = with(&format!("a: {}\r\n", "b".repeat(HEAD_BYTES_MAX)));
    let cases: Vec<(Vec<u8>, Result<(), HeadError>)> = vec![
        (with("").into(), Ok(())),
        (many(HEADERS_MAX - 1).into(), Ok(())),
        (many(HEADERS_MAX).into(), Err(HeadError::TooManyHeaders)),
        (huge.into(), Err(HeadError::TooLarge)),
        ("\r\nGET / HTTP/1.0\r\n\r\n".into(), Ok(())),
        ("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n".into(), Ok(())),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".into(), Ok(())),
        (with("a: b\u{e9}\r\n").into(), Ok(())),
    ];
    let refused: &[&[u8]] = &[
        b"",
        b"\r\n\r\n\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\na: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\na: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\na : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\na: b\0c\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GE\0 / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\na\0: b\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"G\xc3\xa9T / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET a/b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\nmore",
    ];
    let refused = refused.iter().map(|head| (head.to_vec(), Err(HeadError::Malformed)));
    for (head, expected) in cases.into_iter().chain(refused) {
        assert_eq!(parse(&head).map(|_| ()), expected, "{:?}", head.escape_ascii().to_string());
    }
}

#[test]
fn reads_the_target() {
    for (target, path, query) in [
        ("/a/b?x=1", "/a/b", Some("x=1")),
        ("/a?", "/a", Some("")),
        ("HTTPS://shop.example:1/p?q", "/p", Some("q")),
        ("http://shop.example", "/", None),
        ("http://shop.example?q", "/", Some("q")),
    ] {
        let text = format!("GET {target} HTTP/1.0\r\n\r\n");
        let head = parse(text.as_bytes()).unwrap();
        assert_eq!((head.path(), head.query()), (path, query));
    }
    let text = "GET /?since=4%32&n+s=a%2Bb+c&e=%zz%&bad=%ff&flag&since=9 HTTP/1.0\r\n\r\n";
    let head = parse(text.as_bytes()).unwrap();
    for (name, value) in [
        ("since", Some("42")),
        ("n s", Some("a+b c")),
        ("e", Some("%zz%")),
        ("bad", Some("\u{fffd}")),
        ("flag", Some("")),
        ("none", None),
    ] {
        assert_eq!(head.param(name).as_deref(), value, "{name}");
    }
    assert_eq!(percent_decoded("a+b%20c"), "a+b c");
}

#[test]
fn reads_headers() {
    let text = with("Connection: a, Upgrade\r\nCONNECTION: close\r\nx: 1\r\n");
    let head = parse(text.as_bytes()).unwrap();
    assert!(head.has_token("connection", "upgrade") && head.has_token("Connection", "A"));
    assert!(!head.has_token("connection", "up"));
    assert_eq!(head.one("connection"), Err(Duplicate));
    assert_eq!(head.one("X"), Ok(Some(&b"1"[..])));
    assert_eq!(head.one("y"), Ok(None));
    for (version, line, keep) in [
        (1, "", true),
        (1, "Connection: x, Close\r\n", false),
        (0, "", false),
        (0, "Connection: Keep-Alive\r\n", true),
        (0, "Connection: keep-alive, close\r\n", false),
    ] {
        let text = format!("GET / HTTP/1.{version}\r\nHost: h\r\n{line}\r\n");
        assert_eq!(parse(text.as_bytes()).unwrap().keep_alive(), keep, "{text}");
    }
}

#[test]
fn delimits_the_body() {
    let bad = Err(HeadError::Malformed);
    for (lines, expected) in [
        ("", Ok(BodyLength::None)),
        ("Content-Length: 0\r\n", Ok(BodyLength::Known(0))),
        ("Content-Length: 12\r\nContent-Length: 12\r\n", Ok(BodyLength::Known(12))),
        ("Transfer-Encoding: Chunked\r\n", Ok(BodyLength::Chunked)),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", bad),
        ("Content-Length: 1, 1\r\n", bad),
        ("Content-Length: +1\r\n", bad),
        ("Content-Length: 0x1\r\n", bad),
        ("Content-Length:\r\n", bad),
        ("Content-Length: 18446744073709551616\r\n", bad),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", bad),
        ("Transfer-Encoding: gzip, chunked\r\n", bad),
        ("Transfer-Encoding: identity\r\n", bad),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", bad),
    ] {
        assert_eq!(body_length(&parse(with(lines).as_bytes()).unwrap()), expected, "{lines}");
    }
    let old = parse(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert_eq!(body_length(&old), bad);
}

/// Looks at everything anew each time.
fn naive_end(buf: &[u8]) -> Option<usize> {
    let blank = buf.iter().take_while(|b| b"\r\n".contains(b)).count();
    if blank >= LEADING_BLANK_MAX {
        return Some(LEADING_BLANK_MAX);
    }
    (blank..=buf.len()).find(|end| {
        let head = &buf[blank..*end];
        head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n")
    })
}

proptest! {
    #[test]
    fn the_end_is_the_same_however_cut(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40),
        cuts in proptest::collection::vec(0usize..40, 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut scanned = 0;
        for cut in cuts {
            let found = find_end(&bytes[..cut], &mut scanned);
            prop_assert_eq!(found, naive_end(&bytes[..cut]));
            prop_assert!(scanned <= cut);
            if found.is_some() {
                break;
            }
        }
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}

#[test]
fn a_byte_at_a_time_costs_no_more() {
    let bytes = [b"GET / HTTP/1.1\r\n".to_vec(), vec![b'a'; HEAD_BYTES_MAX]].concat();
    let mut scanned = 0;
    for end in 0..bytes.len() {
        let before = scanned;
        assert_eq!(find_end(&bytes[..end], &mut scanned), None);
        assert!(end - before <= 3, "looked again at {} bytes", end - before);
    }
}
