//! What a client may say, command by command.

use crate::base::masks::Mask;
use crate::base::time::Now;
use crate::conn::interest::TooManyKeys;
use crate::conn::machine::{Changes, Conn, Context};
use crate::conn::phase::Phase;
use crate::conn::reason::Ending;
use crate::conn::resume::Replay;
use crate::policy::{AuthFault, Gate, Identity, PublishError};
use crate::wire::command::{Body, Command, CommandFault, FaultCode, Since, Subscription};
use crate::wire::envelope::{event_id, parse_event_id};
use crate::wire::reply::{self, ErrorCode, Recovery};

/// The one text for every credential that does not hold: the detail goes to the log only.
const BAD_CREDENTIAL: &str = "authentication failed";

/// When one who waits for too many replays may ask for another (ms): by then one has ended, or its
/// client reads too slowly for any.
const REPLAYS_RETRY_MS: &str = "1000";

impl Conn {
    pub(super) fn refuse_fault(&mut self, fault: &CommandFault<'_>, cx: &Context<'_>) {
        let code = match (self.phase, fault.code) {
            // Before `auth` every command gets the same answer, also one that does not exist.
            (Phase::Greeting, FaultCode::UnknownType) => {
                return self.refuse_stranger(fault.id, cx.now);
            }
            (_, code) => ErrorCode::from(code),
        };
        let field = fault.field.as_deref().map(quoted);
        let extra = field.as_deref().map(|f| ("field", f));
        self.reply(&reply::error(fault.id, code, &fault.message, extra.as_slice()), cx.now);
    }

    fn refuse_stranger(&mut self, id: Option<&str>, now: Now) {
        self.refuse(id, ErrorCode::NotAuthenticated, "send `auth` first", now);
    }

    pub(super) fn handle_command(&mut self, command: &Command<'_>, cx: &Context<'_>, changes: &mut Changes) {
        let id = command.id;
        match &command.body {
            Body::Auth(data) => self.handle_auth(id, data, cx, changes),
            _ if self.phase != Phase::Live => self.refuse_stranger(id, cx.now),
            Body::Ping => self.reply(&reply::pong(id, cx.now.wall), cx.now),
            Body::Presence => self.handle_presence(id, cx),
            Body::Subscribe(what) => self.handle_subscribe(id, what, cx, changes),
            Body::Unsubscribe(what) => self.handle_unsubscribe(id, what, cx, changes),
            Body::Publish { event, data } => self.handle_publish(id, event, data, cx, changes),
        }
    }

    fn handle_auth(&mut self, id: Option<&str>, data: &str, cx: &Context<'_>, changes: &mut Changes) {
        let identity = match cx.config.gate.check(&cx.config.policy, data, cx.now.wall) {
            Ok(identity) => identity,
            Err(AuthFault::Shape(message)) => {
                return self.refuse(id, ErrorCode::BadMessage, &message, cx.now);
            }
            Err(AuthFault::Expired { message }) => {
                let why = reply::error(id, ErrorCode::TokenExpired, &message, &[]);
                return self.close_saying(Some(&why), Ending::SessionExpired, 0, cx.now, changes);
            }
            Err(AuthFault::Refused { detail }) => {
                tracing::debug!(connection = %cx.name, detail = %detail.escape_debug(), "credential refused");
                return self.fail_auth(id, cx, changes);
            }
        };
        if let Some(old) = &self.identity {
            let trusted = matches!(cx.config.gate, Gate::Trusted);
            let same = old.user == identity.user
                && !(trusted && (old.role != identity.role || old.session != identity.session));
            if !same {
                tracing::debug!(connection = %cx.name, "auth for somebody else on a live connection");
                return self.fail_auth(id, cx, changes);
            }
        }
        self.welcome(id, identity, cx, changes);
    }

    fn fail_auth(&mut self, id: Option<&str>, cx: &Context<'_>, changes: &mut Changes) {
        let why = reply::error(id, ErrorCode::AuthFailed, BAD_CREDENTIAL, &[]);
        self.close_saying(Some(&why), Ending::AuthFailed, 0, cx.now, changes);
    }

