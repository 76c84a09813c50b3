use super::*;
use proptest::prelude::*;

/// What a sink saw, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    EmptyFragment,
}

struct Recorder {
    limit: usize,
    /// The limit after the first text.
    then: usize,
    seen: Vec<Seen>,
    /// Stop at this item.
    stop_at: usize,
}

impl Recorder {
    fn new(limit: usize) -> Recorder {
        Recorder { limit, then: limit, seen: Vec::new(), stop_at: usize::MAX }
    }
}

impl Sink for Recorder {
    fn limit(&self) -> usize {
        self.limit
    }

    fn item(&mut self, item: Item<'_>) -> Flow {
        self.seen.push(match item {
            Item::Text(text) => {
                self.limit = self.then;
                Seen::Text(text.to_owned())
            }
            Item::Binary => Seen::Binary,
            Item::Ping(payload) => Seen::Ping(payload.to_owned()),
            Item::Pong(payload) => Seen::Pong(payload.to_owned()),
            Item::Close { code, reason } => Seen::Close(code, reason.to_owned()),
        });
        if self.seen.len() >= self.stop_at { Flow::Stop } else { Flow::Go }
    }

    fn empty_fragment(&mut self) -> Flow {
        self.seen.push(Seen::EmptyFragment);
        if self.seen.len() >= self.stop_at { Flow::Stop } else { Flow::Go }
    }
}

const KEY: [u8; 4] = [7, 0, 255, 129];

/// A client's frame, written by hand.
fn frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..65536 => out.extend([0xfe, (len >> 8) as u8, len as u8]),
        len => {
            out.push(0xff);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(key);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    out
}

/// Feeds `bytes` cut at `cuts`, from fresh memory for each piece.
fn feed(bytes: &[u8], cuts: &[usize], sink: &mut Recorder) -> (Assembler, Result<(), FrameFault>) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let mut assembler = Assembler::default();
    for cut in cuts.windows(2) {
        let outcome = assembler.feed(&mut bytes[cut[0]..cut[1]].to_vec(), None, sink);
        if outcome.is_err() {
            return (assembler, outcome);
        }
    }
    (assembler, Ok(()))
}

/// The same whole, and a byte at a time.
fn both(bytes: &[u8], limit: usize) -> (Vec<Seen>, Result<(), FrameFault>) {
    let mut whole = Recorder::new(limit);
    let (_, outcome) = feed(bytes, &[], &mut whole);
    let mut dribbled = Recorder::new(limit);
    let cuts: Vec<usize> = (0..bytes.len()).collect();
    let (_, other) = feed(bytes, &cuts, &mut dribbled);
    assert_eq!((&whole.seen, outcome), (&dribbled.seen, other), "{bytes:02x?}");
    (whole.seen, outcome)
}

/// What comes of `bytes` where compression was agreed on: whole, and a byte at a time.
fn deflated(bytes: &[u8], limit: usize) -> (Vec<Seen>, Result<(), FrameFault>) {
    let run = |step: usize| {
        let (mut sink, mut inflater) = (Recorder::new(limit), Inflater::default());
        let mut assembler = Assembler::default();
        let fed = |piece: &[u8]| assembler.feed(&mut piece.to_vec(), Some(&mut inflater), &mut sink);
        let outcome = bytes.chunks(step).try_for_each(fed);
        (sink.seen, outcome)
    };
    let whole = run(bytes.len());
    assert_eq!(whole, run(1), "{bytes:02x?}");
    whole
}

