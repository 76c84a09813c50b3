//! Posts as fast as the node answers them, over several connections.

use std::collections::{HashSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

use crate::cli::bench::answers::{Answers, is_accepted, write_post};
use crate::cli::bench::crowd::Crowd;
use crate::cli::bench::event::Maker;
use crate::cli::bench::orders::Clock;
use crate::cli::bench::schedule::latencies;
use crate::cli::control::{Control, Link};

/// An answer takes no longer: it waits for the disk at most.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of answers taken at once.
const READ_BYTES: usize = 64 << 10;

/// A way to post.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// What it is called.
    pub name: &'static str,
    /// Posts that may wait for their answer on one connection.
    pub depth: usize,
    /// Events of a post; several go as lines.
    pub batch: usize,
}

/// What is posted, and for how long.
pub struct Load<'a> {
    /// The way.
    pub kind: Kind,
    /// Connections. The first one has lane 1.
    pub connections: u16,
    /// How long.
    pub length: Duration,
    /// The next number of each lane, from lane 0 on.
    pub starts: &'a [u64],
    /// Who makes the events.
    pub maker: &'a Maker,
    /// For whom.
    pub crowd: &'a Crowd,
    /// The clock of the run.
    pub clock: Clock,
}

/// What came of it.
pub struct Loaded {
    /// Posts that were answered.
    pub posts: u64,
    /// The next number of each lane, from lane 0 on.
    pub ends: Vec<u64>,
    /// Numbers that were refused, by lane.
    pub refused: Vec<HashSet<u64>>,
    /// From a post to its answer, in us.
    pub answers: Histogram<u64>,
}

/// A stream that can be polled.
trait Stream: Read + Write + Source {}

impl<T: Read + Write + Source> Stream for T {}

struct Poster {
    stream: Box<dyn Stream>,
    token: Option<String>,
    lane: u16,
    next: u64,
    /// First number, how many, and when they were sent.
    waiting: VecDeque<(u64, usize, u64)>,
    answers: Answers,
    out: Vec<u8>,
    written: usize,
    /// Whether it wants to hear that the socket takes more: only where it did not. A Unix socket says so
    /// whenever the other side reads.
    watches_room: bool,
    body: Vec<u8>,
    refused: HashSet<u64>,
    posts: u64,
}

