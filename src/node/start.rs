//! From settings to a running node, and back to nothing.
//!
//! ```text
//! main ── waits for signals
//!   ├─ shard 0…n each with its own listener; end when their clients are gone
//!   ├─ control   owns the sequencer; ends behind them
//!   └─ journal   writes the log on disk, and one that reads it; ends last
//! ```

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::{Poll, Waker};
use ring::rand::{SecureRandom, SystemRandom};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::window::Bounds;
use crate::conn::config::Config;
use crate::control;
use crate::control::http::Secret;
use crate::control::metrics::Sources;
use crate::node::journal::Legacy;
use crate::node::settings::{Settings, default_control_socket};
use crate::node::{assemble, descriptors, listen, logging, tls};
use crate::publish::sequencer::Sequencer;
use crate::shard::admission::Admission;
use crate::shard::clock::Clock;
use crate::shard::core::{Core, Place};
use crate::shard::counters::{Counters, Shared};
use crate::shard::envelope::Envelope;
use crate::shard::mail::{Order, Report};
use crate::shard::mailbox::{self, Mailbox, Mailroom, OrderLine, WakeGate, mailbox};
use crate::shard::reactor::{self, Upstream};
use crate::shard::tls::Acceptor;

/// Reports of the shards that may wait for the sequencer. What does not fit waits in the
/// shards, which try again every turn.
const INBOX_MAX: usize = 65_536;
/// Of the drain timeout, what is kept for the last steps of a stop.
const STOP_RESERVE: Duration = Duration::from_millis(250);
/// How long the control thread may take to end.
const CONTROL_PATIENCE: Duration = Duration::from_secs(1);

/// How long the journal may take to bring what it has to the disk.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(4);

/// Why a node does not start: the operator's settings, or the machine.
#[derive(Debug)]
pub enum StartError {
    /// A setting that cannot hold; one sentence.
    Setting(String),
    /// Something could not be had; one sentence.
    Machine(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (StartError::Setting(sentence) | StartError::Machine(sentence)) = self;
        f.write_str(sentence)
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    control_socket: PathBuf,
    control_address: Option<SocketAddr>,
    shared: Arc<Shared>,
    shards: Vec<OrderLine>,
    inbox: Upstream,
    has_journal: bool,
    ended: Receiver<Thread>,
    drain_timeout: Duration,
}

/// Which thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    Shard,
    Control,
    Journal,
    Reader,
}

/// How a wait for the end was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everybody was told and is gone, or the time was up.
    Orderly,
    /// Whoever waited did not want to wait any longer.
    Forced,
}

/// What the threads of a node are built from.
struct Parts {
    config: Arc<Config>,
    shared: Arc<Shared>,
    admission: Arc<Admission>,
    window: Bounds,
    /// Where the log stands, and its latest events.
    last_position: u64,
    recent: Vec<Arc<Envelope>>,
    clock: Clock,
    upstream: Upstream,
    acceptor: Option<Acceptor>,
    ended: Sender<Thread>,
}

impl Node {
    /// Starts a node. When this returns, its listeners are bound and its threads run.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: &Settings) -> Result<Node, StartError> {
        let epoch = random_epoch().map_err(|()| machine("no randomness from the system"))?;
        let clock = Clock::start();
        let window = Bounds { items: settings.history_events, bytes: settings.history_bytes };
        let mut config = assemble::config(settings, &epoch).map_err(StartError::Setting)?;
        let acceptor = tls::acceptor(settings).map_err(StartError::Setting)?;
        tls::warn_of_open_key(settings);
        let mut admission = Admission::new(
            settings.max_connections,
            settings.max_connections_per_ip,
            settings.connect_rate_per_ip,
        );
        check_descriptors(settings, &mut admission);
        let admission = Arc::new(admission);
        let (host, port) = (settings.host, settings.port);
        let listeners = listen::public(host, port, settings.shards).map_err(|e| {
            machine(format!("WS_HOST and WS_PORT: can't listen on {}: {e}", SocketAddr::new(host, port)))
        })?;
        let address = listeners[0].local_addr().map_err(|e| machine(e.to_string()))?;
        let control_socket = settings
            .control_socket
            .clone()
            .unwrap_or_else(|| default_control_socket(|name| std::env::var(name).ok()));
        let unix = listen::control_unix(&control_socket).map_err(|e| {
            machine(format!("WS_CONTROL_SOCKET: can't listen on {}: {e}", control_socket.display()))
        })?;
        let tcp = match (settings.control_addr, settings.control_token.as_deref()) {
            (Some(address), Some(token)) => {
                let listener = listen::control_tcp(address)
                    .map_err(|e| machine(format!("WS_CONTROL_ADDR: can't listen on {address}: {e}")))?;
                Some((listener, Secret::new(token.as_bytes())))
            }
            _ => None,
        };
        let control_address = tcp.as_ref().and_then(|(tcp, _)| tcp.local_addr().ok());

