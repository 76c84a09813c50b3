//! A server under measurement: a child process, and the way to make it publish.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use omnicast::wire::envelope::encode_event;

enum Publish {
    /// HTTP on the control socket, keep-alive.
    Node(UnixStream),
    /// Ready frames behind their length; the position of the last one.
    Floor(TcpStream, u64),
}

/// A child process that clients connect to.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    publish: Publish,
    _dir: tempfile::TempDir,
}

/// Nanoseconds since the epoch, twenty digits, so that every event has the same size.
fn stamp() -> String {
    format!("{:020}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos())
}

/// About 200 bytes on the wire.
fn data() -> String {
    let at = stamp();
    format!(
        r#"{{"productId":"prod_0123456789","productName":"Espresso cups, 6","sku":"ESP-6","oldStock":41,"newStock":40,"difference":-1,"sentAtNs":"{at}"}}"#
    )
}

impl Server {
    /// A node for `n` clients.
    pub fn node(n: usize, shards: &str) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let control = dir.path().join("control.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_omnicast"));
        command
            .env("WS_PORT", "0")
            .env("WS_CONTROL_SOCKET", &control)
            .env("WS_SHARDS", shards)
            .env("WS_LOG", "error")
            .env("WS_MAX_CONNECTIONS", (n + 10).to_string());
        let (child, line) = start(&mut command);
        let address = line.split("ws://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
        let publish = Publish::Node(UnixStream::connect(&control).unwrap());
        Server { child, address, publish, _dir: dir }
    }

    /// The floor.
    pub fn floor() -> Server {
        let (child, line) = start(Command::new(std::env::current_exe().unwrap()).arg("--floor"));
        let address = line.trim().parse().unwrap();
        let mut publisher = TcpStream::connect(address).unwrap();
        publisher.set_nodelay(true).unwrap();
        publisher.write_all(b"PUBLISH\n").unwrap();
        Server { child, address, publish: Publish::Floor(publisher, 0), _dir: tempfile::tempdir().unwrap() }
    }

    /// Whether clients authenticate and subscribe.
    pub fn speaks_protocol(&self) -> bool {
        matches!(self.publish, Publish::Node(_))
    }

    /// Publishes `n` events back to back, in one write. Returns when they were taken.
    pub fn post(&mut self, n: usize) {
        let mut bytes = Vec::new();
        match &mut self.publish {
            Publish::Node(socket) => {
                for _ in 0..n {
                    let body = format!(r#"{{"type":"inventory:updated","data":{}}}"#, data());
                    let head = format!(
                        "POST /api/events HTTP/1.1\r\nHost: n\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    bytes.extend_from_slice(head.as_bytes());
                    bytes.extend_from_slice(body.as_bytes());
                }
                socket.write_all(&bytes).unwrap();
                let mut answers = Vec::new();
                let mut buffer = [0; 16 << 10];
                while count(&answers, b"\"accepted\":1") < n {
                    let read = socket.read(&mut buffer).unwrap();
                    assert!(read > 0, "the node closed the control connection");
                    answers.extend_from_slice(&buffer[..read]);
                    assert_eq!(count(&answers, b"HTTP/1.1 200"), count(&answers, b"HTTP/1.1 "), "refused");
                }
            }
            Publish::Floor(socket, position) => {
                for _ in 0..n {
                    *position += 1;
                    let now = u64::try_from(stamp().parse::<u128>().unwrap() / 1_000_000).unwrap();
                    let id = position.to_string();
                    let frame = encode_event("inventory:updated", "inventory", &data(), now, &id);
                    bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
                    bytes.extend_from_slice(&frame);
                }
                socket.write_all(&bytes).unwrap();
            }
        }
    }

    /// CPU time of the process so far, all threads.
    pub fn cpu_ns(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks
            .map(|task| {
                let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
                text.split(' ').next().unwrap().parse::<u64>().unwrap()
            })
            .sum()
    }

    /// Resident memory.
    pub fn rss(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|w| w == &needle).count()
}

fn start(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    std::thread::sleep(Duration::from_millis(100)); // Its threads have started and are quiet.
    (child, line)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
