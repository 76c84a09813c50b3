//! Counting and listing connections: what `stats` and `connections` are made of.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::policy::Policy;

/// How many connections there are, by kind. Counted at the moment of asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// WebSockets that are not ending.
    pub total: usize,
    /// Those with an accepted credential.
    pub authenticated: usize,
    /// Live connections by role index.
    pub by_role: Vec<usize>,
    /// Live connections by the namespaces they subscribed to, as a whole or by keys.
    pub by_namespace: Vec<usize>,
    /// Distinct users of this shard that are live. A user on two shards counts in both.
    pub users: usize,
    /// Unsent bytes of all connections.
    pub backlog_bytes: usize,
}

impl Census {
    /// A count of nobody, with room for the policy's names.
    #[must_use]
    pub fn empty(policy: &Policy) -> Census {
        Census {
            by_role: vec![0; policy.roles().count()],
            by_namespace: vec![0; policy.namespaces().count()],
            ..Census::default()
        }
    }

    /// Adds another shard's count.
    pub fn add(&mut self, other: &Census) {
        self.total += other.total;
        self.authenticated += other.authenticated;
        self.users += other.users;
        self.backlog_bytes += other.backlog_bytes;
        for (mine, theirs) in self.by_role.iter_mut().zip(&other.by_role) {
            *mine += theirs;
        }
        for (mine, theirs) in self.by_namespace.iter_mut().zip(&other.by_namespace) {
            *mine += theirs;
        }
    }

    /// The members that the `stats` answer has for it.
    #[must_use]
    pub fn to_json(&self, policy: &Policy) -> Map<String, Value> {
        let roles = policy.roles().zip(&self.by_role);
        let roles: Map<_, _> = roles.map(|(r, n)| (policy.role_name(r).into(), json!(n))).collect();
        let namespaces = policy.namespaces().zip(&self.by_namespace);
        let namespaces: Map<_, _> =
            namespaces.map(|(ns, n)| (policy.namespace_name(ns).into(), json!(n))).collect();
        let mut map = Map::new();
        map.insert("totalConnections".into(), json!(self.total));
        map.insert("authenticatedConnections".into(), json!(self.authenticated));
        map.insert("connectionsByRole".into(), roles.into());
        map.insert("connectionsByNamespace".into(), namespaces.into());
        map.insert("backlogBytes".into(), json!(self.backlog_bytes));
        map
    }
}

/// One connection in a list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// `connectionId`.
    pub id: String,
    /// Slot, for paging.
    #[serde(skip)]
    pub slot: u32,
    /// `live`, or `greeting` before auth.
    pub phase: &'static str,
    /// Absent before auth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Box<str>>,
    /// Absent before auth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Box<str>>,
    /// Absent before auth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Subscribed, as a whole or by keys.
    pub namespaces: Vec<String>,
    /// Entities asked for.
    pub keys: usize,
    /// Where it comes from.
    pub address: IpAddr,
    /// Wall ms.
    pub connected_at: u64,
    /// Wall ms; absent before auth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Unsent bytes.
    pub backlog_bytes: usize,
}