impl Load<'_> {
    /// Posts until the time is over and every post is answered.
    ///
    /// # Errors
    /// One sentence: the node is gone, or refuses what it must not.
    pub fn run(&self, control: &Control) -> Result<Loaded, String> {
        let failed = |e: io::Error| format!("can't post: {e}");
        let mut poll = Poll::new().map_err(failed)?;
        let mut posters = Vec::new();
        for index in 0..self.connections {
            let mut poster = self.open(control, index + 1)?;
            poll.registry()
                .register(&mut *poster.stream, Token(usize::from(index)), Interest::READABLE)
                .map_err(failed)?;
            posters.push(poster);
        }
        let mut events = Events::with_capacity(usize::from(self.connections));
        let mut chunk = vec![0; READ_BYTES];
        let mut times = latencies();
        let end_ns = self.clock.now_ns() + u64::try_from(self.length.as_nanos()).unwrap_or(u64::MAX);
        for (index, poster) in posters.iter_mut().enumerate() {
            self.refill(poster)?;
            poster.watch(&poll, Token(index)).map_err(failed)?;
        }
        while posters.iter().any(|poster| !poster.waiting.is_empty()) {
            poll.poll(&mut events, Some(ANSWER_TIMEOUT)).map_err(failed)?;
            if events.is_empty() {
                return Err("the node does not answer a post".into());
            }
            let mut now_ns = self.clock.now_ns();
            for event in &events {
                let poster = &mut posters[event.token().0];
                poster.read(&mut chunk, now_ns, &mut times)?;
                if now_ns < end_ns {
                    self.refill(poster)?;
                    now_ns = self.clock.now_ns();
                } else {
                    poster.flush()?;
                }
                poster.watch(&poll, event.token()).map_err(failed)?;
            }
        }
        let lane_0 = self.starts.first().copied().unwrap_or(0);
        Ok(Loaded {
            posts: posters.iter().map(|poster| poster.posts).sum(),
            ends: std::iter::once(lane_0).chain(posters.iter().map(|poster| poster.next)).collect(),
            refused: std::iter::once(HashSet::new())
                .chain(posters.into_iter().map(|poster| poster.refused))
                .collect(),
            answers: times,
        })
    }

    fn open(&self, control: &Control, lane: u16) -> Result<Poster, String> {
        let failed = |e: io::Error| format!("can't post: {e}");
        let (link, token) = control.open()?;
        let stream: Box<dyn Stream> = match link {
            Link::Unix(stream) => {
                stream.set_nonblocking(true).map_err(failed)?;
                Box::new(mio::net::UnixStream::from_std(stream))
            }
            Link::Tcp(stream) => {
                stream.set_nonblocking(true).map_err(failed)?;
                Box::new(mio::net::TcpStream::from_std(stream))
            }
        };
        Ok(Poster {
            stream,
            token: token.map(str::to_owned),
            lane,
            next: self.starts.get(usize::from(lane)).copied().unwrap_or(0),
            waiting: VecDeque::new(),
            answers: Answers::default(),
            out: Vec::new(),
            written: 0,
            watches_room: false,
            body: Vec::new(),
            refused: HashSet::new(),
            posts: 0,
        })
    }

    /// Posts as many as may wait, once half of them are answered: they go out together.
    fn refill(&self, poster: &mut Poster) -> Result<(), String> {
        if poster.waiting.len() <= self.kind.depth / 2 {
            let now_ns = self.clock.now_ns();
            while poster.waiting.len() < self.kind.depth {
                poster.post(self, now_ns);
            }
        }
        poster.flush()
    }
}

impl Poster {
    fn post(&mut self, load: &Load<'_>, now_ns: u64) {
        self.body.clear();
        for i in 0..load.kind.batch as u64 {
            load.maker.write_posted(load.crowd, self.lane, self.next + i, now_ns, &mut self.body);
            if load.kind.batch > 1 {
                self.body.push(b'\n');
            }
        }
        write_post(&self.body, self.token.as_deref(), &mut self.out);
        self.waiting.push_back((self.next, load.kind.batch, now_ns));
        self.next += load.kind.batch as u64;
    }

    fn watch(&mut self, poll: &Poll, token: Token) -> io::Result<()> {
        let is_stuck = !self.out.is_empty();
        if is_stuck == std::mem::replace(&mut self.watches_room, is_stuck) {
            return Ok(());
        }
        let interest = if is_stuck { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        poll.registry().reregister(&mut *self.stream, token, interest)
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("the node takes no more posts: {e}")),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn read(&mut self, chunk: &mut [u8], now_ns: u64, times: &mut Histogram<u64>) -> Result<(), String> {
        loop {
            match self.stream.read(chunk) {
                Ok(0) => return Err("the node closed a connection that posts".into()),
                Ok(n) => {
                    self.answers.push(&chunk[..n]);
                    self.take_answers(now_ns, times)?;
                    if n < chunk.len() {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("the node does not answer a post: {e}")),
            }
        }
    }

    fn take_answers(&mut self, now_ns: u64, times: &mut Histogram<u64>) -> Result<(), String> {
        while let Some(answer) = self.answers.next()? {
            let Some((first, count, sent_ns)) = self.waiting.pop_front() else {
                return Err("the node answers what was not asked".into());
            };
            self.posts += 1;
            times.saturating_record(now_ns.saturating_sub(sent_ns) / 1000);
            if !is_accepted(&answer)? {
                self.refused.extend(first..first + count as u64);
            }
        }
        Ok(())
    }
}
