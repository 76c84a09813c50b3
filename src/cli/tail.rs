//! `omnicast tail`: a client that prints what a role sees, and comes back when its connection ends.

pub(in crate::cli) mod address;
mod retry;
mod session;
mod show;

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use tungstenite::handshake::HandshakeError;
use tungstenite::{Error, Message, WebSocket};

use crate::cli::{output, token};
use crate::policy::{Claims, mint_hs256};

use address::{CONNECT_TIMEOUT, default_url, reach, read_url};
use retry::Next;
use session::{Closing, Credential, Position, Session, Step};

/// After so long without a byte the node is asked whether it lives; after twice that it counts as gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a credential that this command makes is good for.
const CREDENTIAL_TTL_S: u64 = 3600;
/// The longest wish of `--namespace` and `--key` is the node's to refuse.
const LIST: char = ',';

/// The subcommand's arguments.
pub fn command() -> Command {
    let option = |name: &'static str, value, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("tail")
        .about("Print the events that a role sees, as they happen")
        .arg(option("role", "ROLE", "The role to be").default_value("admin"))
        .arg(option("user", "ID", "The user to be").default_value("omnicast-tail"))
        .arg(
            option("namespace", "LIST", "Only these namespaces, comma-separated")
                .default_value("all")
                .value_delimiter(LIST)
                .action(ArgAction::Append),
        )
        .arg(
            option("key", "LIST", "Only these entities, comma-separated")
                .value_delimiter(LIST)
                .action(ArgAction::Append),
        )
        .arg(option("url", "URL", "The node [default: ws://127.0.0.1:3001/api/ws, or what WS_HOST and WS_PORT say]"))
        .arg(option("token", "TOKEN", "The token to present [WS_TOKEN]").conflicts_with_all(["role", "user"]))
        .arg(
            option("since", "ID", "First replay what came after this event")
                .requires("epoch")
                .value_parser(|id: &str| id.parse::<u64>().map(|_| id.to_owned())),
        )
        .arg(option("epoch", "EPOCH", "The epoch that its id is from").requires("since"))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the events as they come, JSON lines"))
        .arg(option("count", "N", "End after so many events").value_parser(value_parser!(u64).range(1..)))
        .after_help(
            "Who it is: the token of --token or WS_TOKEN, else a token minted with WS_JWT_SECRET, else the plain identity that \
             a node in trusted mode believes.\n\n\
             Examples:\n  \
             omnicast tail --role staff --namespace orders,products\n  \
             omnicast tail --json --count 1 | jq .data",
        )
}

