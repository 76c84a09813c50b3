//! What may be done to a node, and its answer: the rows of the table in the requirements that a socket can show.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Dice;
use crate::support::{
    Client, Control, Frame, Node, PATIENCE, exchange, frame, identity, order, read_response, reset, unique,
};

/// One thing that is done to it.
pub struct Row {
    pub name: &'static str,
    pub run: fn(&Node, &mut Dice),
}

macro_rules! rows {
    ($($name:ident,)*) => {
        /// All of them.
        pub const ROWS: &[Row] = &[$(Row { name: stringify!($name), run: $name },)*];
    };
}

rows! {
    a_head_too_large, a_head_of_too_many_lines, a_head_that_dribbles, no_good_upgrade, a_foreign_origin,
    a_forged_address, broken_frames, bad_utf8, too_long, bad_close_codes, a_flood_of_pings, commands_before_auth,
    bad_json, bad_commands, the_same_twice, bad_credentials, bad_positions, a_reset_anywhere, half_open,
    too_many_of_one_address, bad_posts, a_post_that_stalls, names_that_would_forge_the_log, one_who_reads_nothing,
    one_who_is_kicked, one_who_comes_and_goes, one_who_comes_back_for_what_was_missed, too_fast,
}

fn answer_of(node: &Node, request: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(request); // It may be refused before its end.
    read_response(&mut stream).status
}

fn a_head_too_large(node: &Node, _: &mut Dice) {
    let head = format!("GET /api/ws HTTP/1.1\r\nHost: n\r\nX: {}\r\n\r\n", "x".repeat(9_000));
    assert_eq!(answer_of(node, head.as_bytes()), 431);
}

fn a_head_of_too_many_lines(node: &Node, _: &mut Dice) {
    let head = format!("GET /api/ws HTTP/1.1\r\nHost: n\r\n{}\r\n", "X: y\r\n".repeat(70));
    assert_eq!(answer_of(node, head.as_bytes()), 431);
}

