//! A disk that is full: nothing is published, everything else goes on, and nothing is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::site::{Site, ids};
use crate::support::{order, wait_until};

/// A small disk in a mount namespace of its own, which lives as long as this.
struct Disk {
    holder: Child,
    at: PathBuf,
}

impl Disk {
    /// 8 MiB at the journal of `site`. `None` where the system does not let us.
    fn mount(site: &Site, options: &str) -> Option<Disk> {
        let at = site.journal();
        fs::create_dir_all(&at).unwrap();
        let script = format!("mount -t tmpfs -o size=8m{options} tmpfs \"$0\" && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args(["-rm", "sh", "-c", &script])
            .arg(&at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said.trim() == "mounted" {
            return Some(Disk { holder, at });
        }
        let _ = holder.wait();
        None
    }

    /// The command of a node that sees it.
    fn node(&self) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.holder.id().to_string();
        command.args(["-t", &pid, "-U", "-m", "--preserve-credentials", env!("CARGO_BIN_EXE_omnicast")]);
        command
    }

    /// The way into it from outside.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), self.at.display()))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path().join("filler")).unwrap();
        for size in [64 << 10, 4 << 10, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    /// Gives it back.
    fn free(&self) {
        File::create(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A place on a small disk, or `None`, which it says.
fn small_disk(settings: &[(&str, &str)]) -> Option<(Site, Disk)> {
    let site = Site::new(settings);
    match Disk::mount(&site, "") {
        Some(disk) => Some((site, disk)),
        None => {
            println!("NOT TESTED: no mount namespace to be had here (unshare -rm)");
            None
        }
    }
}

/// An order of a few kilobytes.
fn large(n: u64) -> Value {
    let mut event = order(&format!("o_{n}"), "c");
    event["data"]["pad"] = "x".repeat(6_000).into();
    event["data"]["n"] = n.into();
    event["idempotencyKey"] = format!("k_{n}").into();
    event
}

/// Posts that must be refused, in every shape.
fn assert_refuses(site: &Site, from: u64) {
    for n in from..from + 20 {
        let body = if n % 2 == 0 { large(n) } else { json!([large(n), large(n + 1_000)]) };
        let answer = site.ask("POST", "/api/events", &body.to_string());
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.header("retry-after").is_some() && answer.code() == "journal_unavailable");
    }
}

#[test]
fn a_full_disk_refuses_posts_and_stops_nothing_else() {
    for sync in ["always", "interval"] {
        let Some((mut site, disk)) =
            small_disk(&[("WS_JOURNAL_SYNC", sync), ("WS_JOURNAL_SEGMENT", "262144")])
        else {
            return;
        };
        site.launch(|| disk.node());
        site.wait_ready();
        let epoch = site.epoch();
        let mut live = site.client("boss", "admin");
        live.subscribe(&["orders"]);
        let mut slow = site.client("ann", "manager");
        slow.subscribe(&["orders"]);
        let mut shopper = site.client("c", "customer");
        shopper.subscribe(&["orders"]);
        wait_until("the shopper is announced", || !site.history(0).0.is_empty());
        let mut posted: Vec<u64> = (0..60).flat_map(|n| site.post(&large(n))).collect();
        assert_eq!(posted, (2..62).collect::<Vec<_>>());

        disk.fill();
        assert_refuses(&site, 100);
        // What was published is delivered, whoever reads when.
        assert_eq!(ids(&live.sync()), posted);
        assert_eq!(ids(&slow.sync()), posted);
        // One who was away comes back, and goes when told to.
        let (mut back, answer) = site.resume(&epoch, 1);
        assert_eq!(answer["data"]["recovered"], true);
        assert_eq!(back.expect("caught_up")["data"]["replayed"], posted.len());
        assert_eq!(ids(&back.passed()), posted);
        assert_eq!(site.ask("DELETE", "/api/users/ann", "").status, 200);
        assert_eq!(slow.expect_close().0, 4004);
        // What a client publishes is refused as well, and may be tried again.
        let viewing = json!({"productId": "p", "productName": "P", "pad": "x".repeat(6_000)});
        shopper
            .send(&json!({"type": "publish", "data": {"type": "customer:viewing_product", "data": viewing}}));
        let refusal = loop {
            let message = shopper.message();
            if message["type"] == "error" {
                break message;
            }
            assert_eq!(message["type"], "order:created", "{message}");
        };
        assert_eq!(refusal["data"]["retryable"], true, "{refusal}");
        for path in ["/healthz", "/readyz", "/metrics", "/api/ws/stats"] {
            assert_eq!(site.ask("GET", path, "").status, 200, "{path}");
        }

        disk.free();
        posted.extend((60..80).flat_map(|n| site.post(&large(n))));
        assert_eq!(posted[60..], (62..82).collect::<Vec<_>>(), "no id is left out");
        assert_eq!(ids(&live.sync()), posted[60..]);
        // What was refused is no duplicate now.
        assert_eq!(site.post(&large(100)), [82]);

        // Killed when it is full again: all of it is still there.
        disk.fill();
        assert_refuses(&site, 200);
        site.kill();
        disk.free();
        site.launch(|| disk.node());
        site.wait_ready();
        assert_eq!(site.epoch(), epoch, "{}", site.log());
        let (events, gap) = site.history(0);
        assert!(!gap);
        let numbers: Vec<u64> = events.iter().filter_map(|event| event["data"]["n"].as_u64()).collect();
        assert_eq!(numbers, (0..80).chain([100]).collect::<Vec<_>>());
        assert_eq!(ids(&events)[..82], (1..=82).collect::<Vec<_>>());
    }
}

#[test]
fn a_disk_that_cannot_be_written_refuses_the_start() {
    let site = Site::new(&[]);
    let Some(disk) = Disk::mount(&site, ",ro") else {
        println!("NOT TESTED: no mount namespace to be had here (unshare -rm)");
        return;
    };
    let (status, said) = site.refused_by(|| disk.node());
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.lines().count() == 1 && said.contains("WS_JOURNAL"), "{said}");
}

/// Full from the beginning, whether it was killed before or stopped: it starts, and what is there can be
/// read.
#[test]
fn a_start_on_a_full_disk_loses_nothing() {
    let Some((mut site, disk)) = small_disk(&[]) else { return };
    site.launch(|| disk.node());
    site.wait_ready();
    let epoch = site.epoch();
    site.post(&json!([large(1), large(2)]));
    for is_killed in [true, false] {
        if is_killed {
            site.kill()
        } else {
            assert!(site.terminate().success())
        }
        disk.fill();
        site.launch(|| disk.node());
        site.wait_ready();
        assert_eq!((site.epoch(), ids(&site.history(0).0)), (epoch.clone(), vec![1, 2]), "{}", site.log());
        let meta = fs::read_to_string(disk.path().join("meta")).unwrap();
        let meta: Value = serde_json::from_str(&meta).unwrap();
        assert_eq!(meta["clean"], false, "it runs");
        assert_refuses(&site, 100);
        site.kill();
        disk.free();
        site.launch(|| disk.node());
        site.wait_ready();
        assert_eq!((site.epoch(), ids(&site.history(0).0)), (epoch.clone(), vec![1, 2]), "{}", site.log());
    }
    assert_eq!(site.post(&large(100)), [3]);
}