#[test]
fn compressed_messages_stand_beside_others() {
    // RFC 7692 7.2.3.1 and 7.2.3.6.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let text = |first: u8, payload: &[u8]| frame(first, payload, KEY);
    let said = |text: &str| Seen::Text(text.to_owned());
    for (bytes, seen) in [
        (text(0xc1, &hello), vec![said("Hello")]),
        (text(0xc1, &[0]), vec![said("")]),
        ([text(0x81, b"plain"), text(0xc1, &hello)].concat(), vec![said("plain"), said("Hello")]),
        ([text(0x41, &hello[..3]), text(0x80, &hello[3..])].concat(), vec![said("Hello")]),
        (
            [text(0x41, b""), text(0x00, &hello), text(0x89, b"p"), text(0x80, b"")].concat(),
            vec![Seen::EmptyFragment, Seen::Ping(b"p".to_vec()), said("Hello")],
        ),
        // The next message may be plain again, in fragments too.
        ([text(0xc1, &hello), text(0x01, b"a"), text(0x80, b"b")].concat(), vec![said("Hello"), said("ab")]),
        (text(0xc2, &hello), vec![Seen::Binary]),
    ] {
        assert_eq!(deflated(&bytes, 5), (seen, Ok(())), "{bytes:02x?}");
    }
    for (bytes, code) in [
        (text(0xc1, &[0x06]), 1002),
        (text(0xc1, b""), 1002),
        ([text(0x41, &hello[..3]), text(0xc0, &hello[3..])].concat(), 1002),
        ([text(0x41, &hello), text(0xc1, &hello)].concat(), 1002),
        (text(0xc9, b""), 1002),
        (text(0xc1, &[0x00, 0x02, 0x00, 0xfd, 0xff, 0xe2, 0x82, 0x00]), 1007),
        // Six bytes; more compressed ones than five could ever need.
        (text(0xc1, &[0x00, 0x06, 0x00, 0xf9, 0xff, b'a', b'b', b'c', b'd', b'e', b'f', 0x00]), 1009),
        (text(0xc1, &[0; 22]), 1009),
        ([text(0x41, &[0; 11]), text(0x00, &[0; 11])].concat(), 1009),
    ] {
        let outcome = deflated(&bytes, 5).1;
        assert_eq!(outcome.map_err(|fault| fault.close_code()), Err(code), "{bytes:02x?}");
    }
    // Nothing of it is allowed where it was not agreed on.
    assert_eq!(both(&text(0xc1, &hello), 5).1.unwrap_err().close_code(), 1002);
}

#[test]
fn nothing_is_inflated_for_one_who_does_not_listen() {
    struct Deaf;
    impl Sink for Deaf {
        fn limit(&self) -> usize {
            100
        }
        fn listens(&self) -> bool {
            false
        }
        fn item(&mut self, item: Item<'_>) -> Flow {
            panic!("{item:?}")
        }
        fn empty_fragment(&mut self) -> Flow {
            Flow::Go
        }
    }
    let mut inflater = Inflater::default();
    let mut assembler = Assembler::default();
    // It would not even inflate.
    let mut bytes = [frame(0xc1, &[6], KEY), frame(0x41, &[6], KEY), frame(0x80, &[6], KEY)].concat();
    assert_eq!(assembler.feed(&mut bytes, Some(&mut inflater), &mut Deaf), Ok(()));
    assert!(assembler.is_idle());
}

#[test]
fn refuses_sequences() {
    let text = |first: u8, payload: &[u8]| frame(first, payload, KEY);
    let close = |payload: &[u8]| frame(0x88, payload, KEY);
    for (bytes, code) in [
        (text(0x80, b"stray"), 1002),
        (text(0x00, b"stray"), 1002),
        ([text(0x01, b"a"), text(0x81, b"b")].concat(), 1002),
        ([text(0x01, b"a"), text(0x02, b"b")].concat(), 1002),
        ([text(0x81, b"a"), text(0x80, b"b")].concat(), 1002),
        (close(&[3]), 1002),
        (close(&[0, 0]), 1002),
        (close(&1004u16.to_be_bytes()), 1002),
        (close(&1005u16.to_be_bytes()), 1002),
        (close(&1006u16.to_be_bytes()), 1002),
        (close(&1015u16.to_be_bytes()), 1002),
        (close(&2999u16.to_be_bytes()), 1002),
        (close(&5000u16.to_be_bytes()), 1002),
        (close(&[3, 232, 0xff]), 1007),
        (text(0x81, b"\xff"), 1007),
        (text(0x81, b"\xe2\x82"), 1007),
        (text(0x81, b"\xed\xa0\x80"), 1007),
        ([text(0x01, b"\xe2\x82"), text(0x80, b"")].concat(), 1007),
        ([text(0x01, b"\xe2"), text(0x89, b""), text(0x80, b"\x82\x28")].concat(), 1007),
        (text(0x81, &[b'x'; 201]), 1009),
        ([text(0x01, &[b'x'; 200]), text(0x80, b"y")].concat(), 1009),
        ([text(0x02, &[b'x'; 200]), text(0x80, b"y")].concat(), 1009),
    ] {
        assert_eq!(both(&bytes, 200).1.map_err(|fault| fault.close_code()), Err(code), "{bytes:02x?}");
    }
}