    fn welcome(&mut self, id: Option<&str>, identity: Identity, cx: &Context<'_>, changes: &mut Changes) {
        let policy = &cx.config.policy;
        let visible = policy.visible(identity.role);
        let names: Vec<&str> =
            policy.namespaces().filter(|n| visible.has(n.0)).map(|n| policy.namespace_name(n)).collect();
        let text = reply::welcome(&reply::Welcome {
            reply_to: id,
            connection_id: &cx.name.to_string(),
            user_id: &identity.user,
            role: policy.role_name(identity.role),
            namespaces: &names,
            expires_at: identity.expires_at,
            epoch: &cx.config.epoch,
            last_event_id: &event_id(self.sent_up_to(cx.last_position)),
            timestamp: cx.now.wall,
        });
        self.phase = Phase::Live;
        self.noticed = false;
        // Everything so far was brought to the one it was, and nothing to the one it is now. One who
        // is behind comes for the rest as the one it is now.
        let seen = if self.resume.is_some() { self.seen } else { cx.last_position };
        let is_same = |old: &Identity| old.role == identity.role && old.session == identity.session;
        if !self.identity.as_ref().is_some_and(is_same) {
            self.reached_after = seen;
        }
        match self.identity.replace(identity) {
            None => changes.authenticated = true,
            Some(old) => {
                // What the new role may not see ends here; the client reads it off `namespaces`.
                let forbidden = self.interest.any().without(visible);
                if !forbidden.is_empty() {
                    changes.keys.push(self.interest.unsubscribe(forbidden, None));
                }
                changes.interest = true;
                // Two refreshes in one read: the shard must learn of the first identity.
                changes.reauthenticated.get_or_insert(old);
            }
        }
        self.reply(&text, cx.now);
    }

    fn handle_presence(&mut self, id: Option<&str>, cx: &Context<'_>) {
        let policy = &cx.config.policy;
        let allowed = self
            .role()
            .zip(policy.presence())
            .is_some_and(|(role, presence)| policy.visible(role).has(presence.namespace.0));
        if allowed {
            self.reply(&reply::presence(id, cx.online as u64), cx.now);
        } else {
            self.refuse(id, ErrorCode::ForbiddenNamespace, "this role may not ask who is online", cx.now);
        }
    }

    /// The mask of `names`, or the refusal of the whole list for one bad name.
    fn namespaces(&self, names: &[impl AsRef<str>], cx: &Context<'_>) -> Result<Mask, (ErrorCode, String)> {
        let policy = &cx.config.policy;
        let mut mask = Mask::EMPTY;
        for name in names {
            let name = name.as_ref();
            let Some(namespace) = policy.namespace(name) else {
                let known: Vec<&str> = policy.namespaces().map(|n| policy.namespace_name(n)).collect();
                let message = format!("no namespace {}; there are: {}", quoted(name), known.join(", "));
                return Err((ErrorCode::UnknownNamespace, message));
            };
            mask = mask | Mask::only(namespace.0);
        }
        Ok(mask)
    }

