//! A node of our own, for as long as it is measured.

use std::fs::DirBuilder;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::node::settings::SETTINGS;

/// How long a node may take to stop, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections that a node admits beside those of the run.
const SPARE_CONNECTIONS: u32 = 16;

/// A running node. It ends with this value.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    directory: PathBuf,
    url: String,
}

/// What a signal has to clean up: the node that runs.
static WARD: Mutex<Option<(Pid, PathBuf)>> = Mutex::new(None);
/// One thread watches for signals, however many nodes come one after the other.
static WATCH: Once = Once::new();

impl Spawned {
    /// Starts this same executable as a node that admits `connections`. Nothing of the environment's settings holds for it
    /// but the secret; `settings` are its own.
    ///
    /// # Errors
    /// One sentence: it does not start.
    pub fn start(
        connections: u32,
        shards: Option<u32>,
        settings: &[(String, String)],
        secret: Option<&str>,
    ) -> Result<Spawned, String> {
        let failed = |e: std::io::Error| format!("can't start a node: {e}");
        let name = format!("omnicast-bench-{:016x}", RandomState::new().hash_one(std::process::id()));
        let directory = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&directory).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        for setting in SETTINGS {
            command.env_remove(setting.name);
        }
        command
            .arg("serve")
            .env("WS_PORT", "0")
            .env("WS_CONTROL_SOCKET", control_socket(&directory))
            .env("WS_LOG", "error")
            .env("WS_DRAIN_TIMEOUT", "0")
            .env("WS_MAX_CONNECTIONS", (connections + SPARE_CONNECTIONS).to_string())
            .env("WS_MAX_CONNECTIONS_PER_IP", "1000000")
            .env("WS_CONNECT_RATE_PER_IP", "1000000")
            .envs(shards.map(|shards| ("WS_SHARDS", shards.to_string())))
            .envs(secret.map(|secret| ("WS_JWT_SECRET", secret)))
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let spawned = command.spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(e) => {
                remove(&directory);
                return Err(failed(e));
            }
        };
        *ward() = Some((Pid::from_child(&child), directory.clone()));
        WATCH.call_once(stop_with_us);
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line); // Without a line there is no URL in it.
        }
        let url = line.split_whitespace().find(|word| word.starts_with("ws://")).map(str::to_owned);
        let node = Spawned { child, directory, url: url.clone().unwrap_or_default() };
        if url.is_none() {
            return Err("the node did not start; what it says stands above".into());
        }
        Ok(node)
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        control_socket(&self.directory)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

fn ward() -> MutexGuard<'static, Option<(Pid, PathBuf)>> {
    WARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leaves nothing behind where a signal ends this process.
fn stop_with_us() {
    // Without the handler a signal ends this process all the same, and leaves the node.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            if let Some((pid, directory)) = ward().take() {
                let _ = kill_process(pid, Signal::KILL); // It may be gone already.
                remove(&directory);
            }
            std::process::exit(128 + signal);
        }
    });
}

impl Drop for Spawned {
    fn drop(&mut self) {
        ward().take();
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove(&self.directory);
    }
}

fn control_socket(directory: &Path) -> PathBuf {
    directory.join("control.sock")
}

fn remove(directory: &Path) {
    // A leftover in the temporary directory harms nobody.
    let _ = std::fs::remove_dir_all(directory);
}
