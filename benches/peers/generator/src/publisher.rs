//! The connections that events are published over, and the schedule by which they are.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, Entry, Phase as Stage, Tally};
use crate::crowd::{PATIENCE, Progress};
use crate::event::Stamp;
use crate::posts::{Office, answer};

/// Wakes the publisher when the crowd has got what it waits for.
pub const REACHED: Token = Token(usize::MAX);

/// When events are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// So many may be on their way; the next is due when one has reached everybody.
    Closed(u64),
    /// So many back to back, then a wait until all have reached everybody.
    Burst(u64),
    /// So many a second, whatever happens.
    Open(f64),
}

/// How events are published.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where.
    pub address: SocketAddr,
    /// Over WebSocket, as this entry says; else by HTTP.
    pub entry: Option<Entry>,
    /// By HTTP: whose API.
    pub office: Office,
    /// Connections.
    pub links: usize,
    /// By HTTP: requests on their way on one connection.
    pub depth: usize,
}

struct Link {
    socket: Option<TcpStream>,
    client: Client,
    rest: Vec<u8>,
    out: Vec<u8>,
    unanswered: usize,
}

/// What a phase of publishing was like.
#[derive(Debug)]
pub struct Published {
    /// From the first event to the last delivery, or until patience ended.
    pub took: Duration,
    /// The most that an event was given to the system after it was due.
    pub slip: Duration,
    /// Posts that were refused.
    pub refused: u64,
}

/// All of them.
pub struct Publisher {
    way: Way,
    poll: Poll,
    links: Vec<Link>,
    clock: Instant,
    wall_s: u64,
    /// The number of the next event.
    pub next_seq: u64,
    pending: VecDeque<Stamp>,
    refused: u64,
}

