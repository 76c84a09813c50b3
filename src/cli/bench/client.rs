//! One client as a machine: bytes in, what to send and what to count out. Pure.

use hdrhistogram::Histogram;

use crate::cli::bench::crowd::{Crowd, Pace};
use crate::cli::bench::event::{Stamp, id_of};
use crate::cli::bench::frames::{Frame, answer, client_frame, first};
use crate::cli::bench::schedule::latencies;
use crate::cli::bench::stream::{Arrival, Stream};
use crate::cli::bench::talk::{Entry, Since, Word, hello, read};

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not connected.
    Away,
    /// Waits for TCP.
    Connecting,
    /// Waits for the 101.
    Upgrading,
    /// Waits until it is authenticated and subscribed.
    Entering,
    /// Gets what it missed.
    Replaying,
    /// Gets events.
    Live,
}

/// How far a client goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The upgrade, and not one word.
    Upgraded,
    /// Authenticated, subscribed, and without a past.
    Fresh,
    /// The same, and all that it missed.
    Back,
}

/// Why a connection is over, in a few words that are the same for the same cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended(pub String);

/// What a thread's clients counted.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Deliveries to prompt clients that were due, once each.
    pub received: u64,
    /// Deliveries to all others.
    pub received_slowly: u64,
    /// Overtaken by a later one of their lane.
    pub late: u64,
    /// Delivered again.
    pub twice: u64,
    /// Delivered to one who must not see them.
    pub foreign: u64,
    /// From the due time to the arrival at prompt clients, in us.
    pub latency: Histogram<u64>,
}

impl Counts {
    /// Nothing yet.
    pub fn new() -> Counts {
        Counts { received: 0, received_slowly: 0, late: 0, twice: 0, foreign: 0, latency: latencies() }
    }

    /// Adds what another thread counted.
    pub fn add(&mut self, other: &Counts) {
        self.received += other.received;
        self.received_slowly += other.received_slowly;
        self.late += other.late;
        self.twice += other.twice;
        self.foreign += other.foreign;
        self.latency.add(&other.latency).expect("both have the same bounds");
    }
}

/// What clients of a thread share while one of them reads.
#[derive(Debug)]
pub struct Desk<'a> {
    /// Who is who.
    pub crowd: &'a Crowd,
    /// How to come in.
    pub entry: &'a Entry,
    /// The run whose events count.
    pub run: u32,
    /// The time of the read, in ns since the start of the run.
    pub now_ns: u64,
    /// Wall time, for credentials, in ms since the epoch.
    pub wall_ms: u64,
    /// Where the last stamp was found.
    pub hint: &'a mut usize,
    /// What was counted.
    pub counts: &'a mut Counts,
    /// What is to be sent.
    pub out: &'a mut Vec<u8>,
}

/// The client.
#[derive(Debug)]
pub struct Client {
    index: u32,
    pace: Pace,
    /// Where it is.
    pub phase: Phase,
    /// How far it is to go.
    pub goal: Goal,
    lanes: Vec<Stream>,
    since: Since,
    /// What the node announced before it closes.
    closing: Option<Ended>,
}

impl Client {
    /// A client that is not connected.
    pub fn new(index: u32, pace: Pace) -> Client {
        let since = Since { epoch: String::new(), id: String::new() };
        Client {
            index,
            pace,
            phase: Phase::Away,
            goal: Goal::Upgraded,
            lanes: Vec::new(),
            since,
            closing: None,
        }
    }

    /// Its number.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// How it reads.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Whether it is connected again and on its way to the present.
    pub fn is_back_in(&self) -> bool {
        self.goal == Goal::Back && matches!(self.phase, Phase::Entering | Phase::Replaying)
    }

    /// Sets out anew. One that comes back goes on with its past; any other begins behind `lanes`.
    pub fn set_out(&mut self, goal: Goal, lanes: &[u64]) {
        if goal != Goal::Back {
            self.lanes = lanes.iter().map(|next| Stream::from(*next)).collect();
        }
        self.goal = goal;
        self.phase = Phase::Connecting;
        self.closing = None;
    }