#[test]
fn takes_what_is_legal() {
    let bytes = [
        frame(0x81, b"", KEY),
        frame(0x01, b"\xf0\x9f", KEY),
        frame(0x89, b"p", KEY),
        frame(0x00, b"", KEY),
        frame(0x00, b"\x98", KEY),
        frame(0x8a, &[9; 125], KEY),
        frame(0x80, b"\x80!", KEY),
        frame(0x82, b"\xff\xff", KEY),
        frame(0x02, b"\xff\xff", KEY),
        frame(0x80, b"\xff", KEY),
        frame(0x81, &[b'x'; 200], KEY),
        frame(0x88, &[&1014u16.to_be_bytes()[..], b"bye"].concat(), KEY),
        frame(0x81, b"after the end", KEY),
    ]
    .concat();
    let expected = vec![
        Seen::Text(String::new()),
        Seen::Ping(b"p".to_vec()),
        Seen::EmptyFragment,
        Seen::Pong(vec![9; 125]),
        Seen::Text("\u{1f600}!".into()),
        Seen::Binary,
        Seen::Binary,
        Seen::Text("x".repeat(200)),
        Seen::Close(Some(1014), "bye".into()),
    ];
    assert_eq!(both(&bytes, 200), (expected, Ok(())));
    assert_eq!(both(&frame(0x88, b"", KEY), 0), (vec![Seen::Close(None, String::new())], Ok(())));
}

#[test]
fn faults_come_before_their_payload() {
    let bad = [b"ok\xff".as_slice(), &[b'x'; 97]].concat();
    for (bytes, len, code) in [
        (frame(0x81, &[b'x'; 300], KEY), 8, 1009),
        (frame(0x81, &bad, KEY), 9, 1007),
        (frame(0x01, &bad, KEY), 9, 1007),
        (frame(0x80, &bad, KEY), 6, 1002),
    ] {
        let mut sink = Recorder::new(200);
        let (_, outcome) = feed(&bytes[..len], &[], &mut sink);
        assert_eq!(outcome.map_err(|fault| fault.close_code()), Err(code));
        let mut sink = Recorder::new(200);
        assert_eq!(feed(&bytes[..len - 1], &[], &mut sink).1, Ok(()));
    }
    // A binary message is told at its header.
    let mut sink = Recorder::new(200);
    feed(&frame(0x82, &[1; 100], KEY)[..6], &[], &mut sink).1.unwrap();
    assert_eq!(sink.seen, [Seen::Binary]);
}

#[test]
fn memory_follows_what_came() {
    let mut assembler = Assembler::default();
    let mut sink = Recorder::new(1 << 20);
    let mut bytes = frame(0x01, &vec![b'x'; 1 << 20], KEY);
    assembler.feed(&mut bytes[..100], None, &mut sink).unwrap();
    let held = |assembler: &Assembler| {
        assembler.partial.as_ref().unwrap().message.as_ref().unwrap().bytes.capacity()
    };
    assert!(held(&assembler) <= 2 * 100);
    assembler.feed(&mut bytes[100..600_000], None, &mut sink).unwrap();
    assembler.feed(&mut bytes[600_000..], None, &mut sink).unwrap();
    assert!(held(&assembler) <= 1 << 20);
    // Empty continuations cost no memory, however many.
    let mut empty = frame(0x00, b"", KEY).repeat(1000);
    assembler.feed(&mut empty, None, &mut sink).unwrap();
    assert!(held(&assembler) <= 1 << 20);
    assert!(!assembler.is_idle());
    assembler.feed(&mut frame(0x80, b"", KEY), None, &mut sink).unwrap();
    assert!(assembler.is_idle());
    assert_eq!(sink.seen.len(), 1000 + 1);
    // Of a binary message nothing is kept.
    let mut bytes = frame(0x02, &vec![b'x'; 1 << 20], KEY);
    assembler.feed(&mut bytes, None, &mut sink).unwrap();
    assert_eq!(held(&assembler), 0);
}

#[test]
fn an_item_may_change_the_limit() {
    let bytes = [frame(0x81, b"auth", KEY), frame(0x81, &[b'x'; 50], KEY)].concat();
    let mut sink = Recorder { then: 50, ..Recorder::new(4) };
    assert_eq!(feed(&bytes, &[], &mut sink).1, Ok(()));
    assert_eq!(sink.seen.len(), 2);
    let mut sink = Recorder::new(4);
    assert_eq!(feed(&bytes, &[], &mut sink).1, Err(FrameFault::TooBig));
    assert_eq!(sink.seen.len(), 1);
}

