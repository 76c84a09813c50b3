//! What the node must make of what a client says, by the words of the wire contract.

use crate::client::{Awaited, Client, Expect, Say, Since};
use crate::log::Log;
use crate::oracle::{NAMESPACES, Person, cell};

impl Client {
    /// The node has read one more thing that was said: what it must make of it.
    pub fn obey(&mut self, id: u64, say: &Say, log: &Log, wall: u64) {
        if self.over {
            return;
        }
        let expect = match say {
            Say::Upgrade => {
                self.upgraded = true;
                return;
            }
            Say::Noise => return,
            Say::Offend(code) => return self.end(*code),
            Say::Close => {
                (self.peer_closed, self.over) = (true, true);
                return;
            }
            Say::Auth { user, session, role, exp_ms, forged } => {
                let stranger = self.truth.as_ref().is_some_and(|t| t.user != *user);
                if *forged {
                    self.end(4002);
                    Expect::Error("auth_failed")
                } else if *exp_ms <= wall {
                    self.end(4101);
                    Expect::Error("token_expired")
                } else if stranger {
                    self.end(4002);
                    Expect::Error("auth_failed")
                } else {
                    let asked = self.truth.take().map(|t| t.asked).unwrap_or_default();
                    let mut person = Person {
                        user: (*user).into(),
                        session: (*session).into(),
                        role,
                        expires_at: *exp_ms,
                        asked,
                    };
                    person.become_role(role);
                    self.truth = Some(person);
                    Expect::Welcome
                }
            }
            Say::Subscribe { since: Some(Since::Mistyped), .. } => Expect::Error("bad_message"),
            _ if self.truth.is_none() => Expect::Error("not_authenticated"),
            Say::Subscribe { namespaces, keys, since } => {
                let recovery = since.as_ref().map(|since| match since {
                    Since::At(id) => log.recovery(id),
                    _ => Err("epoch_changed"),
                });
                self.obey_subscribe(namespaces, keys.as_deref(), recovery, log.last())
            }
            Say::Unsubscribe { namespaces, keys } => self.obey_unsubscribe(namespaces, keys.as_deref()),
            Say::Ping => Expect::Kind("pong"),
            Say::Presence => match cell(self.truth.as_ref().unwrap().role, "customers") {
                "-" => Expect::Error("forbidden_namespace"),
                _ => Expect::Kind("presence"),
            },
            Say::Publish if self.truth.as_ref().unwrap().role == "customer" => {
                self.publishing.insert(id, None);
                return;
            }
            Say::Publish => Expect::Error("forbidden_event"),
        };
        self.awaiting.push_back(Awaited { id, position: log.last(), expect, person: self.truth.clone() });
    }

    fn obey_subscribe(
        &mut self,
        namespaces: &[&'static str],
        keys: Option<&[&'static str]>,
        recovery: Option<Result<u64, &'static str>>,
        position: u64,
    ) -> Expect {
        let Some(person) = &mut self.truth else { return Expect::Error("not_authenticated") };
        if namespaces.iter().any(|n| !NAMESPACES.contains(n)) {
            return Expect::Error("unknown_namespace");
        }
        if namespaces.iter().any(|n| cell(person.role, n) == "-") {
            return Expect::Error("forbidden_namespace");
        }
        for namespace in namespaces {
            let keys = keys.map(|keys| keys.iter().map(|k| (*k).to_owned()).collect());
            person.asked.insert((*namespace).to_owned(), keys);
        }
        if matches!(recovery, Some(Ok(after)) if after < position) {
            self.only_overrun |= self.causes.insert(4103);
        }
        Expect::Subscribed { namespaces: namespaces.to_vec(), recovery }
    }

    fn obey_unsubscribe(&mut self, namespaces: &[&'static str], keys: Option<&[&'static str]>) -> Expect {
        let Some(person) = &mut self.truth else { return Expect::Error("not_authenticated") };
        if namespaces.iter().any(|n| !NAMESPACES.contains(n)) {
            return Expect::Error("unknown_namespace");
        }
        for namespace in namespaces {
            let left = match (keys, person.asked.get_mut(*namespace)) {
                (Some(_), None | Some(None)) => continue,
                (Some(keys), Some(Some(asked))) => {
                    asked.retain(|key| !keys.contains(&&**key));
                    !asked.is_empty()
                }
                (None, _) => false,
            };
            if !left {
                person.asked.remove(*namespace);
            }
        }
        Expect::Kind("unsubscribed")
    }

    /// The node must end it now, with this code.
    pub fn end(&mut self, code: u16) {
        self.causes.insert(code);
        self.over = true;
    }
}