impl Publisher {
    /// Connects, and waits until each connection may publish. A cold server takes its time.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn connect(way: Way, poll: Poll, clock: Instant, wall_s: u64) -> Result<Publisher, String> {
        let mut publisher = Publisher {
            way,
            poll,
            links: Vec::new(),
            clock,
            wall_s,
            next_seq: 0,
            pending: VecDeque::new(),
            refused: 0,
        };
        for index in 0..publisher.way.links {
            let client = Client::new(index);
            publisher.links.push(Link {
                socket: None,
                client,
                rest: Vec::new(),
                out: Vec::new(),
                unanswered: 0,
            });
            publisher.dial(index)?;
        }
        let mut events = Events::with_capacity(64);
        let patience = Instant::now() + PATIENCE;
        while publisher.way.entry.is_some()
            && publisher.links.iter().any(|link| link.client.phase != Stage::Ready)
        {
            if Instant::now() > patience {
                return Err("the publisher was not let in".into());
            }
            publisher.serve(&mut events, Some(Duration::from_millis(100)))?;
        }
        Ok(publisher)
    }

    fn dial(&mut self, index: usize) -> Result<(), String> {
        let dialled = || -> std::io::Result<TcpStream> {
            let socket = std::net::TcpStream::connect(self.way.address)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(index), interest)?;
            Ok(socket)
        };
        let socket = dialled().map_err(|e| format!("the publisher can't connect: {e}"))?;
        let link = &mut self.links[index];
        link.socket = Some(socket);
        link.rest.clear();
        link.unanswered = 0;
        if let Some(entry) = &self.way.entry {
            link.client.connected(entry, &mut link.out);
        }
        Ok(())
    }

    /// Publishes `count` events by a schedule, until each has reached all `n` subscribers.
    ///
    /// # Errors
    /// The publisher was thrown out. Deliveries that do not come are no error: they are lost.
    pub fn publish(
        &mut self,
        count: u64,
        schedule: Schedule,
        n: u64,
        progress: &Progress,
    ) -> Result<Published, String> {
        let mut events = Events::with_capacity(64);
        let began = Instant::now();
        let began_ns = self.now_ns();
        let mut sent = 0;
        let mut slip_ns = 0;
        let (mut last_delivered, mut last_moved) = (0, Instant::now());
        self.refused = 0;
        loop {
            let delivered = progress.delivered.load(Ordering::SeqCst);
            let now_ns = self.now_ns();
            while sent < count {
                let due_ns = match schedule {
                    Schedule::Open(rate) => began_ns + (sent as f64 * 1e9 / rate) as u64,
                    _ => now_ns,
                };
                if due_ns > now_ns || delivered < needed(schedule, sent, count) * n {
                    break;
                }
                slip_ns = slip_ns.max(now_ns - due_ns);
                self.pending.push_back(Stamp { seq: self.next_seq, due_ns });
                self.next_seq += 1;
                sent += 1;
            }
            // What arrives after this was set wakes this thread; what arrived before is seen below.
            progress.target.store(needed(schedule, sent, count) * n, Ordering::SeqCst);
            self.send()?;
            let delivered = progress.delivered.load(Ordering::SeqCst);
            if sent == count && delivered >= count * n {
                break;
            }
            if delivered != last_delivered {
                (last_delivered, last_moved) = (delivered, Instant::now());
            } else if last_moved.elapsed() > PATIENCE {
                break;
            }
            let mut timeout = Duration::from_millis(500);
            if let Schedule::Open(rate) = schedule
                && sent < count
            {
                let due_ns = began_ns + (sent as f64 * 1e9 / rate) as u64;
                let wait = Duration::from_nanos(due_ns.saturating_sub(self.now_ns()));
                // Polling counts in whole ms: the rest is slept.
                if wait < Duration::from_millis(2) {
                    std::thread::sleep(wait);
                    timeout = Duration::ZERO;
                } else {
                    timeout = timeout.min(wait - Duration::from_millis(1));
                }
            }
            let more_due = sent < count && needed(schedule, sent, count) * n <= delivered;
            if !matches!(schedule, Schedule::Open(_)) && more_due {
                timeout = Duration::ZERO;
            }
            self.serve(&mut events, Some(timeout))?;
        }
        let took = began.elapsed();
        self.settle(&mut events)?;
        Ok(Published { took, slip: Duration::from_nanos(slip_ns), refused: self.refused })
    }

    /// Waits for answers that are still due.
    fn settle(&mut self, events: &mut Events) -> Result<(), String> {
        let patience = Instant::now() + Duration::from_secs(2);
        while self.links.iter().any(|link| link.unanswered > 0) && Instant::now() < patience {
            self.serve(events, Some(Duration::from_millis(50)))?;
        }
        self.pending.clear();
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Gives events that wait to links that are free, and writes.
    fn send(&mut self) -> Result<(), String> {
        while !self.pending.is_empty() {
            let depth = if self.way.entry.is_some() { usize::MAX } else { self.way.depth };
            let Some(index) = (0..self.links.len()).min_by_key(|i| self.links[*i].unanswered) else { break };
            if self.links[index].unanswered >= depth {
                break;
            }
            if self.links[index].socket.is_none() {
                self.dial(index)?;
            }
            let link = &mut self.links[index];
            match &self.way.entry {
                Some(entry) => {
                    for stamp in self.pending.drain(..) {
                        entry.tongue.publish(stamp, &mut link.out);
                    }
                }
                None => {
                    let batch = self.way.office.batch(self.pending.len());
                    let stamps: Vec<Stamp> = self.pending.drain(..batch).collect();
                    self.way.office.request(&stamps, self.wall_s, &mut link.out);
                    link.unanswered += 1;
                }
            }
        }
        for index in 0..self.links.len() {
            self.flush(index)?;
        }
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<(), String> {
        let link = &mut self.links[index];
        let Some(socket) = link.socket.as_mut() else { return Ok(()) };
        let mut written = 0;
        while written < link.out.len() {
            match socket.write(&link.out[written..]) {
                Ok(n) => written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("the publisher was cut off: {e}")),
            }
        }
        link.out.drain(..written);
        Ok(())
    }

    /// Waits, and takes what came.
    fn serve(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<(), String> {
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(format!("can't poll: {e}")),
            _ => {}
        }
        let ready: Vec<usize> =
            events.iter().map(|e| e.token()).filter(|t| *t != REACHED).map(|t| t.0).collect();
        for index in ready {
            self.read(index)?;
            self.flush(index)?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(), String> {
        let mut buffer = [0; 16 << 10];
        loop {
            let link = &mut self.links[index];
            let Some(socket) = link.socket.as_mut() else { return Ok(()) };
            match socket.read(&mut buffer) {
                Ok(0) if self.way.entry.is_none() && link.unanswered == 0 => {
                    link.socket = None; // Dialled again when it is needed.
                    return Ok(());
                }
                Ok(0) => return Err("the publisher was cut off".into()),
                Ok(n) => {
                    link.rest.extend_from_slice(&buffer[..n]);
                    self.hear(index)?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("the publisher was cut off: {e}")),
            }
        }
    }

    fn hear(&mut self, index: usize) -> Result<(), String> {
        let link = &mut self.links[index];
        if let Some(entry) = &self.way.entry {
            let nobody = &mut Tally::new(u64::MAX);
            let used = link.client.take(&link.rest, entry, 0, nobody, &mut link.out)?;
            link.rest.drain(..used);
            return Ok(());
        }
        while let Some(answer) = answer(&link.rest) {
            link.rest.drain(..answer.end);
            link.unanswered = link.unanswered.saturating_sub(1);
            self.refused += u64::from(!(200..300).contains(&answer.status));
            if answer.closes {
                link.socket = None;
                break;
            }
        }
        Ok(())
    }
}

/// How many events must have reached everybody before event `sent` is due; all of them when there is no more.
fn needed(schedule: Schedule, sent: u64, count: u64) -> u64 {
    match schedule {
        _ if sent == count => count,
        Schedule::Closed(window) => (sent + 1).saturating_sub(window),
        Schedule::Burst(size) => sent / size * size,
        Schedule::Open(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_wait_for_those_that_the_schedule_names() {
        let cases = [
            (Schedule::Closed(1), 0, 0),
            (Schedule::Closed(1), 1, 1),
            (Schedule::Closed(256), 255, 0),
            (Schedule::Closed(256), 256, 1),
            (Schedule::Burst(40), 39, 0),
            (Schedule::Burst(40), 40, 40),
            (Schedule::Burst(40), 79, 40),
            (Schedule::Open(4.0), 90, 0),
            (Schedule::Open(4.0), 100, 100),
        ];
        for (schedule, sent, first) in cases {
            assert_eq!(needed(schedule, sent, 100), first, "{schedule:?} {sent}");
        }
    }
}
