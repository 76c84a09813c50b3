//! What goes over the wire: both versions, any cut, tampering, slow and kicked clients, the end.

use super::*;

#[test]
fn everything_goes_through_tls_of_both_versions() {
    for (version, shards) in [(&TLS13, "1"), (&TLS12, "2")] {
        let files = Files::new();
        let node = files.node(&[("WS_SHARDS", shards)]);
        let stream = Tls(StreamOwned::new(tls(&files.config(&[version])), socket(&node)));
        let mut client = upgrade(&node, stream).unwrap();
        assert_eq!(client.stream.0.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        client.auth("u", "admin");
        client.subscribe(&["orders"]);
        let mut other = files.live(&node, "v", &["orders"]);
        for pad in [0, 1, 16_000, 16_384, 20_000, 150_000] {
            let ids = node.post(&large_order(pad));
            for client in [&mut client, &mut other] {
                let event = client.expect("order:created");
                assert_eq!(event["id"], ids[0].as_str());
                assert_eq!(event["data"]["pad"].as_str().unwrap().len(), pad);
            }
        }
        client.send_text(&format!(r#"{{"type":"ping","pad":"{}"}}"#, "y".repeat(60_000)));
        assert_eq!(client.message()["type"], "pong");
        client.sync();
        assert_eq!(node.metric("tls_handshakes_total"), 2.0);
        assert_eq!(node.metric("tls_handshake_failures_total"), 0.0);
    }
}

#[test]
fn plain_http_is_answered_through_tls_and_a_shut_side_does_not_cut_the_answer() {
    let files = Files::new();
    let node = files.node(&[]);
    for (path, shuts) in [("/readyz", false), ("/api/ws/info", true)] {
        let mut stream = files.stream(&node);
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        if shuts {
            stream.shut_write();
        }
        assert_eq!(read_response(&mut stream).status, 200);
        assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0, "the end is said by close_notify");
    }
}

#[test]
fn a_handshake_and_messages_byte_by_byte() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1")]);
    let stream = Tls(StreamOwned::new(files.tls(), Drip(socket(&node))));
    let mut client = upgrade(&node, stream).unwrap();
    client.auth("u", "admin");
    client.subscribe(&["orders"]);
    node.post(&order("o_1", "c"));
    client.expect("order:created");
    client.sync();
}

#[test]
fn a_handshake_that_stalls_ends_at_the_deadline_of_the_head() {
    let files = Files::new();
    let node = files.node(&[("WS_HEAD_TIMEOUT", "300")]);
    let mut live = files.live(&node, "u", &["orders"]);
    let hello = hello(&files);
    let began = Instant::now();
    let mut stalled: Vec<_> = [0, 1, hello.len() / 2, hello.len() - 1, hello.len()]
        .map(|sent| {
            let mut socket = socket(&node);
            socket.write_all(&hello[..sent]).unwrap();
            socket
        })
        .into();
    // Through the handshake, and then silent: as without TLS it is told in HTTP that time is up.
    let mut silent = files.stream(&node);
    silent.0.conn.complete_io(&mut silent.0.sock).unwrap();
    for socket in &mut stalled {
        rest(socket);
        let took = began.elapsed();
        assert!(took > Duration::from_millis(250) && took < Duration::from_secs(3), "{took:?}");
    }
    assert_eq!(read_response(&mut silent).status, 408);
    wait_until("all are counted", || node.metric("tls_handshake_failures_total") == 4.0);
    assert_eq!(node.metric("tls_handshakes_total"), 2.0);
    drop(silent);
    wait_until("they are gone", || node.metric("sockets") == 1.0);
    node.post(&order("o_1", "c"));
    live.expect("order:created");
}

#[test]
fn what_is_no_tls_is_closed_at_once_and_nobody_else_notices() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1"), ("WS_HEAD_TIMEOUT", "60000"), ("WS_LOG", "info")]);
    let mut live = files.live(&node, "u", &["orders"]);
    let hello = hello(&files);
    let mut damaged = hello.clone();
    damaged[5] ^= 0xff;
    // A hello that says it has 60 kB, in records of 4 kB, and more of it than anybody needs.
    let mut endless = Vec::new();
    for record in 0..8 {
        endless.extend_from_slice(&[0x16, 3, 1, 0x10, 0]);
        endless.extend_from_slice(if record == 0 { &[1, 0, 0xea, 0x60] } else { &[0; 4] });
        endless.extend_from_slice(&[0; 4092]);
    }
    let cases: [(&str, Vec<u8>); 6] = [
        ("plain HTTP", Client::upgrade_request(&node).into_bytes()),
        ("noise", (0..600u32).map(|i| (i * i + 7 * i) as u8 | 0x80).collect()),
        ("zeros", vec![0; 300]),
        ("a damaged hello", damaged),
        ("data before the handshake", vec![0x17, 3, 3, 0, 2, 1, 1]),
        ("an endless hello", endless),
    ];
    for (what, bytes) in &cases {
        let began = Instant::now();
        let mut socket = socket(&node);
        let _ = socket.write_all(bytes); // It may be closed before all is out.
        let answer = rest(&mut socket);
        assert!(answer.is_empty() || answer[0] == 0x15, "{what}: an alert at most: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{what}");
    }
    // Ended in the middle of it.
    for sent in [1, hello.len() / 2, hello.len()] {
        let mut socket = socket(&node);
        socket.write_all(&hello[..sent]).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        rest(&mut socket);
    }
    wait_until("each is counted", || node.metric("tls_handshake_failures_total") == cases.len() as f64 + 3.0);
    assert_eq!(node.metric("sockets"), 1.0);
    node.post(&order("o_1", "c"));
    live.expect("order:created");
    assert!(!node.log().contains("speak TLS"), "nothing about clients at level info: {}", node.log());
}

