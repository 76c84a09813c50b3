//! The way to a node's control listener: which socket, and one request over it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::cli::http::{Request, Response, exchange};
use crate::cli::output;
use crate::node::settings::find_control_socket;

/// How long a node may be silent before a request is given up: a post waits for the disk at most.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often one request is sent before the node counts as too busy.
pub const MAX_ATTEMPTS: u32 = 10;
/// Longest pause between two of them.
const MAX_PAUSE_S: u64 = 30;

/// The help of `--control`.
pub const CONTROL_HELP: &str = "Control socket of the node, or IP:PORT with the token in WS_CONTROL_TOKEN [default: where nodes usually are]";

/// Where a control listener may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Unix sockets, tried in order.
    Sockets(Vec<PathBuf>),
    /// A TCP address, with the token that it asks for.
    Tcp(SocketAddr, Option<String>),
}

/// A stream to a control listener.
#[derive(Debug)]
pub enum Link {
    /// Of a Unix socket.
    Unix(UnixStream),
    /// Of TCP.
    Tcp(TcpStream),
}

impl Control {
    /// What `--control` names (a path, or `IP:PORT` with the token of `WS_CONTROL_TOKEN`), else where nodes usually are.
    pub fn find(named: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Control {
        match named {
            None => Control::Sockets(find_control_socket(env)),
            Some(text) => match text.parse() {
                Ok(address) => Control::Tcp(address, env("WS_CONTROL_TOKEN")),
                Err(_) => Control::Sockets(vec![text.into()]),
            },
        }
    }

    /// A connection for many requests, without timeouts, and the token that each of them has to bring.
    ///
    /// # Errors
    /// One sentence: no node there.
    pub fn open(&self) -> Result<(Link, Option<&str>), String> {
        let failed = |e: io::Error| format!("can't connect to the node: {e}");
        match self {
            Control::Sockets(paths) => {
                let (stream, _) = connect(paths)?;
                stream.set_read_timeout(None).map_err(failed)?;
                stream.set_write_timeout(None).map_err(failed)?;
                Ok((Link::Unix(stream), None))
            }
            Control::Tcp(address, token) => {
                let stream = TcpStream::connect_timeout(address, TIMEOUT).map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                Ok((Link::Tcp(stream), token.as_deref()))
            }
        }
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// One sentence: no node there, or what went wrong with it.
    pub fn ask(&self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Response, String> {
        match self {
            Control::Sockets(paths) => {
                let (mut stream, at) = connect(paths)?;
                exchange(&mut stream, Request { method, path, bearer: None, body })
                    .map_err(|e| format!("the node at {} did not answer: {e}", at.display()))
            }
            Control::Tcp(address, token) => {
                let failed = |e: io::Error| format!("the node at {address} did not answer: {e}");
                let mut stream = TcpStream::connect_timeout(address, TIMEOUT).map_err(failed)?;
                stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
                stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
                exchange(&mut stream, Request { method, path, bearer: token.as_deref(), body })
                    .map_err(failed)
            }
        }
    }
}

/// Asks, and asks again while the node is busy: a 503 is never half done, so that doubles nothing. The last answer is
/// given back whatever it is.
///
/// # Errors
/// Those of `ask`, at once.
pub fn persist(
    mut ask: impl FnMut() -> Result<Response, String>,
    pause: fn(Duration),
) -> Result<Response, String> {
    let mut attempt = 1;
    loop {
        let response = ask()?;
        if response.status != 503 || attempt == MAX_ATTEMPTS {
            return Ok(response);
        }
        let wait_s = response.retry_after_s().unwrap_or(1).clamp(1, MAX_PAUSE_S);
        output::tell(&format!(
            "{}; trying again in {wait_s} s ({attempt} of {MAX_ATTEMPTS})",
            message(&response).unwrap_or_else(|| "the node is busy".into())
        ));
        pause(Duration::from_secs(wait_s));
        attempt += 1;
    }
}

#[derive(Deserialize)]
struct Failed {
    error: Message,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

/// What the node says for a refusal, in a sentence.
pub fn refusal(response: &Response) -> String {
    match message(response) {
        Some(message) => format!("the node refused ({}): {message}", response.status),
        None => format!("the node refused with status {}", response.status),
    }
}

fn message(response: &Response) -> Option<String> {
    serde_json::from_slice(&response.body).ok().map(|Failed { error }| error.message)
}

/// The first socket that somebody listens on.
fn connect(paths: &[PathBuf]) -> Result<(UnixStream, &Path), String> {
    let mut tried = Vec::new();
    for path in paths {
        match connect_one(path) {
            Ok(stream) => return Ok((stream, path)),
            Err(e) => tried.push(format!("{} ({e})", path.display())),
        }
    }
    Err(format!(
        "no node found at {}; start one with `omnicast`, or name its socket with --control PATH",
        tried.join(", ")
    ))
}

fn connect_one(path: &Path) -> io::Result<UnixStream> {
    refuse_foreign(path)?;
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// In a directory that everybody may write to, somebody else could have put a socket of that name first, and would then be
/// told every event. Root and this user are trusted.
fn refuse_foreign(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|directory| directory.starts_with(std::env::temp_dir()))
    else {
        return Ok(());
    };
    let owner = std::fs::metadata(directory)?.uid();
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "its directory belongs to another user"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_named_listener_is_a_path_or_an_address() {
        let env = |name: &str| (name == "WS_CONTROL_TOKEN").then(|| "t".to_string());
        let find = |named| Control::find(Some(named), env);
        assert_eq!(find("127.0.0.1:9"), Control::Tcp("127.0.0.1:9".parse().unwrap(), Some("t".into())));
        assert_eq!(find("./c.sock"), Control::Sockets(vec!["./c.sock".into()]));
        assert_eq!(Control::find(None, env), Control::Sockets(find_control_socket(env)));
    }

    #[test]
    fn the_first_socket_with_a_listener_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let (absent, present) = (directory.path().join("a"), directory.path().join("b"));
        let listener = UnixListener::bind(&present).unwrap();
        let node = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4];
            stream.read_exact(&mut head).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
            head
        });
        let control = Control::Sockets(vec![absent.clone(), present]);
        assert_eq!(control.ask("GET", "/x", None).unwrap().body, b"{}");
        assert_eq!(&node.join().unwrap(), b"GET ");
        let refusal = Control::Sockets(vec![absent.clone()]).ask("GET", "/x", None).unwrap_err();
        assert!(refusal.contains(absent.to_str().unwrap()) && refusal.contains("--control"), "{refusal}");
    }
}
