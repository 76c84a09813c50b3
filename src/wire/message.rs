//! Messages put together from a client's frames (RFC 6455 section 5.4).
//!
//! A frame that arrived whole is unmasked where it lies and handed on without a copy. Only what is
//! incomplete is kept, in memory that grows with the bytes that came, never with those announced,
//! and that is given back once the message is complete. An idle [`Assembler`] is one pointer.
//!
//! Faults are found as early as the bytes allow: at the header before its payload, bad UTF-8
//! inside a frame that is still coming. A compressed message is gathered as it came, and inflated
//! once it is whole: the inflater belongs to the thread, and no connection holds it in between.

use crate::wire::deflate::{Inflater, compressed_max};
pub use crate::wire::frame::FrameFault;
use crate::wire::frame::{CLIENT_HEADER_MAX, ClientHeader, Opcode, is_close_code};
use crate::wire::mask::unmask;
use std::str::from_utf8;

/// Something complete that the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message begins: told at its header. Its payload is not kept, but in a build for
    /// conformance tests.
    Binary,
    /// A ping, to be answered with its payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The client closes. Nothing follows it.
    Close {
        /// Its code, if it gave one; one that a peer may give.
        code: Option<u16>,
        /// Its reason, perhaps empty.
        reason: &'a str,
    },
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More is wanted.
    Go,
    /// Whatever else comes is discarded, now and in later calls.
    Stop,
}

/// Who takes the items.
pub trait Sink {
    /// Bytes of a message at most, asked anew at each header of a data frame: an item may change it.
    fn limit(&self) -> usize;

    /// Whether compressed messages are worth inflating: they are not where nothing will come of them.
    fn listens(&self) -> bool {
        true
    }

    /// Takes an item and says whether to go on.
    fn item(&mut self, item: Item<'_>) -> Flow;

    /// A fragment without payload came that ends no message: it brings nothing, and no bound on
    /// the bytes of a message ends a stream of them. Says whether to go on.
    fn empty_fragment(&mut self) -> Flow;

    /// Takes the payload of a binary message, after its [`Item::Binary`].
    #[cfg(feature = "conformance")]
    fn binary(&mut self, _payload: &[u8]) -> Flow {
        Flow::Go
    }
}

/// Whether the payload of a binary message is kept and handed on: only an echo has a use for it.
const KEEPS_BINARY: bool = cfg!(feature = "conformance");

#[cfg(feature = "conformance")]
fn hand_binary(payload: &[u8], sink: &mut (impl Sink + ?Sized)) -> Flow {
    sink.binary(payload)
}

#[cfg(not(feature = "conformance"))]
fn hand_binary(_: &[u8], _: &mut (impl Sink + ?Sized)) -> Flow {
    Flow::Go
}

/// The reading state of one connection: one pointer, null while nothing is incomplete.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: Option<Box<Partial>>,
}

/// An idle connection costs no more than this here.
const _: () = assert!(size_of::<Assembler>() == size_of::<usize>());

/// What is incomplete.
#[derive(Debug, Default)]
struct Partial {
    /// The stream is over: what still comes is discarded.
    over: bool,
    /// The start of a header, where it was cut.
    header: [u8; CLIENT_HEADER_MAX],
    header_len: usize,
    /// The frame whose payload is still coming. Never one that lacks nothing.
    frame: Option<OpenFrame>,
    /// What has come of the payload of a control frame.
    control: Vec<u8>,
    /// The message whose last fragment is not complete.
    message: Option<Message>,
}

#[derive(Debug)]
struct OpenFrame {
    header: ClientHeader,
    arrived: usize,
}

#[derive(Debug)]
struct Message {
    binary: bool,
    compressed: bool,
    /// Bytes announced by the headers so far.
    announced: usize,
    /// What has come, unmasked and still compressed. Of a binary message nothing, unless [`KEEPS_BINARY`].
    bytes: Vec<u8>,
    /// How much of it is whole characters; unused where it is compressed.
    valid: usize,
}