#[test]
fn a_record_that_was_tampered_with_ends_its_connection_alone() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1")]);
    let mut other = files.live(&node, "u", &["orders"]);
    let mut victim = files.live(&node, "v", &["orders"]);
    victim.stream.0.sock.write_all(&[0x17, 3, 3, 0, 20]).unwrap();
    victim.stream.0.sock.write_all(&[7; 20]).unwrap();
    assert_eq!(victim.next(), Frame::End);
    wait_until("it is gone", || node.metric("sockets") == 1.0);
    assert_eq!(node.metric("tls_handshake_failures_total"), 0.0, "its handshake was good");
    node.post(&order("o_1", "c"));
    other.expect("order:created");
}

#[test]
fn who_does_not_read_is_closed_by_4103_behind_what_was_written() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1"), ("WS_MAX_BACKLOG", "200000")]);
    let mut deaf = files.live(&node, "deaf", &["orders"]);
    let mut other = files.live(&node, "other", &["orders"]);
    let mut ids = Vec::new();
    wait_until("it has too much before it", || {
        for _ in 0..4 {
            ids.extend(node.post(&large_order(30_000)));
            other.expect("order:created");
        }
        node.metric("closes_total{reason=\"slow_consumer\"}") == 1.0
    });
    let (code, closing) = deaf.expect_close();
    assert_eq!((code, &closing["data"]["reason"]), (4103, &json!("slow_consumer")));
    let got = deaf.passed();
    assert!(got.len() > 1 && got.len() < ids.len(), "{} of {}", got.len(), ids.len());
    for (event, id) in got.iter().zip(&ids) {
        assert_eq!(event["id"], id.as_str(), "in order, without a gap");
    }
    other.sync();
}

#[test]
fn who_reads_slowly_gets_everything_in_order() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1"), ("WS_MAX_BACKLOG", "100000000")]);
    let mut slow = files.live(&node, "slow", &["orders"]);
    let sizes = [10, 40_000, 3, 16_384, 100_000, 16_300, 70_000];
    let ids: Vec<_> = (0..200).flat_map(|i| node.post(&large_order(sizes[i % sizes.len()]))).collect();
    assert!(node.stats()["backlogBytes"].as_u64().unwrap() > 1_000_000, "it waits in the node");
    for (i, id) in ids.iter().enumerate() {
        let event = slow.expect("order:created");
        assert_eq!(event["id"], id.as_str());
        assert_eq!(event["data"]["pad"].as_str().unwrap().len(), sizes[i % sizes.len()]);
    }
    slow.sync();
    assert_eq!(node.stats()["backlogBytes"], 0);
}

#[test]
fn after_a_kick_not_one_more_event_is_written_though_it_was_encrypted() {
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "1"), ("WS_MAX_BACKLOG", "100000000")]);
    let mut deaf = files.live(&node, "deaf", &["orders"]);
    let mut sent = 0;
    // One record each. The first that waits in the node does so whole, behind one that was encrypted
    // and which the socket has taken in part.
    wait_until("its socket is full", || {
        sent += node.post(&large_order(16_000)).len();
        node.stats()["backlogBytes"].as_u64().unwrap() > 16_000
    });
    let before = node.metric("bytes_out_total");
    assert_eq!(node.control("DELETE", "/api/users/deaf", "").json()["closed"], 1);
    wait_until("it is gone", || node.metric("sockets") == 0.0);
    assert_eq!(node.metric("bytes_out_total"), before);
    let mut events = 0;
    loop {
        match deaf.next() {
            Frame::Text(event) => events += usize::from(event["type"] == "order:created"),
            Frame::End => break,
            other => panic!("nothing is said to it any more: {other:?}"),
        }
    }
    assert!(events < sent - 1, "{events} of {sent}");
}

#[test]
fn an_end_is_said_by_close_notify_on_both_sides() {
    let files = Files::new();
    let node = files.node(&[]);
    // By the client, in the middle of everything.
    let mut client = files.live(&node, "u", &["orders"]);
    client.close_write();
    assert_eq!(client.stream.read(&mut [0; 9]).unwrap(), 0, "and not an end without it");
    wait_until("it is gone", || node.metric("sockets") == 0.0);
    assert_eq!(node.metric("closes_total{reason=\"peer_gone\"}"), 1.0);
    // By the close of WebSocket.
    let mut client = files.live(&node, "u", &["orders"]);
    client.send_raw(&frame(0x88, &1000u16.to_be_bytes()));
    assert!(matches!(client.next(), Frame::Close(1000, _)));
    assert_eq!(client.stream.read(&mut [0; 9]).unwrap(), 0);
    drop(client);
    // Without a word.
    let client = files.live(&node, "u", &["orders"]);
    client.stream.0.sock.shutdown(Shutdown::Write).unwrap();
    wait_until("all are gone", || node.metric("sockets") == 0.0);
    // By a reset.
    let client = files.live(&node, "u", &["orders"]);
    crate::support::reset(client.stream.0.sock);
    wait_until("all are gone", || node.metric("sockets") == 0.0);
}
