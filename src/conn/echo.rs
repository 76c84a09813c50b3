//! An echo, in builds for conformance tests only: `/conformance/echo` takes in messages as
//! `/api/ws` does, through the same frames, limits on control frames, UTF-8 checks, outbox and
//! closes, and sends each one back.

use bytes::Bytes;

use crate::conn::machine::{Changes, Conn, Context};
use crate::wire::frame::{encode_binary, encode_text};

/// Where the echo is.
pub(super) const PATH: &str = "/conformance/echo";

/// Bytes of one message: the longest that the Autobahn test suite sends.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 20;

impl Conn {
    pub(super) fn echo_text(&mut self, text: &str, cx: &Context<'_>, changes: &mut Changes) {
        self.echo(encode_text(text.as_bytes()), cx, changes);
    }

    pub(super) fn echo_binary(&mut self, payload: &[u8], cx: &Context<'_>, changes: &mut Changes) {
        self.echo(encode_binary(payload), cx, changes);
    }

    /// It costs a permit, as every message does.
    fn echo(&mut self, frame: Bytes, cx: &Context<'_>, changes: &mut Changes) {
        if self.spend_permit(None, cx, changes) {
            self.send(frame, cx.now);
        }
    }
}
