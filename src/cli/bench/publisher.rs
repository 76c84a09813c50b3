//! The one who publishes: by posts to a node, or by messages to a server that knows no posts.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use crate::cli::bench::answers::{Answer, Answers, is_accepted, write_post};
use crate::cli::bench::crowd::Crowd;
use crate::cli::bench::event::Maker;
use crate::cli::bench::frames::{answer, client_frame};
use crate::cli::bench::talk::Entry;
use crate::cli::control::Link;

/// How long an answer may take: that of a post waits for the disk at most.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to upgrade the publisher.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

enum Wire {
    /// Posts to a control listener. Answers are read by a thread of their own, so that nothing waits for them.
    Posts { link: Link, token: Option<String>, answers: Receiver<Result<Answer, String>> },
    /// Messages over a WebSocket.
    Messages(TcpStream),
}

/// Publishes the events of a lane, one after the other.
pub struct Publisher {
    wire: Wire,
    maker: Maker,
    crowd: Arc<Crowd>,
    lane: u16,
    next: u64,
    /// Posts without an answer, each of one event.
    waiting: VecDeque<u64>,
    refused: HashSet<u64>,
    out: Vec<u8>,
}

impl Publisher {
    /// Posts to a node.
    ///
    /// # Errors
    /// One sentence: a thread or a copy of the descriptor could not be had.
    pub fn posts(
        link: Link,
        token: Option<&str>,
        maker: Maker,
        crowd: Arc<Crowd>,
    ) -> Result<Publisher, String> {
        let failed = |e: io::Error| format!("can't read answers to posts: {e}");
        let reader: Box<dyn Read + Send> = match &link {
            Link::Unix(stream) => Box::new(stream.try_clone().map_err(failed)?),
            Link::Tcp(stream) => Box::new(stream.try_clone().map_err(failed)?),
        };
        let answers = read_answers(reader).map_err(failed)?;
        let wire = Wire::Posts { link, token: token.map(str::to_owned), answers };
        Ok(Publisher::new(wire, maker, crowd))
    }

    /// Sends messages to a server that hands them on as they are.
    ///
    /// # Errors
    /// One sentence: it does not upgrade.
    pub fn messages(
        mut stream: TcpStream,
        entry: &Entry,
        maker: Maker,
        crowd: Arc<Crowd>,
    ) -> Result<Publisher, String> {
        let failed = |e: io::Error| format!("the server does not upgrade its publisher: {e}");
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(UPGRADE_TIMEOUT)).map_err(failed)?;
        stream.write_all(&entry.head).map_err(failed)?;
        let mut heard = Vec::new();
        let mut chunk = [0; 1024];
        loop {
            match answer(&heard)? {
                Some((101, _)) => break,
                Some((status, _)) => {
                    return Err(format!("the server refuses its publisher with status {status}"));
                }
                None => match stream.read(&mut chunk).map_err(failed)? {
                    0 => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                    n => heard.extend_from_slice(&chunk[..n]),
                },
            }
        }
        Ok(Publisher::new(Wire::Messages(stream), maker, crowd))
    }

    fn new(wire: Wire, maker: Maker, crowd: Arc<Crowd>) -> Publisher {
        let (waiting, refused, out) = (VecDeque::new(), HashSet::new(), Vec::new());
        Publisher { wire, maker, crowd, lane: 0, next: 0, waiting, refused, out }
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The numbers that the node refused.
    pub fn refused(&self) -> &HashSet<u64> {
        &self.refused
    }

    /// Publishes an event for each due time, all in one write.
    ///
    /// # Errors
    /// One sentence where the node is gone, or refuses what it must not.
    pub fn publish(&mut self, dues_ns: impl Iterator<Item = u64>) -> Result<(), String> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let mut body = Vec::new();
        for due_ns in dues_ns {
            let seq = self.next;
            self.next += 1;
            match &self.wire {
                Wire::Posts { token, .. } => {
                    body.clear();
                    self.maker.write_posted(&self.crowd, self.lane, seq, due_ns, &mut body);
                    write_post(&body, token.as_deref(), &mut out);
                    self.waiting.push_back(seq);
                }
                Wire::Messages(_) => {
                    body.clear();
                    self.maker.write_ready(&self.crowd, self.lane, seq, due_ns, &mut body);
                    client_frame(1, &body, &mut out);
                }
            }
        }
        let written = match &mut self.wire {
            Wire::Posts { link: Link::Unix(stream), .. } => stream.write_all(&out),
            Wire::Posts { link: Link::Tcp(stream), .. } | Wire::Messages(stream) => stream.write_all(&out),
        };
        self.out = out;
        written.map_err(|e| format!("the node takes no more events: {e}"))?;
        self.take_answers(Duration::ZERO)
    }

    /// Waits for the answers to all posts.
    ///
    /// # Errors
    /// One sentence where there is none, or it refuses what it must not.
    pub fn settle(&mut self) -> Result<(), String> {
        while !self.waiting.is_empty() {
            self.take_answers(ANSWER_TIMEOUT)?;
        }
        Ok(())
    }

    /// Takes all answers that are there; waits so long for the first.
    fn take_answers(&mut self, patience: Duration) -> Result<(), String> {
        let Wire::Posts { answers, .. } = &self.wire else { return Ok(()) };
        let mut patience = patience;
        while let Some(seq) = self.waiting.front().copied() {
            let answer = match answers.recv_timeout(patience) {
                Ok(answer) => answer?,
                Err(RecvTimeoutError::Timeout) if patience < ANSWER_TIMEOUT => return Ok(()),
                Err(_) => return Err("the node does not answer a post".into()),
            };
            patience = Duration::ZERO;
            self.waiting.pop_front();
            if !is_accepted(&answer)? {
                self.refused.insert(seq);
            }
        }
        Ok(())
    }
}

/// Reads answers until the connection ends.
fn read_answers(mut reader: Box<dyn Read + Send>) -> io::Result<Receiver<Result<Answer, String>>> {
    let (sender, receiver) = unbounded();
    std::thread::Builder::new().name("answers".into()).spawn(move || {
        let mut answers = Answers::default();
        let mut chunk = vec![0; 64 << 10];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(n) => answers.push(&chunk[..n]),
            }
            while let Some(answer) = answers.next().transpose() {
                let last = answer.is_err();
                if sender.send(answer).is_err() || last {
                    return;
                }
            }
        }
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::crowd::tests::plan;
    use std::os::unix::net::UnixStream;

    #[test]
    fn events_that_were_refused_are_remembered_by_their_number() {
        let (ours, mut node) = UnixStream::pair().unwrap();
        let crowd = Arc::new(Crowd::new(plan(1, &[("staff", 1)], &["inventory"])).unwrap());
        let mut publisher = Publisher::posts(Link::Unix(ours), None, Maker::new(1, 0), crowd).unwrap();
        publisher.publish([7, 8, 9].into_iter()).unwrap();
        let mut heard = vec![0; 64 << 10];
        let n = node.read(&mut heard).unwrap();
        assert_eq!(String::from_utf8_lossy(&heard[..n]).matches("POST /api/events").count(), 3);
        for status in ["200 OK", "503 Busy", "200 OK"] {
            write!(node, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
        publisher.settle().unwrap();
        assert_eq!((publisher.next(), publisher.refused().iter().copied().collect::<Vec<_>>()), (3, vec![1]));
        publisher.publish(std::iter::once(9)).unwrap();
        write!(node, "HTTP/1.1 422 No\r\nContent-Length: 3\r\n\r\nwhy").unwrap();
        assert!(publisher.settle().unwrap_err().contains("why"));
    }
}