    fn handle_subscribe(
        &mut self,
        id: Option<&str>,
        what: &Subscription<'_>,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        let policy = &cx.config.policy;
        let wanted = self.namespaces(&what.namespaces, cx).and_then(|wanted| {
            let visible = self.role().map_or(Mask::EMPTY, |role| policy.visible(role));
            match wanted.without(visible).iter().next() {
                None => Ok(wanted),
                Some(n) => {
                    let name = policy.namespace_name(crate::policy::Namespace(n));
                    Err((ErrorCode::ForbiddenNamespace, format!("this role may not subscribe to {name}")))
                }
            }
        });
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err((code, message)) => return self.refuse(id, code, &message, cx.now),
        };
        let keys: Option<Vec<&str>> = what.keys.as_ref().map(|k| k.iter().map(AsRef::as_ref).collect());
        if what.since.is_some() && self.resume.as_ref().is_some_and(|resume| resume.is_full()) {
            let message = "too many replays wait already; let some end";
            let later = [("retryAfterMs", REPLAYS_RETRY_MS)];
            return self.reply(&reply::error(id, ErrorCode::RateLimited, message, &later), cx.now);
        }
        let newly = wanted.without(self.interest.any());
        match self.interest.subscribe(wanted, keys.as_deref(), cx.config.keys_max) {
            Ok(change) if change.is_empty() => {}
            Ok(change) => changes.keys.push(change),
            Err(TooManyKeys) => {
                let message = format!("data.keys: at most {} keys a connection", cx.config.keys_max);
                return self.refuse(id, ErrorCode::BadMessage, &message, cx.now);
            }
        }
        changes.interest = true;
        let names: Vec<&str> = what.namespaces.iter().map(AsRef::as_ref).collect();
        let recovered = what.since.as_ref().map(|since| recovery(since, cx));
        let replay = match (recovered, &what.since) {
            (Some(Recovery::Recovered), Some(since)) => parse_event_id(&since.id),
            _ => None,
        };
        let last = match self.sent_up_to(cx.last_position) {
            sent if sent < cx.last_position => sent,
            // One who has seen more than this shard does not fall back behind that.
            sent => sent.max(replay.unwrap_or(0)),
        };
        let last = event_id(last);
        self.reply(&reply::subscribed(id, &names, &cx.config.epoch, &last, recovered), cx.now);
        self.begin_resume(wanted, newly, replay.map(|after| (after, names.as_slice())), cx, changes);
    }

    /// What a subscription means for the events before it: a replay brings those that were
    /// missed; without one, nothing older than the answer comes of what is new.
    fn begin_resume(
        &mut self,
        wanted: Mask,
        newly: Mask,
        replay: Option<(u64, &[&str])>,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        let until = cx.last_position;
        match (replay, &mut self.resume) {
            (Some((after, names)), None) if after == until => {
                self.reply(&reply::caught_up(names, 0), cx.now);
            }
            (Some((position, names)), _) if position > until => {
                // Seen on a shard that was quicker: what comes here up to there is no news.
                self.fall_behind(until).hold(wanted, position);
                changes.behind = true;
                self.reply(&reply::caught_up(names, 0), cx.now);
            }
            (Some((after, names)), _) => {
                let unasked_until = until.min(self.reached_after);
                self.reached_after = after.min(self.reached_after);
                let names = names.iter().map(|name| Box::from(*name)).collect();
                let resume = self.fall_behind(until);
                resume.skip(wanted, until);
                let replay = Replay { after, until, namespaces: wanted, unasked_until, names, sent: 0 };
                resume.replays.push_back(replay);
                changes.behind = true;
            }
            (None, Some(resume)) => resume.skip(newly, until),
            (None, None) => {}
        }
    }

    fn handle_unsubscribe(
        &mut self,
        id: Option<&str>,
        what: &Subscription<'_>,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        let unwanted = match self.namespaces(&what.namespaces, cx) {
            Ok(unwanted) => unwanted,
            Err((code, message)) => return self.refuse(id, code, &message, cx.now),
        };
        let keys: Option<Vec<&str>> = what.keys.as_ref().map(|k| k.iter().map(AsRef::as_ref).collect());
        let change = self.interest.unsubscribe(unwanted, keys.as_deref());
        if !change.is_empty() {
            changes.keys.push(change);
        }
        changes.interest = true;
        let names: Vec<&str> = what.namespaces.iter().map(AsRef::as_ref).collect();
        self.reply(&reply::unsubscribed(id, &names), cx.now);
    }

    fn handle_publish(
        &mut self,
        id: Option<&str>,
        event: &str,
        data: &str,
        cx: &Context<'_>,
        changes: &mut Changes,
    ) {
        let Some(identity) = &self.identity else { return self.refuse_stranger(id, cx.now) };
        let policy = &cx.config.policy;
        let draft = policy.draft_published(identity.role, &identity.user, event, data, &cx.config.rules);
        match draft {
            Ok(draft) => changes.published.push((id.map(Box::from), draft)),
            Err(PublishError::Forbidden) => {
                self.refuse(id, ErrorCode::ForbiddenEvent, "this role may not publish that event", cx.now);
            }
            Err(PublishError::UnknownType) => {
                let message = format!("no event type {}", quoted(event));
                let path = [("path", "\"type\"")];
                self.reply(&reply::error(id, ErrorCode::InvalidEvent, &message, &path), cx.now);
            }
            Err(PublishError::Invalid(violation)) => {
                let path = quoted(&violation.path);
                let extra = [("path", path.as_str())];
                self.reply(&reply::error(id, ErrorCode::InvalidEvent, &violation.message, &extra), cx.now);
            }
        }
    }
}

/// Whether everything after `since` can be had.
fn recovery(since: &Since<'_>, cx: &Context<'_>) -> Recovery {
    if *since.epoch != *cx.config.epoch {
        return Recovery::EpochChanged;
    }
    match parse_event_id(&since.id) {
        Some(position) if position > cx.last_position.max(cx.node_position) => Recovery::BadPosition,
        Some(position) if position + 1 >= cx.first_position => Recovery::Recovered,
        Some(_) => Recovery::WindowExceeded,
        None => Recovery::BadPosition,
    }
}

/// A JSON string. Long texts are cut: they are somebody else's.
fn quoted(text: &str) -> String {
    const SHOWN_CHARS: usize = 64;
    let mut cut: String = text.chars().take(SHOWN_CHARS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    serde_json::Value::String(cut).to_string()
}
