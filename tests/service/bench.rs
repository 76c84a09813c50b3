//! `omnicast bench`, on nodes small enough for a test.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};

use crate::support::{Node, SECRET, omnicast, wait_until};

/// Runs a bench in `directory`, and reads its JSON.
fn bench(directory: &Path, arguments: &str) -> (Output, Value) {
    let arguments: Vec<_> = ["bench", "--json"].into_iter().chain(arguments.split_whitespace()).collect();
    let output = omnicast(&arguments, &[("TMPDIR", directory.to_str().unwrap())], "");
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, report)
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {report}"))
}

#[test]
fn a_node_of_its_own_is_measured_and_nothing_of_it_stays() {
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("plot.svg");
    let (output, report) = bench(
        directory.path(),
        &format!(
            "--spawn --shards 2 --connections 200 --roles staff=7,customer=2,guest=1 --namespaces orders,products \
             --events 40 --bursts 2 --rate 50 --seconds 1 --plot {}",
            plot.display()
        ),
    );
    assert_eq!((output.status.code(), told(&output)), (Some(0), String::new()));
    assert_eq!(
        (&report["sound"], &report["shards"], &report["clients"]),
        (&json!(true), &json!(2), &json!(200))
    );
    assert_eq!(report["roles"], json!({"staff": 140, "customer": 40, "guest": 20}));
    let connects = report["connects"].as_array().unwrap();
    assert_eq!(
        connects.iter().map(|c| &c["name"]).collect::<Vec<_>>(),
        ["upgrade only", "auth and subscribe"]
    );
    for at in 0..2 {
        assert!(number(&report, &format!("/connects/{at}/perSecond")) > 10.0);
        assert!(number(&report, &format!("/connects/{at}/rssBytes")) < 100_000.0);
        assert!(number(&report, &format!("/connects/{at}/cpuUs")) > 0.0);
    }
    let names: Vec<_> = report["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
    assert_eq!(names, ["closed", "burst of 40", "open 50/s"]);
    for (at, events) in [40, 80, 50].into_iter().enumerate() {
        let of = |path: &str| number(&report, &format!("/phases/{at}/{path}"));
        assert_eq!((of("events"), of("refused")), (f64::from(events), 0.0));
        // Half are products, for everybody; half are orders, for the staff and, of its own, each customer.
        let least = f64::from(events / 2 * (200 + 140));
        assert!((least..=least + f64::from(events / 2)).contains(&of("deliveries/expected")), "{report}");
        assert_eq!(of("deliveries/received"), of("deliveries/expected"));
        assert!(of("cpuUs") > 0.0 && of("perSecond") > 0.0);
        let latency = ["p50", "p90", "p99", "p999", "max"].map(|p| of(&format!("latencyMs/{p}")));
        assert!(latency.is_sorted() && latency[0] > 0.0 && latency[4] < 60_000.0, "{latency:?}");
    }
    assert_eq!(report["total"]["lost"], 0);
    assert_eq!(report["total"]["received"], report["total"]["expected"]);
    assert!(std::fs::read_to_string(&plot).unwrap().starts_with("<svg"));
    std::fs::remove_file(plot).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the directory of the node is gone");
    let process = Path::new("/proc").join(report["pid"].to_string());
    assert!(!process.join("root").exists(), "the node has ended");
}

#[test]
fn those_that_stop_reading_are_reported_and_count_as_no_loss() {
    let directory = tempfile::tempdir().unwrap();
    // More than the kernel buffers for one who does not read, and then the node's backlog.
    let (output, report) = bench(
        directory.path(),
        "--spawn --set WS_MAX_BACKLOG=4096 --connections 40 --paused 10% --slow 0.05 --scenario burst \
         --size 20000 --burst 100 --bursts 6",
    );
    assert_eq!(output.status.code(), Some(0), "{} {report}", told(&output));
    let slow = &report["slow"];
    assert_eq!((&slow["paused"], &slow["slow"], &slow["incomplete"]), (&json!(4), &json!(2), &json!(0)));
    let ended: u64 = slow["ended"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!((ended, &slow["nodeClosed4103"]), (6, &json!(6)), "{slow}");
    assert_eq!((&report["total"]["lost"], &report["failures"]), (&json!(0), &json!({})));
    // Where the backlog holds what they leave, they have it all once they read on.
    let (output, report) = bench(
        directory.path(),
        "--spawn --connections 40 --paused 10% --slow 5% --scenario closed --events 20",
    );
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!((&report["slow"]["complete"], &report["slow"]["ended"]), (&json!(6), &json!({})));
    assert_eq!(report["total"]["expected"], 34 * 23);
}

#[test]
fn a_running_node_is_found_with_its_process_and_takes_minted_tokens() {
    let node = Node::start_with_key(&[]);
    let url = format!("ws://{}/api/ws", node.address);
    let settings = [("WS_CONTROL_SOCKET", node.control.to_str().unwrap()), ("WS_JWT_SECRET", SECRET)];
    let arguments = [
        "bench",
        "--url",
        &url,
        "--connections",
        "20",
        "--scenario",
        "storm,closed",
        "--keys",
        "3",
        "--json",
    ];
    let output = omnicast(&arguments, &settings, "");
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    assert_eq!((output.status.code(), &report["pid"]), (Some(0), &json!(node.pid())));
    assert_eq!(report["connects"].as_array().unwrap().len(), 2);
    // Without the secret nobody gets in.
    let output = omnicast(&arguments, &settings[..1], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("20 of 20 clients did not get in"), "{}", told(&output));
}

#[test]
fn posts_are_counted_in_each_of_their_ways() {
    let directory = tempfile::tempdir().unwrap();
    let (output, report) = bench(
        directory.path(),
        "--spawn --connections 2 --to-one --scenario posts --seconds 0.2 --publishers 3",
    );
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let names: Vec<_> = report["posts"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["single", "pipelined", "ndjson"]);
    for at in 0..3 {
        let of = |path: &str| number(&report, &format!("/posts/{at}/{path}"));
        assert_eq!(of("events"), of("posts") * if at == 2 { 100.0 } else { 1.0 });
        assert_eq!(of("deliveries/received"), of("events") - of("refused"));
        assert!(of("cpuUs") > 0.0 && of("answerMs/max") > 0.0);
    }
}

#[test]
fn those_that_come_back_get_what_they_missed_once() {
    let directory = tempfile::tempdir().unwrap();
    let (output, report) = bench(
        directory.path(),
        "--spawn --scenario comeback --connections 20 --returning 60 --behind 300 --rate 50 --seconds 0.5",
    );
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let comeback = &report["comeback"];
    assert_eq!((&comeback["live"], &comeback["returning"]), (&json!(20), &json!(60)));
    assert!(number(comeback, "/behind") >= 300.0 && number(comeback, "/p99ToQuiet") > 0.0, "{comeback}");
    assert_eq!(comeback["deliveries"]["received"], comeback["deliveries"]["expected"]);
    assert_eq!(report["sound"], true);
}

#[test]
fn a_signal_ends_the_node_of_its_own_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_omnicast"))
        .args(["bench", "--spawn", "--connections", "5", "--scenario", "open", "--seconds", "600"])
        .env_clear()
        .env("TMPDIR", directory.path())
        .spawn()
        .unwrap();
    let mut control = None;
    wait_until("the node listens", || {
        let entries = std::fs::read_dir(directory.path()).unwrap().flatten();
        control = entries.map(|e| UnixStream::connect(e.path().join("control.sock"))).find_map(Result::ok);
        control.is_some()
    });
    let stopped = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(control.unwrap().read(&mut [0]).unwrap_or(0), 0, "the node is gone");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "and its directory");
}

