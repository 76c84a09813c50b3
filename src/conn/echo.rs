//! An echo, in builds for conformance tests only: `/conformance/echo` takes in messages as
//! `/api/ws` does, through the same frames, limits on control frames, UTF-8 checks, outbox and
//! closes, and sends each one back: compressed, however short, where that was agreed on.

use bytes::Bytes;

use crate::conn::machine::{Changes, Conn, Context};
use crate::wire::deflate::Deflater;
use crate::wire::frame::{encode_binary, encode_compressed_binary, encode_compressed_text, encode_text};

/// Where the echo is.
pub(super) const PATH: &str = "/conformance/echo";

/// Bytes of one message: the longest that the Autobahn test suite sends.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 20;

impl Conn {
    pub(super) fn echo_text(
        &mut self,
        text: &str,
        deflater: &mut Deflater,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        let deflated = if self.deflates { deflater.deflate(text.as_bytes()) } else { None };
        let plain = || encode_text(text.as_bytes());
        self.echo(deflated.map_or_else(plain, encode_compressed_text), cx, changes);
    }

    pub(super) fn echo_binary(
        &mut self,
        payload: &[u8],
        deflater: &mut Deflater,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        let deflated = if self.deflates { deflater.deflate(payload) } else { None };
        self.echo(deflated.map_or_else(|| encode_binary(payload), encode_compressed_binary), cx, changes);
    }

    /// It costs a permit, as every message does.
    fn echo(&mut self, frame: Bytes, cx: &Context<'_>, changes: &mut Changes) {
        if self.spend_permit(None, cx, changes) {
            self.send(frame, cx.now);
        }
    }
}
