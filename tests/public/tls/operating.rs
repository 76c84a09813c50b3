//! What an operator meets: reload, stop, very many at once, limits, bad files, memory.

use super::*;

#[test]
fn a_signal_brings_the_new_certificate_and_keeps_everybody() {
    let mut files = Files::new();
    let node = files.node(&[("WS_SHARDS", "2")]);
    let old = files.config(&[&TLS13]);
    let stream = |config: &Arc<ClientConfig>| Tls(StreamOwned::new(tls(config), socket(&node)));
    let mut veteran = files.live(&node, "veteran", &["orders"]);
    files.renew();
    assert!(upgrade(&node, stream(&old)).is_ok(), "nothing changes before the signal");
    node.signal("HUP");
    wait_until("it says so", || node.log().contains("were read again"));
    let mut fresh = files.live(&node, "fresh", &["orders"]);
    for _ in 0..8 {
        files.live(&node, "fresh", &["orders"]); // Whichever shard takes it.
    }
    // One that comes back with a session of the old certificate meets the new one too.
    let error = upgrade(&node, stream(&old)).err().expect("it does not know the new one");
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");

    // What is no good changes nothing.
    let good = std::fs::read_to_string(files.key()).unwrap();
    let stranger = pair().2;
    for bad in ["", "no pem", &stranger] {
        std::fs::write(files.key(), bad).unwrap();
        let complaints = node.log().matches("the old one stays").count();
        node.signal("HUP");
        wait_until("it complains", || node.log().matches("the old one stays").count() > complaints);
        files.live(&node, "more", &["orders"]);
    }
    assert!(node.log().contains("WS_TLS_KEY"), "{}", node.log());
    std::fs::write(files.key(), good).unwrap();
    node.signal("HUP");
    wait_until("it says so", || node.log().matches("were read again").count() == 2);
    node.post(&order("o_1", "c"));
    for client in [&mut veteran, &mut fresh] {
        client.expect("order:created");
    }
}

#[test]
fn a_stop_tells_everybody_and_a_reload_meanwhile_does_not_force_it() {
    let files = Files::new();
    let mut node = files.node(&[("WS_SHARDS", "2"), ("WS_DRAIN_TIMEOUT", "1500")]);
    let mut clients: Vec<_> = (0..40).map(|i| files.live(&node, &format!("u_{i}"), &["orders"])).collect();
    let mut begun = socket(&node);
    begun.write_all(&hello(&files)).unwrap();
    node.signal("TERM");
    node.signal("HUP");
    for client in &mut clients {
        assert_eq!(client.expect_close().0, 1001);
    }
    assert_eq!(node.wait(PATIENCE).code(), Some(0), "{}", node.log());
}

#[test]
fn two_hundred_at_once_and_no_descriptor_is_left_behind() {
    const CLIENTS: usize = 200;
    let files = Files::new();
    let node = files.node(&[("WS_SHARDS", "2")]);
    files.live(&node, "u", &["orders"]);
    wait_until("the first is gone", || node.metric("sockets") == 0.0);
    let before = descriptors(node.pid());
    let config = files.config(&[&TLS13]);
    let start = std::sync::Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..CLIENTS)
            .map(|i| {
                let (node, config, start) = (&node, &config, &start);
                scope.spawn(move || {
                    start.wait();
                    let stream = Tls(StreamOwned::new(tls(config), socket(node)));
                    let mut client = upgrade(node, stream).unwrap();
                    client.auth(&format!("u_{i}"), "admin");
                    client.subscribe(&["orders"]);
                    client
                })
            })
            .collect();
        let mut clients: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        assert_eq!(node.stats()["totalConnections"], CLIENTS);
        node.post(&order("o_1", "c"));
        for client in &mut clients {
            client.expect("order:created");
        }
    });
    wait_until("they are gone", || node.metric("sockets") == 0.0);
    // The control connection of the last question may be among them.
    wait_until("their descriptors too", || descriptors(node.pid()) <= before);
    assert_eq!(node.metric("tls_handshakes_total"), 201.0);
}

#[test]
fn limits_by_address_hold_before_a_handshake_costs_anything() {
    let files = Files::new();
    let node =
        files.node(&[("WS_MAX_CONNECTIONS_PER_IP", "1"), ("WS_TRUSTED_PROXIES", ""), ("WS_SHARDS", "1")]);
    let mut first = files.live(&node, "u", &["orders"]);
    let mut second = socket(&node);
    let _ = second.write_all(&hello(&files)); // It may be closed already.
    assert_eq!(rest(&mut second), b"");
    assert_eq!(node.metric("tls_handshakes_total"), 1.0);
    first.sync();
    drop(first);
    wait_until("there is room again", || node.metric("sockets") == 0.0);
    files.live(&node, "u", &["orders"]);
}

