//! Every way in which a connection can end: one variant, one close code, one metric label,
//! one word in the log, one piece of advice to the client.

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ending {
    /// Another user on a live connection, or a credential that does not hold.
    AuthFailed,
    /// No accepted `auth` in time.
    AuthTimeout,
    /// Bad UTF-8 in a text message or close reason.
    BadUtf8,
    /// A binary message where text is due.
    Binary,
    /// The node drains or stops.
    GoingAway,
    /// The request head was not complete in time.
    HeadTimeout,
    /// A plain HTTP request was answered.
    HttpAnswered,
    /// A request was refused before the upgrade.
    HttpRefused,
    /// An operator ended the session or the user.
    Kicked,
    /// The client sent a close frame.
    PeerClosed,
    /// The stream ended or broke without a close frame.
    PeerGone,
    /// No pong in time.
    PongTimeout,
    /// The client broke RFC 6455.
    Protocol,
    /// Kept sending over the rate limit.
    RateAbuse,
    /// The session's `expiresAt` passed.
    SessionExpired,
    /// More unsent bytes than `WS_MAX_BACKLOG`.
    SlowConsumer,
    /// A message over `WS_MAX_MESSAGE_SIZE`.
    TooBig,
}

/// What a close tells the client to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Do not come back by yourself.
    Stay,
    /// Come back after backing off.
    BackOff,
    /// Come back at once, with jitter.
    Return,
}

impl Ending {
    /// Every way to end, in the order of the metric's labels.
    pub const ALL: [Ending; 17] = [
        Ending::AuthFailed,
        Ending::AuthTimeout,
        Ending::BadUtf8,
        Ending::Binary,
        Ending::GoingAway,
        Ending::HeadTimeout,
        Ending::HttpAnswered,
        Ending::HttpRefused,
        Ending::Kicked,
        Ending::PeerClosed,
        Ending::PeerGone,
        Ending::PongTimeout,
        Ending::Protocol,
        Ending::RateAbuse,
        Ending::SessionExpired,
        Ending::SlowConsumer,
        Ending::TooBig,
    ];

    /// The reason text on the wire, the metric label and the word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Ending::AuthFailed => "auth_failed",
            Ending::AuthTimeout => "auth_timeout",
            Ending::BadUtf8 => "bad_utf8",
            Ending::Binary => "binary",
            Ending::GoingAway => "going_away",
            Ending::HeadTimeout => "head_timeout",
            Ending::HttpAnswered => "http_answered",
            Ending::HttpRefused => "http_refused",
            Ending::Kicked => "kicked",
            Ending::PeerClosed => "peer_closed",
            Ending::PeerGone => "peer_gone",
            Ending::PongTimeout => "pong_timeout",
            Ending::Protocol => "protocol_error",
            Ending::RateAbuse => "rate_abuse",
            Ending::SessionExpired => "session_expired",
            Ending::SlowConsumer => "slow_consumer",
            Ending::TooBig => "message_too_big",
        }
    }

    /// The close code with which the node ends a connection for this reason; none where it
    /// sends no close frame of its own (before the upgrade, or after the peer's).
    #[must_use]
    pub fn code(self) -> Option<u16> {
        Some(match self {
            Ending::GoingAway => 1001,
            Ending::Protocol => 1002,
            Ending::Binary => 1003,
            Ending::BadUtf8 => 1007,
            Ending::TooBig => 1009,
            Ending::AuthTimeout => 4001,
            Ending::AuthFailed => 4002,
            Ending::Kicked => 4004,
            Ending::SessionExpired => 4101,
            Ending::RateAbuse => 4102,
            Ending::SlowConsumer => 4103,
            Ending::PongTimeout => 4201,
            Ending::HeadTimeout
            | Ending::HttpAnswered
            | Ending::HttpRefused
            | Ending::PeerClosed
            | Ending::PeerGone => return None,
        })
    }

    /// What the client should do. For 40xx, 41xx and 42xx the range of the code says the same.
    #[must_use]
    pub fn advice(self) -> Advice {
        match self.code() {
            Some(1001 | 4100..=4199) => Advice::BackOff,
            Some(4200..=4299) => Advice::Return,
            Some(_) => Advice::Stay,
            None => Advice::BackOff,
        }
    }

    /// Whether events that wait in the outbox must not be sent any more: the connection has
    /// lost the right to them, or cannot take them.
    #[must_use]
    pub fn forfeits_backlog(self) -> bool {
        self.loses_rights() || self == Ending::SlowConsumer
    }

    /// Whether the connection has lost the right to what is on its way to it: then not even the
    /// rest of a half-sent event may follow.
    #[must_use]
    pub fn loses_rights(self) -> bool {
        matches!(self, Ending::AuthFailed | Ending::Kicked | Ending::SessionExpired)
    }

    /// How long a client should wait at least, where nothing better is known.
    #[must_use]
    pub fn retry_after_ms(self) -> u64 {
        match self {
            Ending::RateAbuse => 60_000,
            Ending::SlowConsumer => 1_000,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_its_words_differ() {
        let mut words: Vec<_> = Ending::ALL.iter().map(|e| e.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Ending::ALL.len());
        for (i, e) in Ending::ALL.iter().enumerate() {
            assert_eq!(*e as usize, i, "ALL follows the order of the enum");
        }
    }

    #[test]
    fn the_range_of_a_code_is_its_advice() {
        for e in Ending::ALL {
            let Some(code) = e.code() else { continue };
            let by_range = match code {
                4000..=4099 => Advice::Stay,
                4100..=4199 => Advice::BackOff,
                4200..=4299 => Advice::Return,
                _ => continue,
            };
            assert_eq!(e.advice(), by_range, "{code}");
        }
        assert_eq!(Ending::GoingAway.advice(), Advice::BackOff);
    }
}