/// Prints events until it is stopped, or the node says not to come back.
pub fn run(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> ExitCode {
    let tail = match Tail::new(matches, env) {
        Ok(tail) => tail,
        Err(sentence) => return output::refuse(&sentence),
    };
    if let Err(e) = output::stop_on_signals() {
        return output::fail(&format!("can't listen for signals: {e}"));
    }
    tail.run()
}

/// How to come by a credential.
enum Identity {
    /// One that was given. When it has expired there is no other.
    Fixed(String),
    /// Fresh ones, signed with the secret where there is one.
    Fresh { user: String, role: String, session: String, secret: Option<String> },
}

impl Identity {
    fn credential(&self, now_ms: u64) -> Credential {
        match self {
            Identity::Fixed(token) => Credential::Token(token.clone()),
            Identity::Fresh { user, role, session, secret: Some(secret) } => {
                let claims = Claims {
                    sub: user.clone(),
                    role: role.clone(),
                    sid: session.clone(),
                    exp: now_ms / 1000 + CREDENTIAL_TTL_S,
                    nbf: None,
                };
                Credential::Token(mint_hs256(secret, &claims))
            }
            Identity::Fresh { user, role, session, secret: None } => Credential::Plain {
                user: user.clone(),
                role: role.clone(),
                session: session.clone(),
                expires_at_ms: now_ms + CREDENTIAL_TTL_S * 1000,
            },
        }
    }
}

/// Why a connection is over.
enum Ending {
    /// It ended, and what comes next is a matter of the backoff.
    Closed(Closing),
    /// The command is done.
    Done(ExitCode),
}

struct Tail {
    url: String,
    host: String,
    port: u16,
    identity: Identity,
    session: Session,
    json: bool,
    colours: bool,
    /// Events still to print; `None` is without end.
    left: Option<u64>,
    /// Tries since the last one that worked.
    attempt: u32,
}

impl Tail {
    fn new(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> Result<Tail, String> {
        let get = |name: &str| matches.get_one::<String>(name).cloned();
        let list =
            |name: &str| -> Vec<String> { matches.get_many(name).into_iter().flatten().cloned().collect() };
        let url = get("url").unwrap_or_else(|| default_url(&env));
        let (host, port) = read_url(&url)?;
        let identity = match get("token").or_else(|| env("WS_TOKEN").filter(|token| !token.is_empty())) {
            Some(token) => Identity::Fixed(token),
            None => Identity::Fresh {
                user: get("user").expect("it has a default"),
                role: get("role").expect("it has a default"),
                session: format!("tail_{:x}_{:x}", std::process::id(), output::now_ms()),
                secret: token::secret(&env)?,
            },
        };
        let mut namespaces = list("namespace");
        if namespaces.iter().any(|namespace| namespace == "all") {
            namespaces.clear(); // An empty wish is all that the role may see.
        }
        let position =
            get("since").zip(get("epoch")).map(|(id, epoch)| Position { epoch: epoch.into(), id: id.into() });
        Ok(Tail {
            url,
            host,
            port,
            identity,
            session: Session::new(namespaces, list("key"), position),
            json: matches.get_flag("json"),
            colours: output::colours(&env),
            left: matches.get_one("count").copied(),
            attempt: 0,
        })
    }

    fn run(mut self) -> ExitCode {
        loop {
            let closing = match self.connection() {
                Ending::Done(code) => return code,
                Ending::Closed(closing) => closing,
            };
            let fixed = matches!(self.identity, Identity::Fixed(_));
            let code = closing.code.map(|code| format!(" ({code})")).unwrap_or_default();
            let what = format!("{}{code}", closing.reason);
            match retry::after(&closing, self.attempt, RandomState::new().hash_one(()), fixed) {
                Next::Stop => return output::fail(&what),
                Next::Again(wait_ms) => {
                    output::tell(&format!("{what}; trying again in {:.1} s", wait_ms as f64 / 1000.0));
                    std::thread::sleep(Duration::from_millis(wait_ms));
                    self.attempt = self.attempt.saturating_add(1);
                }
            }
        }
    }

    /// One connection, from connect to its end.
    fn connection(&mut self) -> Ending {
        self.session.reconnect();
        let mut socket = match self.connect() {
            Ok(socket) => socket,
            Err(closing) => return Ending::Closed(closing),
        };
        let auth = self.identity.credential(output::now_ms()).message();
        if let Err(e) = socket.send(Message::text(auth)) {
            return Ending::Closed(lost(&e));
        }
        let mut asked = false;
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    asked = false;
                    if let Some(ending) = self.take(&mut socket, &text) {
                        return ending;
                    }
                }
                Ok(Message::Close(frame)) => {
                    let _ = socket.flush(); // The answer to the close; the node may be gone already.
                    let said = frame.map(|f| Closing {
                        code: Some(f.code.into()),
                        reason: f.reason.to_string(),
                        ..Closing::default()
                    });
                    let silent =
                        || Closing { reason: "the node closed the connection".into(), ..Closing::default() };
                    return Ending::Closed(self.session.closing.take().or(said).unwrap_or_else(silent));
                }
                Ok(_) => asked = false,
                Err(Error::Io(e)) if is_timeout(&e) && !asked => {
                    asked = true;
                    if let Err(e) = socket.send(Message::Ping(Default::default())) {
                        return Ending::Closed(lost(&e));
                    }
                }
                Err(Error::Io(e)) if is_timeout(&e) => {
                    let reason = format!("the node was silent for {} s", 2 * SILENCE.as_secs());
                    return Ending::Closed(Closing { reason, ..Closing::default() });
                }
                Err(e) => return Ending::Closed(self.session.closing.take().unwrap_or_else(|| lost(&e))),
            }
        }
    }

    /// Does what one message asks for.
    fn take(&mut self, socket: &mut WebSocket<TcpStream>, text: &str) -> Option<Ending> {
        for step in self.session.handle(text) {
            let sent = match step {
                Step::Send(text) => socket.send(Message::text(text)),
                Step::Refresh => self.refresh(socket),
                Step::Tell(sentence) => {
                    output::tell(&sentence);
                    Ok(())
                }
                Step::Live => {
                    self.attempt = 0;
                    Ok(())
                }
                Step::GiveUp(sentence) => return Some(Ending::Done(output::fail(&sentence))),
                Step::Leave(reason) => return Some(Ending::Closed(Closing { reason, ..Closing::default() })),
                Step::Show(event) => {
                    let line =
                        if self.json { text.replace('\n', " ") } else { show::line(&event, self.colours) };
                    if let Some(code) = self.print(&line) {
                        let _ = socket.close(None); // A courtesy: the session ends either way.
                        return Some(Ending::Done(code));
                    }
                    Ok(())
                }
            };
            if let Err(e) = sent {
                return Some(Ending::Closed(lost(&e)));
            }
        }
        None
    }

    /// Extends the session in place, where that is possible.
    fn refresh(&self, socket: &mut WebSocket<TcpStream>) -> Result<(), Error> {
        if matches!(self.identity, Identity::Fixed(_)) {
            output::tell("the token expires in a minute");
            return Ok(());
        }
        socket.send(Message::text(self.identity.credential(output::now_ms()).message()))
    }

    /// Prints a line; the exit code when that was the last one.
    fn print(&mut self, line: &str) -> Option<ExitCode> {
        let mut out = io::stdout().lock();
        if let Err(e) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            return Some(output::ended(Err(e)));
        }
        let left = self.left.as_mut()?;
        *left -= 1;
        (*left == 0).then_some(ExitCode::SUCCESS)
    }

    fn connect(&self) -> Result<WebSocket<TcpStream>, Closing> {
        let failed = |reason: String| Closing { reason, ..Closing::default() };
        let unreachable = |e: io::Error| failed(format!("can't reach {}: {e}", self.url));
        let stream = reach(&self.host, self.port).map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        stream.set_write_timeout(Some(CONNECT_TIMEOUT)).map_err(unreachable)?;
        stream.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(unreachable)?;
        let socket = match tungstenite::client(self.url.as_str(), stream) {
            Ok((socket, _)) => socket,
            Err(HandshakeError::Interrupted(_)) => {
                return Err(failed("the node did not answer the upgrade".into()));
            }
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let after =
                    response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                return Err(retry::refused_upgrade(response.status().as_u16(), after));
            }
            Err(HandshakeError::Failure(e)) => return Err(lost(&e)),
        };
        socket.get_ref().set_read_timeout(Some(SILENCE)).map_err(unreachable)?;
        Ok(socket)
    }
}