    /// TCP is there: the request for the upgrade.
    pub fn connected(&mut self, desk: &mut Desk<'_>) {
        self.phase = Phase::Upgrading;
        desk.out.extend_from_slice(&desk.entry.head);
    }

    /// Takes what came; returns how much of it was used.
    ///
    /// # Errors
    /// The end of the connection.
    pub fn take(&mut self, bytes: &[u8], desk: &mut Desk<'_>) -> Result<usize, Ended> {
        let broken = |why: &str| Ended(format!("the server sent {why}"));
        let mut used = 0;
        if self.phase == Phase::Upgrading {
            match answer(bytes).map_err(broken)? {
                None => return Ok(0),
                Some((101, length)) => used = length,
                Some((status, _)) => return Err(Ended(format!("refused with HTTP status {status}"))),
            }
            self.enter(desk);
        }
        while let Some((frame, length)) = first(&bytes[used..]).map_err(broken)? {
            used += length;
            match frame {
                Frame::Text(text) => self.hear(text, desk)?,
                Frame::Ping(payload) => client_frame(10, payload, desk.out),
                Frame::Close(code) => {
                    let code =
                        code.map_or("closed without a code".into(), |code| format!("closed with {code}"));
                    return Err(self.closing.take().unwrap_or(Ended(code)));
                }
                Frame::Other => {}
            }
        }
        Ok(used)
    }

    /// The stream has ended, or broke.
    pub fn cut(&mut self) -> Ended {
        self.closing.take().unwrap_or(Ended("cut off without a close".into()))
    }

    fn enter(&mut self, desk: &mut Desk<'_>) {
        match &desk.entry.identity {
            Some(credentials) if self.goal != Goal::Upgraded => {
                self.phase = Phase::Entering;
                let since = Some(&self.since).filter(|_| self.goal == Goal::Back);
                hello(credentials, desk.crowd, self.index, since, desk.wall_ms, desk.out);
            }
            identity => {
                // A client that has said something acknowledges what it gets later and less often, at the
                // cost of its server. So those of a server without words say one that no server answers:
                // their number, big-endian.
                if identity.is_none() && self.goal != Goal::Upgraded {
                    client_frame(10, &self.index.to_be_bytes(), desk.out);
                }
                self.phase = Phase::Live;
            }
        }
    }

    fn hear(&mut self, text: &[u8], desk: &mut Desk<'_>) -> Result<(), Ended> {
        match Stamp::find(text, *desk.hint) {
            Some((stamp, at)) => {
                *desk.hint = at;
                if stamp.run == desk.run {
                    self.deliver(stamp, text, desk);
                }
                return Ok(());
            }
            None if desk.entry.identity.is_none() => return Ok(()),
            None => {}
        }
        match read(text) {
            Word::Authenticated if desk.crowd.subscribes(self.index).next().is_none() => {
                self.phase = Phase::Live
            }
            Word::Subscribed { epoch, last_id, recovered } => {
                self.since.epoch = epoch;
                match recovered {
                    Some(true) => self.phase = Phase::Replaying,
                    Some(false) => {
                        return Err(Ended("not recovered: what it missed is not to be had".into()));
                    }
                    None => {
                        self.phase = Phase::Live;
                        self.remember(last_id.as_bytes());
                    }
                }
            }
            Word::CaughtUp => self.phase = Phase::Live,
            Word::Closing(code, reason) => self.closing = Some(Ended(format!("closed with {code} {reason}"))),
            Word::Refused(why) => return Err(Ended(format!("refused: {why}"))),
            Word::Authenticated | Word::Other => {}
        }
        Ok(())
    }