/// A server that upgrades a publisher and a client, and hands on each message as `copies` says.
fn careless(listener: TcpListener, copies: impl Fn(usize) -> usize) {
    let mut publisher = None;
    let mut client = None;
    while publisher.is_none() || client.is_none() {
        let (stream, _) = listener.accept().unwrap();
        let mut publishes = false;
        #[allow(clippy::result_large_err, reason = "the callback's type is given")]
        let look = |request: &Request, response: Response| {
            publishes = request.uri().path() == "/publish";
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, look).unwrap();
        *(if publishes { &mut publisher } else { &mut client }) = Some(socket);
    }
    let (mut publisher, mut client) = (publisher.unwrap(), client.unwrap());
    for index in 0.. {
        let Ok(message) = publisher.read() else { return };
        for _ in 0..copies(index) {
            client.send(message.clone()).unwrap();
        }
    }
}

#[test]
fn what_is_lost_or_comes_twice_is_named_and_ends_with_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || careless(listener, |index| [1, 1, 1, 1, 2, 0, 1, 1][index % 8]));
    let arguments = ["bench", "--bare", &url, "--connections", "1", "--scenario", "closed", "--events", "5"];
    let output = omnicast(&arguments, &[], "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("7 of 8 deliveries; 1 lost, 0 out of order, 1 twice"), "{text}");
    assert!(told(&output).contains("did not get what it must"));
}

#[test]
fn what_makes_no_sense_is_refused_with_2_and_a_node_that_is_not_there_with_1() {
    for (arguments, part) in [
        (&["bench", "--roles", "clerk"][..], "\"clerk\""),
        (&["bench", "--namespaces", "order"], "\"order\""),
        (&["bench", "--connections", "0"], "--connections"),
        (&["bench", "--scenario", "calm"], "\"calm\""),
        (&["bench", "--no-such"], "--no-such"),
    ] {
        let output = omnicast(arguments, &[], "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(told(&output).contains(part) && output.stdout.is_empty(), "{}", told(&output));
    }
    let few =
        format!("ulimit -n 100; exec {} bench --spawn --connections 90", env!("CARGO_BIN_EXE_omnicast"));
    let output = std::process::Command::new("sh").args(["-c", &few]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        told(&output).contains("need 162 open files") && told(&output).contains("ulimit"),
        "{}",
        told(&output)
    );
    let output = omnicast(&["bench", "--control", "/nowhere/s", "--connections", "1"], &[], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("/nowhere/s"), "{}", told(&output));
    let output = omnicast(&["bench", "--spawn", "--set", "WS_PORT=x", "--connections", "1"], &[], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("WS_PORT") && told(&output).contains("did not start"),
        "{}",
        told(&output)
    );
    let help = omnicast(&["bench", "--help"], &[], "");
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for part in ["--spawn", "--connections", "--paused", "--scenario", "--json", "--plot", "comeback"] {
        assert!(help.contains(part), "{part} in {help}");
    }
    assert!(!help.contains("--bare"));
}