#[test]
fn with_very_many_handshakes_under_way_accepting_waits_and_goes_on() {
    const SILENT: usize = 2200; // More than a shard has at once.
    let limit = omnicast::node::descriptors::raise(SILENT as u64 + 300);
    if limit.is_some_and(|limit| limit < SILENT as u64 + 300) {
        return; // This machine gives no process so many.
    }
    let files = Files::new();
    let node = files.node(&[
        ("WS_SHARDS", "1"),
        ("WS_HEAD_TIMEOUT", "4000"),
        ("WS_MAX_CONNECTIONS_PER_IP", "10000"),
        ("WS_CONNECT_RATE_PER_IP", "100000"),
    ]);
    let mut live = files.live(&node, "u", &["orders"]);
    let silent: Vec<_> = (0..SILENT).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    wait_until("they are in", || node.metric("sockets") >= 2048.0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(node.metric("sockets"), 2049.0, "no more than that");
    node.post(&order("o_1", "c"));
    live.expect("order:created");
    let began = Instant::now();
    let mut late = files.live(&node, "late", &["orders"]);
    assert!(began.elapsed() > Duration::from_millis(200), "it waited behind them");
    late.sync();
    drop(silent);
    wait_until("they are gone", || node.metric("sockets") == 2.0);
}

#[test]
fn files_that_are_no_good_end_with_2_before_anything_is_bound() {
    let files = Files::new();
    let path = |name: &str, text: &str| {
        let path = files.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let [(_, chain), (_, key)] = files.settings();
    let (empty, noise, stranger) = (path("empty", ""), path("noise", "noise"), path("stranger", &pair().2));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let (broken, broken_key) = (path("broken", broken), path("broken_key", broken_key));
    let missing = files.dir.path().join("missing").to_str().unwrap().to_owned();
    let both =
        |chain: &str, key: &str| vec![("WS_TLS_CERT", chain.to_owned()), ("WS_TLS_KEY", key.to_owned())];
    type Row = (Vec<(&'static str, String)>, [&'static str; 2]);
    let table: Vec<Row> = vec![
        (vec![("WS_TLS_CERT", chain.clone())], ["WS_TLS_CERT is set", "WS_TLS_KEY is not"]),
        (vec![("WS_TLS_KEY", key.clone())], ["WS_TLS_KEY is set", "WS_TLS_CERT is not"]),
        (both(&missing, &key), ["WS_TLS_CERT", "missing"]),
        (both(&chain, &missing), ["WS_TLS_KEY", "missing"]),
        (both(&empty, &key), ["WS_TLS_CERT", "no certificate"]),
        (both(&noise, &key), ["WS_TLS_CERT", "no certificate"]),
        (both(&broken, &key), ["WS_TLS_CERT", "certificate"]),
        (both(&chain, &empty), ["WS_TLS_KEY", "no private key"]),
        (both(&chain, &broken_key), ["WS_TLS_KEY", "key"]),
        (both(&key, &chain), ["WS_TLS_CERT", "no certificate"]),
        (both(&chain, &stranger), ["WS_TLS_KEY", "not the key of"]),
    ];
    let control = files.dir.path().join("s");
    for (settings, told) in &table {
        let mut all = vec![("WS_PORT", "0"), ("WS_CONTROL_SOCKET", control.to_str().unwrap())];
        all.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
        for arguments in [&[][..], &["check"]] {
            let output = omnicast(arguments, &all, "");
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{settings:?}: {stderr}");
            assert!(output.stdout.is_empty() && !control.exists(), "{settings:?}");
            assert!(told.iter().all(|part| stderr.contains(part)), "{told:?} in {stderr}");
            assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
        }
    }
    let own = files.settings();
    let good: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(omnicast(&["check"], &good, "").status.code(), Some(0));
    // What has no TLS says so.
    let refused = omnicast(&["tail", "--url", "wss://localhost:1/api/ws"], &[], "");
    assert!(String::from_utf8(refused.stderr).unwrap().contains("wss:// is not supported"));
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_key_that_everybody_can_read_is_pointed_out() {
    let files = Files::new();
    let node = files.node(&[]);
    files.live(&node, "u", &["orders"]);
    assert!(!node.log().contains("WS_TLS_KEY"), "{}", node.log());
    std::fs::set_permissions(files.key(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let node = files.node(&[]);
    assert!(node.log().contains("can read the key in WS_TLS_KEY"), "{}", node.log());
}

/// What the operations page says a connection costs. By hand, of a release build:
/// `cargo test --release --test public -- --ignored --nocapture an_idle_connection`.
#[test]
#[ignore = "a measurement"]
fn an_idle_connection_and_its_memory() {
    const CLIENTS: usize = 2000;
    omnicast::node::descriptors::raise(2 * CLIENTS as u64 + 300);
    let limits =
        [("WS_MAX_CONNECTIONS_PER_IP", "10000"), ("WS_CONNECT_RATE_PER_IP", "100000"), ("WS_SHARDS", "1")];
    let files = Files::new();
    let plain = Node::start(&limits);
    let before = rss(plain.pid());
    let kept: Vec<_> =
        (0..CLIENTS).map(|i| Client::live(&plain, &format!("u_{i}"), "admin", &["orders"])).collect();
    println!("plain: {} bytes a connection", (rss(plain.pid()) - before) / CLIENTS as u64);
    drop((kept, plain));
    let node = files.node(&limits);
    let config = files.config(&[&TLS13]);
    let before = rss(node.pid());
    let began = Instant::now();
    let mut clients = Vec::new();
    for i in 0..CLIENTS {
        let stream = Tls(StreamOwned::new(tls(&config), socket(&node)));
        let mut client = upgrade(&node, stream).unwrap();
        client.auth(&format!("u_{i}"), "admin");
        client.subscribe(&["orders"]);
        clients.push(client);
    }
    println!("TLS: {} bytes a connection", (rss(node.pid()) - before) / CLIENTS as u64);
    println!("{CLIENTS} handshakes, one after the other, with their clients: {:?}", began.elapsed());
    node.post(&order("o_1", "c"));
    for client in &mut clients {
        client.expect("order:created");
    }
    println!("TLS after an event: {} bytes", (rss(node.pid()) - before) / CLIENTS as u64);
}