    fn deliver(&mut self, stamp: Stamp, text: &[u8], desk: &mut Desk<'_>) {
        let crowd = desk.crowd;
        let index = self.index;
        let arrival = match self.lanes.get_mut(usize::from(stamp.lane)) {
            Some(stream) => stream.take(stamp.seq, |seq| crowd.sees(index, seq)),
            None => Arrival::Foreign,
        };
        self.remember(id_of(text));
        match arrival {
            Arrival::Twice => desk.counts.twice += 1,
            Arrival::Foreign => desk.counts.foreign += 1,
            Arrival::Due | Arrival::Late => {
                desk.counts.late += u64::from(arrival == Arrival::Late);
                if self.pace == Pace::Prompt {
                    desk.counts.received += 1;
                    let latency_us = desk.now_ns.saturating_sub(stamp.due_ns) / 1000;
                    desk.counts.latency.saturating_record(latency_us);
                } else {
                    desk.counts.received_slowly += 1;
                }
            }
        }
    }

    /// Keeps the id of the last event, in place.
    fn remember(&mut self, id: &[u8]) {
        if let Ok(id) = std::str::from_utf8(id) {
            self.since.id.clear();
            self.since.id.push_str(id);
        }
    }

    /// Events that it must have got and did not. `ends` are the next numbers of the lanes.
    pub fn lost(&self, crowd: &Crowd, ends: &[u64], refused: impl Fn(usize, u64) -> bool) -> u64 {
        let lane = |(lane, (stream, end)): (usize, (&Stream, &u64))| {
            stream.lost(*end, |seq| crowd.sees(self.index, seq), |seq| refused(lane, seq))
        };
        self.lanes.iter().zip(ends).enumerate().map(lane).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::crowd::tests::plan;
    use crate::cli::bench::event::Maker;
    use crate::cli::bench::talk::Credentials;
    use crate::wire::frame::frame_header;

    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    const RUN: u32 = 9;

    fn ready(run: u32, crowd: &Crowd, seq: u64) -> String {
        let mut out = Vec::new();
        Maker::new(run, 0).write_ready(crowd, 0, seq, 2_000_000, &mut out);
        String::from_utf8(out).unwrap()
    }

    struct Rig {
        crowd: Crowd,
        entry: Entry,
        counts: Counts,
        client: Client,
        hint: usize,
        sent: Vec<u8>,
    }

    impl Rig {
        fn new(speaks: bool) -> Rig {
            let credentials = speaks.then_some(Credentials { secret: None, run: RUN });
            Rig {
                crowd: Crowd::new(plan(4, &[("staff", 1)], &["inventory"])).unwrap(),
                entry: Entry::new("h", "/", credentials),
                counts: Counts::new(),
                client: Client::new(0, Pace::Prompt),
                hint: 0,
                sent: Vec::new(),
            }
        }

        fn with<T>(&mut self, now_ns: u64, act: impl FnOnce(&mut Client, &mut Desk<'_>) -> T) -> T {
            self.sent.clear();
            let mut desk = Desk {
                crowd: &self.crowd,
                entry: &self.entry,
                run: RUN,
                now_ns,
                wall_ms: 0,
                hint: &mut self.hint,
                counts: &mut self.counts,
                out: &mut self.sent,
            };
            act(&mut self.client, &mut desk)
        }

        fn connect(&mut self, goal: Goal) {
            self.client.set_out(goal, &[0]);
            self.with(0, Client::connected);
            assert!(self.sent.starts_with(b"GET / "));
            self.take(ANSWER).unwrap();
        }

        fn take(&mut self, bytes: &[u8]) -> Result<usize, Ended> {
            self.with(5_000_000, |client, desk| client.take(bytes, desk))
        }

        fn tell(&mut self, text: &str) -> Result<usize, Ended> {
            let mut frame = frame_header(text.len()).as_ref().to_vec();
            frame.extend_from_slice(text.as_bytes());
            self.take(&frame)
        }

        fn event(&mut self, seq: u64) {
            let text = ready(RUN, &self.crowd, seq);
            self.tell(&text).unwrap();
        }
    }

    const SUBSCRIBED: &str = r#"{"type":"subscribed","data":{"epoch":"e","lastEventId":"0"}}"#;

    #[test]
    fn a_client_comes_in_counts_is_cut_off_and_comes_back_where_it_was() {
        let mut rig = Rig::new(true);
        rig.connect(Goal::Fresh);
        assert_eq!(rig.client.phase, Phase::Entering);
        assert!(rig.sent.windows(6).any(|w| w == b"\"auth\"") && !rig.sent.windows(5).any(|w| w == b"since"));
        rig.tell(SUBSCRIBED).unwrap();
        assert_eq!(rig.client.phase, Phase::Live);
        for seq in [0, 1, 3, 2, 2] {
            rig.event(seq);
        }
        assert_eq!((rig.counts.received, rig.counts.late, rig.counts.twice), (4, 1, 1));
        assert!((2_990..=3_010).contains(&rig.counts.latency.max()), "{}", rig.counts.latency.max());
        assert_eq!(rig.client.cut(), Ended("cut off without a close".into()));
        rig.connect(Goal::Back);
        assert!(
            rig.sent.windows(8).any(|w| w == b"\"id\":\"3\""),
            "{:?}",
            String::from_utf8_lossy(&rig.sent)
        );
        rig.tell(r#"{"type":"subscribed","data":{"epoch":"e","lastEventId":"6","recovered":true}}"#).unwrap();
        assert_eq!(rig.client.phase, Phase::Replaying);
        rig.event(4);
        rig.tell(r#"{"type":"caught_up","data":{"replayed":1}}"#).unwrap();
        rig.event(6);
        assert_eq!((rig.client.phase, rig.counts.received), (Phase::Live, 6));
        assert_eq!(rig.client.lost(&rig.crowd, &[8], |_, _| false), 2);
        assert_eq!(rig.client.lost(&rig.crowd, &[8], |_, seq| seq == 5), 1);
    }

    #[test]
    fn pings_are_answered_and_others_events_do_not_count() {
        let mut rig = Rig::new(true);
        rig.connect(Goal::Fresh);
        rig.take(&[0x89, 2, b'h', b'i']).unwrap();
        assert_eq!(rig.sent, [0x8a, 0x82, 0, 0, 0, 0, b'h', b'i']);
        let foreign = ready(RUN + 1, &rig.crowd, 0);
        rig.tell(&foreign).unwrap();
        rig.tell(r#"{"type":"order:created","namespace":"orders","data":{}}"#).unwrap();
        assert_eq!((rig.counts.received, rig.counts.foreign), (0, 0));
    }

    #[test]
    fn an_end_has_the_words_of_its_cause() {
        let refusal = |bytes: &[u8]| {
            let mut rig = Rig::new(true);
            rig.client.set_out(Goal::Fresh, &[0]);
            rig.with(0, Client::connected);
            rig.take(bytes).unwrap_err().0
        };
        assert_eq!(refusal(b"HTTP/1.1 503 Busy\r\n\r\n"), "refused with HTTP status 503");
        let close = [ANSWER, &[0x88, 2, 0x10, 0x07]].concat();
        assert_eq!(refusal(&close), "closed with 4103");
        let mut rig = Rig::new(true);
        rig.connect(Goal::Fresh);
        rig.tell(r#"{"type":"closing","data":{"code":4103,"reason":"slow_consumer"}}"#).unwrap();
        assert_eq!(rig.client.cut().0, "closed with 4103 slow_consumer");
        let error = r#"{"type":"error","data":{"code":"auth_failed","message":"no"}}"#;
        assert_eq!(rig.tell(error).unwrap_err().0, "refused: auth_failed: no");
    }

    #[test]
    fn where_no_protocol_is_spoken_an_upgrade_is_enough() {
        let mut rig = Rig::new(false);
        rig.connect(Goal::Fresh);
        assert_eq!(
            (rig.client.phase, &rig.sent[..2]),
            (Phase::Live, &[0x8a, 0x84][..]),
            "a pong of four bytes"
        );
        rig.tell("whatever").unwrap();
        rig.event(0);
        assert_eq!(rig.counts.received, 1);
    }
}