/// A read that ran into its timeout says so in one of two ways, by platform.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn lost(error: &Error) -> Closing {
    Closing { reason: format!("connection lost: {error}"), ..Closing::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::net::TcpListener;

    fn receive(socket: &mut WebSocket<TcpStream>) -> Value {
        serde_json::from_str(socket.read().expect("the client speaks").to_text().expect("in text"))
            .expect("and JSON")
    }

    fn send(socket: &mut WebSocket<TcpStream>, message: &Value) {
        socket.send(Message::text(message.to_string())).expect("the client listens");
    }

    /// A node that drops the client after one event, and expects it back where it was.
    #[test]
    fn it_comes_back_where_it_was_and_ends_after_count_events() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/api/ws", listener.local_addr().unwrap());
        let node = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for id in ["7", "8"] {
                let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
                let auth = receive(&mut socket);
                assert_eq!((&auth["type"], &auth["data"]["role"]), (&json!("auth"), &json!("staff")));
                send(
                    &mut socket,
                    &json!({"type": "system:notification", "namespace": "system", "replyTo": auth["id"],
                        "data": {"namespaces": ["orders"], "epoch": "e", "lastEventId": "6"}}),
                );
                asked.push(receive(&mut socket)["data"].clone());
                send(&mut socket, &json!({"type": "subscribed", "data": {"epoch": "e", "lastEventId": "6"}}));
                send(
                    &mut socket,
                    &json!({"type": "order:created", "namespace": "orders", "data": {}, "id": id}),
                );
                send(
                    &mut socket,
                    &json!({"type": "closing", "data": {"code": 4201, "reason": "pong_timeout", "retry": true}}),
                );
                let _ = socket.close(None);
                while socket.read().is_ok() {}
            }
            asked
        });
        let arguments = ["tail", "--url", &url, "--role", "staff", "--count", "2", "--json"];
        let tail = Tail::new(&command().try_get_matches_from(arguments).unwrap(), |_| None).unwrap();
        assert_eq!(format!("{:?}", tail.run()), format!("{:?}", ExitCode::SUCCESS));
        let expected = [
            json!({"namespaces": ["orders"]}),
            json!({"namespaces": ["orders"], "since": {"epoch": "e", "id": "7"}}),
        ];
        assert_eq!(node.join().unwrap(), expected);
    }

    #[test]
    fn the_identity_is_given_minted_or_plain() {
        let secret = ("WS_JWT_SECRET", "0123456789abcdef0123456789abcdef");
        let credential = |arguments: &[&str], pairs: &[(&str, &str)]| {
            let env = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string());
            let arguments = ["tail"].iter().chain(arguments);
            let tail = Tail::new(&command().try_get_matches_from(arguments).unwrap(), env);
            tail.map(|tail| tail.identity.credential(1000))
        };
        let given = Credential::Token("t".into());
        assert_eq!(credential(&["--token", "t"], &[secret, ("WS_TOKEN", "u")]), Ok(given.clone()));
        assert_eq!(credential(&[], &[secret, ("WS_TOKEN", "t")]), Ok(given));
        assert!(
            matches!(credential(&[], &[secret]), Ok(Credential::Token(token)) if token.split('.').count() == 3)
        );
        let plain = credential(&["--user", "u_1"], &[("WS_TOKEN", "")]).unwrap();
        assert!(matches!(plain, Credential::Plain { user, expires_at_ms: 3_601_000, .. } if user == "u_1"));
        assert!(credential(&[], &[("WS_JWT_SECRET", "short")]).unwrap_err().contains("WS_JWT_SECRET"));
    }
}