impl Assembler {
    /// Takes all the bytes just read, unmasks them in place and hands each item to `sink`.
    /// `inflater` is there where compressed messages were agreed on.
    ///
    /// # Errors
    /// The fault to close with. After it, after a close and after [`Flow::Stop`] the rest of the
    /// input and of all later input is discarded.
    pub fn feed(
        &mut self,
        input: &mut [u8],
        inflater: Option<&mut Inflater>,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<(), FrameFault> {
        if self.partial.as_ref().is_some_and(|partial| partial.over) {
            return Ok(());
        }
        let outcome = self.run(input, inflater, sink);
        if matches!(outcome, Ok(Flow::Go)) {
            if self.partial.as_ref().is_some_and(|partial| partial.is_empty()) {
                self.partial = None;
            }
        } else {
            self.partial = Some(Box::new(Partial { over: true, ..Partial::default() }));
        }
        outcome.map(|_| ())
    }

    /// Whether nothing is incomplete, so that the stream may end here.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    fn run(
        &mut self,
        input: &mut [u8],
        mut inflater: Option<&mut Inflater>,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<Flow, FrameFault> {
        let mut at = 0;
        while at < input.len() {
            let open = self.partial.as_mut().filter(|partial| partial.frame.is_some());
            let (used, flow) = if let Some(partial) = open {
                partial.go_on(&mut input[at..], inflater.as_deref_mut(), sink)?
            } else {
                let next = self.next_header(&input[at..], inflater.is_some())?;
                let Some((header, used)) = next else { return Ok(Flow::Go) };
                at += used;
                self.begin(header, &mut input[at..], inflater.as_deref_mut(), sink)?
            };
            at += used;
            if flow == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Go)
    }

    /// The next header and how many bytes of `input` it takes; an incomplete one is kept.
    fn next_header(
        &mut self,
        input: &[u8],
        deflate: bool,
    ) -> Result<Option<(ClientHeader, usize)>, FrameFault> {
        let kept = self.partial.as_ref().map_or(0, |partial| partial.header_len);
        if kept == 0
            && let Some(header) = ClientHeader::parse(input, deflate)?
        {
            return Ok(Some((header, header.size)));
        }
        let partial = self.partial.get_or_insert_default();
        let taken = input.len().min(CLIENT_HEADER_MAX - kept);
        partial.header[kept..kept + taken].copy_from_slice(&input[..taken]);
        let parsed = ClientHeader::parse(&partial.header[..kept + taken], deflate)?;
        partial.header_len = if parsed.is_some() { 0 } else { kept + taken };
        // What was kept alone was no header, so that this one ends in the new bytes.
        Ok(parsed.map(|header| (header, header.size - kept)))
    }

    /// Begins the frame of that header with what `input` has of its payload.
    fn begin(
        &mut self,
        header: ClientHeader,
        input: &mut [u8],
        inflater: Option<&mut Inflater>,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<(usize, Flow), FrameFault> {
        let message = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        if !header.opcode.is_control() {
            check_order(header.opcode, message.is_some())?;
            let announced = message.map_or(0, |message| message.announced);
            let is_compressed = message.map_or(header.is_compressed, |message| message.compressed);
            let max = if is_compressed { compressed_max(sink.limit()) } else { sink.limit() };
            if header.payload_len > max.saturating_sub(announced) {
                return Err(FrameFault::TooBig);
            }
            if header.opcode == Opcode::Binary && sink.item(Item::Binary) == Flow::Stop {
                return Ok((0, Flow::Stop));
            }
        }
        let alone = header.is_final && header.opcode != Opcode::Continue;
        match input.get_mut(..header.payload_len) {
            Some(payload) if alone => {
                unmask(payload, header.key, 0);
                let flow = match header.opcode {
                    Opcode::Text | Opcode::Binary if header.is_compressed => {
                        hand_inflated(header.opcode == Opcode::Binary, payload, inflater, sink)?
                    }
                    Opcode::Text => sink.item(Item::Text(from_utf8(payload).map_err(|_| FrameFault::Utf8)?)),
                    Opcode::Binary => hand_binary(payload, sink),
                    Opcode::Continue => Flow::Go,
                    Opcode::Ping | Opcode::Pong | Opcode::Close => {
                        hand_control(header.opcode, payload, sink)?
                    }
                };
                Ok((header.payload_len, flow))
            }
            _ => {
                let partial = self.partial.get_or_insert_default();
                partial.open(header);
                partial.go_on(input, inflater, sink)
            }
        }
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn open(&mut self, header: ClientHeader) {
        if !header.opcode.is_control() {
            let binary = header.opcode == Opcode::Binary;
            let message = self.message.get_or_insert(Message {
                binary,
                compressed: header.is_compressed,
                announced: 0,
                bytes: Vec::new(),
                valid: 0,
            });
            message.announced += header.payload_len;
        }
        self.frame = Some(OpenFrame { header, arrived: 0 });
    }

    /// Takes what `input` has of the open frame; says how much that was.
    fn go_on(
        &mut self,
        input: &mut [u8],
        inflater: Option<&mut Inflater>,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<(usize, Flow), FrameFault> {
        let frame = self.frame.as_mut().expect("only called with an open frame");
        let OpenFrame { header, arrived } = *frame;
        let taken = input.len().min(header.payload_len - arrived);
        frame.arrived += taken;
        let piece = &mut input[..taken];
        unmask(piece, header.key, arrived);
        if header.opcode.is_control() {
            self.control.extend_from_slice(piece);
        } else {
            self.message.as_mut().expect("an open data frame has a message").push(piece)?;
        }
        if arrived + taken < header.payload_len {
            return Ok((taken, Flow::Go));
        }
        self.frame = None;
        let flow = if header.opcode.is_control() {
            hand_control(header.opcode, &std::mem::take(&mut self.control), sink)?
        } else if header.is_final {
            self.message.take().expect("an open data frame has a message").hand_on(inflater, sink)?
        } else if header.payload_len == 0 {
            sink.empty_fragment()
        } else {
            Flow::Go
        };
        Ok((taken, flow))
    }
}

impl Message {
    fn push(&mut self, piece: &[u8]) -> Result<(), FrameFault> {
        if self.binary && !KEEPS_BINARY {
            return Ok(());
        }
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            // Doubling keeps the work linear; what is announced is enough.
            let room = needed.max(self.bytes.capacity() * 2).min(self.announced);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        if self.binary || self.compressed {
            return Ok(());
        }
        self.valid += match from_utf8(&self.bytes[self.valid..]) {
            Ok(text) => text.len(),
            Err(cut) if cut.error_len().is_none() => cut.valid_up_to(),
            Err(_) => return Err(FrameFault::Utf8),
        };
        Ok(())
    }

    fn hand_on(
        self,
        inflater: Option<&mut Inflater>,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<Flow, FrameFault> {
        if self.compressed {
            return hand_inflated(self.binary, &self.bytes, inflater, sink);
        }
        if self.binary {
            return Ok(hand_binary(&self.bytes, sink));
        }
        Ok(sink.item(Item::Text(from_utf8(&self.bytes).map_err(|_| FrameFault::Utf8)?)))
    }
}

/// Hands on a message whose compressed payload is whole. Of a binary one that nobody keeps nothing is known.
fn hand_inflated(
    binary: bool,
    payload: &[u8],
    inflater: Option<&mut Inflater>,
    sink: &mut (impl Sink + ?Sized),
) -> Result<Flow, FrameFault> {
    if (binary && !KEEPS_BINARY) || !sink.listens() {
        return Ok(Flow::Go);
    }
    let inflater = inflater.expect("a header that says compressed is refused where that was not agreed on");
    let message = inflater.inflate(payload, sink.limit())?;
    if binary {
        return Ok(hand_binary(message, sink));
    }
    Ok(sink.item(Item::Text(from_utf8(message).map_err(|_| FrameFault::Utf8)?)))
}

fn check_order(opcode: Opcode, inside_message: bool) -> Result<(), FrameFault> {
    match (opcode, inside_message) {
        (Opcode::Continue, false) => Err(FrameFault::Protocol("continuation without a message")),
        (Opcode::Text | Opcode::Binary, true) => Err(FrameFault::Protocol("message inside a message")),
        _ => Ok(()),
    }
}

fn hand_control(opcode: Opcode, payload: &[u8], sink: &mut (impl Sink + ?Sized)) -> Result<Flow, FrameFault> {
    match opcode {
        Opcode::Ping => Ok(sink.item(Item::Ping(payload))),
        Opcode::Pong => Ok(sink.item(Item::Pong(payload))),
        _ => {
            sink.item(read_close(payload)?);
            Ok(Flow::Stop)
        }
    }
}

/// RFC 6455 section 5.5.1.
fn read_close(payload: &[u8]) -> Result<Item<'_>, FrameFault> {
    match payload {
        [] => Ok(Item::Close { code: None, reason: "" }),
        [_] => Err(FrameFault::Protocol("close code is cut short")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !is_close_code(code) {
                return Err(FrameFault::Protocol("close code is not allowed"));
            }
            let reason = from_utf8(reason).map_err(|_| FrameFault::Utf8)?;
            Ok(Item::Close { code: Some(code), reason })
        }
    }
}

#[cfg(test)]
mod tests;