fn a_head_that_dribbles(node: &Node, _: &mut Dice) {
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for byte in b"GET /api/ws HTTP/1.1\r\nHost:" {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(read_response(&mut stream).status, 408);
}

fn no_good_upgrade(node: &Node, _: &mut Dice) {
    let good = Client::upgrade_request(node);
    for (from, to, status) in [
        ("GET", "POST", 405),
        ("Upgrade: websocket\r\n", "", 400),
        ("Connection: Upgrade\r\n", "", 400),
        ("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: x", 400),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12", 426),
        ("Upgrade: websocket\r\n", "Upgrade: websocket\r\nUpgrade: websocket\r\n", 400),
        ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello", 400),
        ("HTTP/1.1", "HTTP/9", 400),
        ("/api/ws ", "/nowhere ", 404),
    ] {
        assert_eq!(answer_of(node, good.replacen(from, to, 1).as_bytes()), status, "{from} -> {to}");
    }
}

fn a_foreign_origin(node: &Node, _: &mut Dice) {
    for origin in ["https://evil.example", "null", "nonsense", "http://localhost.evil.example"] {
        let refused = Client::connect_with(node, &format!("Origin: {origin}\r\n")).err().expect(origin);
        assert_eq!(refused.status, 403, "{origin}");
    }
}

fn a_forged_address(node: &Node, _: &mut Dice) {
    for forged in ["", "x", "1.2.3.4, x", "999.1.1.1", &"1.1.1.1,".repeat(200)] {
        // What is no address counts for the proxy that passed it on, and in the end for too much.
        if let Err(refused) = Client::connect_with(node, &format!("X-Forwarded-For: {forged}\r\n")) {
            assert_eq!(refused.status, 429, "{forged}");
        }
    }
}

fn broken_frames(node: &Node, dice: &mut Dice) {
    let broken: &[&[u8]] = &[
        &frame(0xc1, b"{}"),
        &frame(0x91, b"{}"),
        &frame(0x83, b""),
        &frame(0x8f, b""),
        &frame(0x09, b""),
        &frame(0x89, &[0; 126]),
        &frame(0x80, b"{}"),
        &[0x81, 2, b'{', b'}'],
        &[0x81, 0xfe, 0, 5, 0, 0, 0, 0],
        &[&frame(0x01, b"{")[..], &frame(0x81, b"}")].concat(),
    ];
    for _ in 0..3 {
        let bytes = broken[dice.below(broken.len())];
        let mut client = Client::live(node, "villain", "admin", &["products"]);
        client.send_raw(bytes);
        assert_eq!(client.expect_close().0, 1002, "{bytes:?}");
    }
}

fn bad_utf8(node: &Node, _: &mut Dice) {
    for bytes in [frame(0x81, b"\"\xff"), frame(0x01, b"\xff"), frame(0x88, b"\x03\xe8\xff")] {
        let mut client = Client::live(node, "villain", "admin", &[]);
        client.send_raw(&bytes);
        assert_eq!(client.expect_close().0, 1007);
    }
}

fn too_long(node: &Node, _: &mut Dice) {
    let huge = [0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let sum = frame(0x00, &[b' '; 30_000]);
    for bytes in [huge.to_vec(), [&frame(0x01, b"{")[..], &sum, &sum, &sum].concat()] {
        let mut client = Client::live(node, "villain", "admin", &[]);
        let _ = client.stream.write_all(&bytes);
        assert_eq!(client.expect_close().0, 1009);
    }
}

fn bad_close_codes(node: &Node, _: &mut Dice) {
    for payload in [&[3][..], &[3, 237], &[3, 238], &[0, 0], &[0xff, 0xff]] {
        let mut client = Client::live(node, "villain", "admin", &[]);
        client.send_raw(&frame(0x88, payload));
        assert_eq!(client.expect_close().0, 1002, "{payload:?}");
    }
}

fn a_flood_of_pings(node: &Node, _: &mut Dice) {
    let mut client = Client::live(node, "villain", "admin", &[]);
    let flood: Vec<u8> = (0..1_000).flat_map(|_| frame(0x89, b"x")).collect();
    let _ = client.stream.write_all(&flood);
    assert_eq!(client.expect_close().0, 4102);
}

fn too_fast(node: &Node, _: &mut Dice) {
    let mut client = Client::live(node, "villain", "guest", &[]);
    for _ in 0..200 {
        if client.stream.write_all(&frame(0x81, br#"{"type":"ping"}"#)).is_err() {
            break;
        }
    }
    assert_eq!(client.expect_close().0, 4102);
}

fn commands_before_auth(node: &Node, _: &mut Dice) {
    let mut client = Client::connect(node);
    for command in [
        json!({"type": "ping"}),
        json!({"type": "subscribe", "data": {"namespace": "orders"}}),
        json!({"type": "presence"}),
        json!({"type": "nonsense"}),
    ] {
        client.send(&command);
        assert_eq!(client.expect_error().0, "not_authenticated", "{command}");
    }
}

fn bad_json(node: &Node, _: &mut Dice) {
    let mut client = Client::live(node, "villain", "admin", &[]);
    let bomb = "[".repeat(60_000);
    for text in ["", "{", "nope", "[1]", "{\"type\":\"ping\",}", "{\"a\":1e999", &bomb] {
        client.send_text(text);
        let (code, _) = client.expect_error();
        assert!(["bad_json", "bad_message"].contains(&&*code), "{code} for {:.20}", text);
    }
}

fn bad_commands(node: &Node, _: &mut Dice) {
    let mut client = Client::live(node, "villain", "customer", &[]);
    for (message, code) in [
        (json!({"type": "nonsense"}), "unknown_type"),
        (json!({"type": "__proto__"}), "unknown_type"),
        (json!({"type": 7}), "bad_message"),
        (json!({"type": "subscribe"}), "bad_message"),
        (json!({"type": "subscribe", "data": {"namespace": ["orders"]}}), "bad_message"),
        (json!({"type": "subscribe", "data": {"namespace": "nowhere"}}), "unknown_namespace"),
        (json!({"type": "subscribe", "data": {"namespace": "payments"}}), "forbidden_namespace"),
        (json!({"type": "publish", "data": {"type": "order:created", "data": {}}}), "forbidden_event"),
    ] {
        client.send(&message);
        assert_eq!(client.expect_error().0, code, "{message}");
    }
}

fn the_same_twice(node: &Node, _: &mut Dice) {
    let mut client = Client::live(node, "twice", "staff", &["products", "products"]);
    client.subscribe(&["products"]);
    for _ in 0..2 {
        client.send(&json!({"type": "unsubscribe", "data": {"namespace": "products"}}));
        client.expect("unsubscribed");
    }
}

fn bad_credentials(node: &Node, _: &mut Dice) {
    let mut past = identity("villain", "admin");
    past["expiresAt"] = 1.into();
    let wrong_role = identity("villain", "emperor");
    for (data, close) in [(past, 4101), (wrong_role, 4002)] {
        let mut client = Client::connect(node);
        client.send(&json!({"type": "auth", "data": data}));
        loop {
            match client.next() {
                Frame::Close(code, _) => break assert_eq!(code, close, "{data}"),
                Frame::Text(message) => assert_ne!(message["type"], "system:notification", "{data}"),
                other => panic!("{data}: {other:?}"),
            }
        }
    }
}

fn bad_positions(node: &Node, _: &mut Dice) {
    let mut client = Client::live(node, "lost", "admin", &[]);
    let key = unique("product");
    client.send(&json!({"type": "subscribe", "data": {"namespace": "products", "keys": [key]}}));
    let epoch = client.expect("subscribed")["data"]["epoch"].clone();
    for (since, recovered) in [
        (json!({"epoch": "another", "id": "0"}), Some(false)),
        (json!({"epoch": epoch, "id": "99999999999999"}), Some(false)),
        (json!({"epoch": epoch, "id": "nonsense"}), Some(false)),
        (json!({"epoch": 7, "id": "1"}), None),
        (json!("yesterday"), None),
    ] {
        client.send(
            &json!({"type": "subscribe", "data": {"namespace": "products", "keys": [key], "since": since}}),
        );
        let answer = client.message();
        match recovered {
            Some(_) => assert_eq!(answer["data"]["recovered"], false, "{since}: {answer}"),
            None => assert_eq!(answer["data"]["code"], "bad_message", "{since}: {answer}"),
        }
    }
}

fn a_reset_anywhere(node: &Node, dice: &mut Dice) {
    let mut all = Client::upgrade_request(node).into_bytes();
    all.extend(frame(
        0x81,
        json!({"type": "auth", "data": identity("gone", "customer")}).to_string().as_bytes(),
    ));
    all.extend(frame(0x81, br#"{"type":"subscribe","data":{"namespaces":["orders","products"]}}"#));
    all.extend(frame(0x01, b"{"));
    for _ in 0..20 {
        let mut stream = TcpStream::connect(node.address).unwrap();
        let _ = stream.write_all(&all[..dice.below(all.len() + 1)]);
        if dice.below(2) == 0 {
            reset(stream);
        }
    }
}

fn half_open(node: &Node, _: &mut Dice) {
    let mut silent: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    for stream in &mut silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read_response(stream).status, 408);
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
    }
}

fn too_many_of_one_address(node: &Node, dice: &mut Dice) {
    // Of a network of its own, so that rows that run at once do not meet.
    let address =
        format!("X-Forwarded-For: 2001:db8:{:x}:{:x}::1\r\n", dice.below(65_536), dice.below(65_536));
    let mut held = Vec::new();
    loop {
        match Client::connect_with(node, &address) {
            Ok(client) => held.push(client),
            Err(refused) => break assert_eq!(refused.status, 429),
        }
        assert!(held.len() <= 20, "the limit is 20");
    }
    assert_eq!(held.len(), 20);
}

fn bad_posts(node: &Node, _: &mut Dice) {
    let mut control = Control::open(node);
    let mixed = json!([order("o", "nobody"), {"type": "order:created", "data": {}}]);
    for (body, status) in [
        ("{".to_owned(), 400),
        (json!({"type": "nonsense:happened", "data": {}}).to_string(), 422),
        (json!({"type": "order:created", "data": {"orderId": 7}}).to_string(), 422),
        (mixed.to_string(), 422),
        (json!({"type": "order:created", "roles": [], "data": {}}).to_string(), 422),
    ] {
        let answer = control.ask("POST", "/api/events", &body);
        assert!(answer.status == status && answer.body.contains("\"code\""), "{body}: {answer:?}");
    }
    assert_eq!(control.ask("DELETE", "/api/events", "").status, 405);
    assert_eq!(control.ask("GET", "/api/nowhere", "").status, 404);
    let too_large = exchange(
        std::os::unix::net::UnixStream::connect(&node.control).unwrap(),
        b"POST /api/events HTTP/1.1\r\nHost: n\r\nContent-Length: 99999999\r\n\r\n",
    );
    assert_eq!(too_large.status, 413);
}

fn a_post_that_stalls(node: &Node, dice: &mut Dice) {
    let post = crate::support::request("POST", "/api/events", "", &order("never", "nobody").to_string());
    let mut stream = std::os::unix::net::UnixStream::connect(&node.control).unwrap();
    stream.write_all(&post.as_bytes()[..dice.below(post.len())]).unwrap();
    // Gone half-way: nothing is published, as the company sees.
}

fn names_that_would_forge_the_log(node: &Node, _: &mut Dice) {
    for length in [1, 100, 40_000] {
        let user = format!("a\r\nb\u{1b}[2J\u{0}{}", "x".repeat(length));
        let mut client = Client::connect(node);
        let mut villain = identity(&user, "emperor");
        villain["sessionId"] = user.into();
        client.send(&json!({"type": "auth", "data": villain}));
        assert!(matches!(client.next(), Frame::Text(_) | Frame::Close(..)));
    }
}

fn one_who_reads_nothing(node: &Node, _: &mut Dice) {
    let product = unique("product");
    let mut client = Client::live(node, "sleeper", "staff", &[]);
    client.send(&json!({"type": "subscribe", "data": {"namespace": "products", "keys": [product]}}));
    client.expect("subscribed");
    let mut control = Control::open(node);
    let large =
        json!({"type": "product:deleted", "data": {"productId": product, "note": "x".repeat(200_000)}});
    for _ in 0..60 {
        control.post(&large);
    }
    assert_eq!(client.expect_close().0, 4103);
}

fn one_who_is_kicked(node: &Node, _: &mut Dice) {
    let user = unique("kicked");
    let mut clients: Vec<Client> =
        (0..3).map(|_| Client::live(node, &user, "staff", &["products"])).collect();
    let answer = node.control("DELETE", &format!("/api/users/{user}"), "");
    assert_eq!((answer.status, &answer.json()["closed"]), (200, &json!(3)));
    for client in &mut clients {
        assert_eq!(client.expect_close().0, 4004);
    }
}

fn one_who_comes_and_goes(node: &Node, dice: &mut Dice) {
    let roles = ["admin", "manager", "staff", "customer", "guest"];
    for _ in 0..10 {
        let mut client = Client::live(node, "passer-by", roles[dice.below(5)], &["products"]);
        client.sync();
        match dice.below(3) {
            0 => client.reset(),
            1 => drop(client),
            _ => {
                client.send_raw(&frame(0x88, &1000u16.to_be_bytes()));
                while !matches!(client.next(), Frame::Close(1000, _)) {}
            }
        }
    }
}

fn one_who_comes_back_for_what_was_missed(node: &Node, _: &mut Dice) {
    let key = unique("product");
    let subscribe = |since: Option<Value>| {
        let mut message = json!({"type": "subscribe", "data": {"namespace": "products", "keys": [key]}});
        if let Some(since) = since {
            message["data"]["since"] = since;
        }
        message
    };
    let mut client = Client::live(node, "returner", "staff", &[]);
    client.send(&subscribe(None));
    let seen = client.expect("subscribed")["data"].clone();
    client.reset();
    let missed = node.post(&json!([
        {"type": "product:deleted", "data": {"productId": key}},
        {"type": "product:updated", "data": {"productId": key, "changes": {}}},
    ]));
    let mut client = Client::live(node, "returner", "staff", &[]);
    client.send(&subscribe(Some(json!({"epoch": seen["epoch"], "id": seen["lastEventId"]}))));
    assert_eq!(client.expect("subscribed")["data"]["recovered"], true);
    for id in missed {
        assert_eq!(client.message()["id"], id.as_str());
    }
    assert_eq!(client.expect("caught_up")["data"]["replayed"], 2);
}