        // Behind everything that can fail for a reason of the moment, such as a port that is taken: a
        // log that was opened has not been left in good order until its node ends so.
        let legacy = Legacy::open(settings, &config.policy, window, epoch, clock.now())
            .map_err(|e| machine(e.to_string()))?;
        config.epoch = legacy.epoch.as_str().into();
        let config = Arc::new(config);
        let (inbox_in, inbox_out) = bounded(INBOX_MAX);
        let (ended_in, ended_out) = bounded(settings.shards + 3);
        let control_poll = Poll::new().map_err(|e| machine(e.to_string()))?;
        let gate = wake_gate(&control_poll, control::reactor::WAKER)?;
        let shared = Arc::new(Shared::default());
        let (last_position, recent) = (legacy.last, legacy.recent.clone());
        let ends = legacy.pass_on(settings, &config, &shared, &gate, clock.now());
        let upstream = Upstream { inbox: inbox_in, gate: gate.clone(), archive: ends.asks };
        let parts = Parts {
            config: config.clone(),
            shared,
            admission: admission.clone(),
            window,
            last_position,
            recent,
            clock,
            upstream,
            acceptor,
            ended: ended_in,
        };
        let mut mailboxes = Vec::new();
        let mut counters = Vec::new();
        for (shard, listener) in listeners.into_iter().enumerate() {
            let counted = Arc::new(Counters::default());
            mailboxes.push(start_shard(shard, settings.shards, listener, counted.clone(), &parts)?);
            counters.push(counted);
        }
        let shards: Vec<OrderLine> = mailboxes.iter().map(Mailbox::order_line).collect();
        let has_journal = ends.threads.is_some();
        if let Some(threads) = ends.threads {
            let (writer, reader) = threads.bodies(shards.clone(), parts.clock);
            spawn("journal", Thread::Journal, parts.ended.clone(), writer)?;
            spawn("journal-reader", Thread::Reader, parts.ended.clone(), reader)?;
        }
        let sequencer = Sequencer::new(
            config,
            parts.shared.clone(),
            ends.beginning,
            mailboxes,
            settings.presence_grace_ms,
        );
        let control = control::reactor::Reactor::new(
            control_poll,
            control::reactor::Listeners { unix, tcp },
            sequencer,
            ends.past,
            Sources { admission, shards: counters, journal: ends.counters },
            inbox_out,
            gate,
            parts.clock,
            settings.max_body_bytes,
        )
        .map_err(|e| machine(e.to_string()))?;
        spawn("control", Thread::Control, parts.ended, move || control.run())?;
        parts.shared.started.store(true, Ordering::Relaxed);
        Ok(Node {
            address,
            control_socket,
            control_address,
            shared: parts.shared,
            shards,
            inbox: Upstream { archive: None, ..parts.upstream },
            has_journal,
            ended: ended_out,
            drain_timeout: Duration::from_millis(settings.drain_timeout_ms),
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where services post.
    #[must_use]
    pub fn control_socket(&self) -> &Path {
        &self.control_socket
    }

    /// Where services post over TCP, if they may.
    #[must_use]
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control_address
    }

    /// Ends the node: new upgrades get 503, each client is told its slot, threads end. Returns
    /// when all is over, at the latest when the drain timeout is; at once when `hurry` says so.
    pub fn stop(self, mut hurry: impl FnMut() -> bool) -> Stopped {
        let deadline = Instant::now() + self.drain_timeout.saturating_sub(STOP_RESERVE);
        self.shared.draining.store(true, Ordering::Relaxed);
        self.order(false);
        let mut left = self.shards.len();
        let mut forced = false;
        while left > 0 && !forced && Instant::now() < deadline {
            /// How often the caller is asked whether to go on waiting.
            const STEP: Duration = Duration::from_millis(20);
            if self.ended.recv_timeout(STEP) == Ok(Thread::Shard) {
                left -= 1;
            }
            forced = hurry();
        }
        // Whoever is left is told now, in one write each.
        self.order(true);
        let last_call = Instant::now() + STOP_RESERVE;
        while left > 0 && self.ended.recv_deadline(last_call) == Ok(Thread::Shard) {
            left -= 1;
        }
        // Without room in the inbox the thread is stuck, and ends with the process.
        let told = self.inbox.inbox.send_timeout(Report::Stop, CONTROL_PATIENCE).is_ok();
        self.inbox.gate.open();
        // The journal ends behind the control thread, which has the last word to it.
        let (last, patience) = match self.has_journal {
            true => (Thread::Journal, CONTROL_PATIENCE + JOURNAL_PATIENCE),
            false => (Thread::Control, CONTROL_PATIENCE),
        };
        let deadline = Instant::now() + patience;
        let mut ended = None;
        while told && ended != Some(last) {
            let Ok(thread) = self.ended.recv_deadline(deadline) else {
                tracing::warn!(
                    thread = ?last, patience_s = patience.as_secs(),
                    "a thread does not end, as behind a disk that hangs; the node ends without it"
                );
                break;
            };
            ended = Some(thread);
        }
        let _ = std::fs::remove_file(&self.control_socket); // Gone already is as good.
        if forced { Stopped::Forced } else { Stopped::Orderly }
    }

    /// Reads certificate and key again: new connections are greeted with them, those that are there
    /// go on. Where the files are not good, all stays as it is.
    ///
    /// # Errors
    /// One sentence about what is wrong with them.
    pub fn reload(&self, settings: &Settings) -> Result<(), String> {
        if let Some(acceptor) = tls::acceptor(settings)? {
            tls::warn_of_open_key(settings);
            for line in &self.shards {
                line.order(Order::Certify { acceptor: acceptor.clone() });
            }
        }
        Ok(())
    }

    fn order(&self, at_once: bool) {
        for line in &self.shards {
            line.order(Order::Stop { at_once });
        }
    }
}

fn machine(sentence: impl Into<String>) -> StartError {
    StartError::Machine(sentence.into())
}

fn random_epoch() -> Result<String, ()> {
    let mut bytes = [0u8; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ())?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

fn wake_gate(poll: &Poll, token: mio::Token) -> Result<Arc<WakeGate>, StartError> {
    let waker = Waker::new(poll.registry(), token).map_err(|e| machine(e.to_string()))?;
    // An eventfd that is open takes a wake; there is nothing to do about one that does not.
    Ok(WakeGate::new(move || waker.wake().expect("the waker's descriptor is open")))
}

/// Gets the descriptors that the node needs. Where they cannot be had, it says so, and keeps
/// clients from taking those of the control listener: the operator must get in when it is full.
fn check_descriptors(settings: &Settings, admission: &mut Admission) {
    let sockets = admission.sockets_max();
    let needed = descriptors::needed(sockets, control::reactor::CLIENTS_MAX, settings.shards);
    if let Some(limit) = descriptors::raise(needed)
        && limit < needed
    {
        let left = descriptors::left_for_clients(limit, control::reactor::CLIENTS_MAX, settings.shards);
        admission.limit_descriptors(left);
        tracing::warn!(
            limit,
            needed,
            "the limit of open files is too low for WS_MAX_CONNECTIONS={}: raise it (ulimit -n, LimitNOFILE) \
             or lower the setting; with {left} client sockets open, accepting pauses",
            settings.max_connections
        );
    }
}

fn start_shard(
    shard: usize,
    shards: usize,
    listener: mio::net::TcpListener,
    counters: Arc<Counters>,
    parts: &Parts,
) -> Result<Mailbox, StartError> {
    let poll = Poll::new().map_err(|e| machine(e.to_string()))?;
    let gate = wake_gate(&poll, reactor::WAKER)?;
    let (mailbox, mailroom): (Mailbox, Mailroom) = mailbox(mailbox::EVENTS_MAX, gate);
    let place = Place {
        shard,
        shards,
        last_position: parts.last_position,
        window: parts.window,
        recent: parts.recent.clone(),
    };
    let core = Core::new(
        place,
        parts.config.clone(),
        parts.shared.clone(),
        parts.admission.clone(),
        counters.clone(),
    );
    let reactor = reactor::Reactor::new(
        poll,
        listener,
        parts.acceptor.clone(),
        core,
        mailroom,
        parts.upstream.clone(),
        parts.admission.clone(),
        counters,
        parts.clock,
    )
    .map_err(|e| machine(e.to_string()))?;
    spawn(&format!("shard-{shard}"), Thread::Shard, parts.ended.clone(), move || reactor.run())?;
    Ok(mailbox)
}

/// Starts a thread that reports its end. A thread that panics or fails takes the process with
/// it: a node that is half alive is worse than none.
fn spawn(
    name: &str,
    kind: Thread,
    ended: Sender<Thread>,
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), StartError> {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            if thread::panicking() {
                std::process::abort();
            }
        }
    }
    let body = move || {
        let _guard = Guard;
        if let Err(error) = run() {
            tracing::error!(%error, "a thread cannot go on");
            std::process::abort();
        }
        let _ = ended.send(kind); // Nobody waits when the node was dropped.
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map(drop).map_err(|e| machine(format!("can't start a thread: {e}")))
}

/// Runs a node until a signal ends it. Exit code 2: the settings; 1: the machine; 0: a stop in
/// good order.
#[must_use]
pub fn run(settings: Settings) -> ExitCode {
    logging::start(&settings.log, settings.log_format);
    // Before anything is bound, so that no signal is missed.
    let mut watched = vec![SIGTERM, SIGINT];
    // Without TLS there is nothing to read again, and the end of its terminal ends the node.
    watched.extend(settings.is_tls().then_some(SIGHUP));
    let mut signals = match Signals::new(watched) {
        Ok(signals) => signals,
        Err(e) => return refuse(&machine(format!("can't watch signals: {e}"))),
    };
    let node = match Node::start(&settings) {
        Ok(node) => node,
        Err(error) => return refuse(&error),
    };
    announce(&node, &settings);
    let signal = loop {
        let signal = signals.forever().next();
        if signal != Some(SIGHUP) {
            break signal;
        }
        match node.reload(&settings) {
            Ok(()) => tracing::info!("certificate and key were read again; new connections get them"),
            Err(fault) => tracing::error!(fault, "the new certificate is not used; the old one stays"),
        }
    };
    tracing::info!(signal, "stopping; a second signal forces");
    match node.stop(|| signals.pending().any(|signal| signal != SIGHUP)) {
        Stopped::Orderly => ExitCode::SUCCESS,
        Stopped::Forced => ExitCode::from(130),
    }
}

fn refuse(error: &StartError) -> ExitCode {
    let _ = writeln!(io::stderr(), "omnicast: {error}");
    match error {
        StartError::Setting(_) => ExitCode::from(2),
        StartError::Machine(_) => ExitCode::from(1),
    }
}

fn announce(node: &Node, settings: &Settings) {
    let mut lines = format!(
        "omnicast {} listens on {}://{}{}\ncontrol socket: {}\n",
        env!("CARGO_PKG_VERSION"),
        if settings.is_tls() { "wss" } else { "ws" },
        node.address,
        assemble::PATH,
        node.control_socket.display()
    );
    if let Some(address) = node.control_address {
        lines.push_str(&format!("control address: http://{address}\n"));
    }
    // In one write; whoever started the node may not care to read it.
    let mut out = io::stdout().lock();
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    tracing::info!(address = %node.address, shards = settings.shards, "listening");
    tracing::info!(path = %node.control_socket.display(), "control socket");
    if let Some(address) = node.control_address {
        tracing::info!(%address, "control address");
    }
    if settings.is_trusted_mode() {
        tracing::warn!(
            "TRUSTED MODE: no WS_JWT_SECRET and no WS_JWKS, so every client is believed to be who it says \
             it is. For development on this machine only."
        );
    }
}