#[test]
fn nothing_comes_after_the_end() {
    let two = frame(0x81, b"a", KEY).repeat(2);
    let mut sink = Recorder { stop_at: 1, ..Recorder::new(9) };
    let (mut assembler, _) = feed(&two, &[], &mut sink);
    assembler.feed(&mut two.clone(), None, &mut sink).unwrap();
    assert_eq!(sink.seen.len(), 1);
    let empty = [frame(0x01, b"", KEY), frame(0x00, b"", KEY)].concat();
    let mut sink = Recorder { stop_at: 1, ..Recorder::new(9) };
    feed(&empty, &[], &mut sink).1.unwrap();
    assert_eq!(sink.seen, [Seen::EmptyFragment]);
    let mut sink = Recorder::new(9);
    let (mut assembler, outcome) = feed(&frame(0x80, b"", KEY), &[], &mut sink);
    assert!(outcome.is_err());
    assembler.feed(&mut two.clone(), None, &mut sink).unwrap();
    assert_eq!(sink.seen, []);
}

/// One thing a client may do, and how it splits it up.
#[derive(Debug, Clone)]
enum Act {
    Text { text: String, cuts: Vec<usize>, between: Vec<Option<Vec<u8>>> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Binary(Vec<u8>),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let small = || proptest::collection::vec(any::<u8>(), 0..126);
    let text = ("\\PC{0,150}", proptest::collection::vec(0usize..600, 0..4));
    let between = proptest::collection::vec(proptest::option::of(small()), 4);
    let act = prop_oneof![
        3 => (text, between).prop_map(|((text, cuts), between)| Act::Text { text, cuts, between }),
        1 => small().prop_map(Act::Ping),
        1 => small().prop_map(Act::Pong),
        1 => small().prop_map(Act::Binary),
    ];
    proptest::collection::vec(act, 0..6)
}

/// The bytes of the acts, and what they mean.
fn play(acts: &[Act], key: [u8; 4]) -> (Vec<u8>, Vec<Seen>) {
    let mut bytes = Vec::new();
    let mut meaning = Vec::new();
    for act in acts {
        match act {
            Act::Ping(payload) => {
                bytes.extend(frame(0x89, payload, key));
                meaning.push(Seen::Ping(payload.clone()));
            }
            Act::Pong(payload) => {
                bytes.extend(frame(0x8a, payload, key));
                meaning.push(Seen::Pong(payload.clone()));
            }
            Act::Binary(payload) => {
                bytes.extend(frame(0x82, payload, key));
                meaning.push(Seen::Binary);
            }
            Act::Text { text, cuts, between } => {
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(text.len())).collect();
                cuts.extend([0, text.len()]);
                cuts.sort_unstable();
                let last = cuts.len() - 2;
                for (i, cut) in cuts.windows(2).enumerate() {
                    let first = if i == last { 0x80 } else { 0 } | u8::from(i == 0);
                    bytes.extend(frame(first, &text.as_bytes()[cut[0]..cut[1]], key));
                    if i < last && cut[0] == cut[1] {
                        meaning.push(Seen::EmptyFragment);
                    }
                    if let (true, Some(Some(ping))) = (i < last, between.get(i)) {
                        bytes.extend(frame(0x89, ping, key));
                        meaning.push(Seen::Ping(ping.clone()));
                    }
                }
                meaning.push(Seen::Text(text.clone()));
            }
        }
    }
    (bytes, meaning)
}

proptest! {
    #[test]
    fn the_items_are_those_sent_however_cut(
        acts in acts(), key: [u8; 4], cuts in proptest::collection::vec(0usize..2000, 0..20),
    ) {
        let (bytes, meaning) = play(&acts, key);
        for cuts in [&[][..], &cuts] {
            let mut sink = Recorder::new(1000);
            let (assembler, outcome) = feed(&bytes, cuts, &mut sink);
            prop_assert_eq!(outcome, Ok(()));
            prop_assert_eq!(&sink.seen, &meaning);
            prop_assert!(assembler.is_idle());
        }
    }

    /// Sound streams with bytes changed: the same items and the same fault, whole and cut.
    #[test]
    fn a_broken_stream_breaks_at_the_same_place(
        acts in acts(), key: [u8; 4],
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cuts in proptest::collection::vec(0usize..2000, 0..20), limit in 0usize..400,
    ) {
        let (mut bytes, _) = play(&acts, key);
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let mut whole = Recorder::new(limit);
        let (_, outcome) = feed(&bytes, &[], &mut whole);
        let mut pieces = Recorder::new(limit);
        let (_, other) = feed(&bytes, &cuts, &mut pieces);
        prop_assert_eq!((whole.seen, outcome), (pieces.seen, other));
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..60), limit in 0usize..100) {
        let _ = both(&bytes, limit);
    }
}
