//! Who the clients are, and whom each event is for: all of it computed, so that every delivery can be foretold.
//!
//! The rights are those of the policy's table; the node gets no say in what is expected of it. Pure.

use std::collections::HashMap;

use crate::policy::Policy;

/// What a role sees of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Nothing,
    Own,
    All,
}

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can.
    Prompt,
    /// A little now and then.
    Slow,
    /// Not at all, until it is told to.
    Paused,
}

/// What the command line says about the clients.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many.
    pub clients: u32,
    /// Roles with their weights.
    pub roles: Vec<(String, u32)>,
    /// The namespaces that events are of, in turn, and that everybody subscribes to as far as the role may.
    pub namespaces: Vec<String>,
    /// Entities that events are about, in turn. Each client asks for one of them; 0: for all.
    pub keys: u32,
    /// Whether each event is addressed to one user, in turn.
    pub to_one: bool,
    /// Share of clients that read slowly, 0 to 1.
    pub slow: f64,
    /// Share of clients that stop reading.
    pub paused: f64,
}

/// Whom an event is about and for. Follows from its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Index into the namespaces of the plan.
    pub namespace: usize,
    /// The entity, where clients ask for some.
    pub key: Option<u32>,
    /// The client whose user owns it, where its namespace has owners.
    pub owner: u32,
    /// The client whose user it is addressed to.
    pub to: Option<u32>,
}

/// All clients.
#[derive(Debug, Clone)]
pub struct Crowd {
    plan: Plan,
    /// Role of each client, in turn: indices into the roles of the plan.
    turns: Vec<usize>,
    /// By role, then by namespace.
    cells: Vec<Vec<Cell>>,
    /// Prompt clients that see all events of a namespace, by namespace and key.
    viewers: Vec<HashMap<u32, u64>>,
}

impl Crowd {
    /// The clients of a plan, under the built-in policy.
    ///
    /// # Errors
    /// One sentence that names a role or namespace which the policy does not have.
    pub fn new(plan: Plan) -> Result<Crowd, String> {
        let policy = Policy::builtin();
        let mut cells = Vec::new();
        for (name, _) in &plan.roles {
            let role = policy.role(name).ok_or_else(|| {
                let known: Vec<_> = policy.roles().map(|role| policy.role_name(role)).collect();
                format!("--roles: there is no role \"{name}\"; there are {}", known.join(", "))
            })?;
            let row = plan.namespaces.iter().map(|name| {
                let namespace = policy.namespace(name).ok_or_else(|| {
                    let known: Vec<_> = policy.namespaces().map(|n| policy.namespace_name(n)).collect();
                    format!("--namespaces: there is no namespace \"{name}\"; there are {}", known.join(", "))
                })?;
                Ok(match namespace.0 {
                    n if policy.sees_all(role).has(n) => Cell::All,
                    n if policy.sees_own(role).has(n) => Cell::Own,
                    _ => Cell::Nothing,
                })
            });
            cells.push(row.collect::<Result<Vec<_>, String>>()?);
        }
        let turns: Vec<usize> = (plan.roles.iter().enumerate())
            .flat_map(|(index, (_, weight))| std::iter::repeat_n(index, *weight as usize))
            .collect();
        if turns.is_empty() || plan.namespaces.is_empty() {
            return Err("--roles and --namespaces need at least one each".into());
        }
        let mut crowd = Crowd { viewers: vec![HashMap::new(); plan.namespaces.len()], plan, turns, cells };
        for client in 0..crowd.plan.clients {
            if crowd.pace(client) != Pace::Prompt {
                continue;
            }
            for namespace in 0..crowd.plan.namespaces.len() {
                if crowd.cell(client, namespace) == Cell::All {
                    let key = crowd.key(client).unwrap_or(0);
                    *crowd.viewers[namespace].entry(key).or_default() += 1;
                }
            }
        }
        Ok(crowd)
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.plan.clients
    }

    /// What they are made from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A client's role.
    pub fn role(&self, client: u32) -> &str {
        &self.plan.roles[self.turn(client)].0
    }

    fn turn(&self, client: u32) -> usize {
        self.turns[client as usize % self.turns.len()]
    }

    fn cell(&self, client: u32, namespace: usize) -> Cell {
        self.cells[self.turn(client)][namespace]
    }

    /// The entity that a client asks for; `None`: for all.
    pub fn key(&self, client: u32) -> Option<u32> {
        (self.plan.keys > 0).then(|| client % self.plan.keys)
    }

    /// The namespaces that a client subscribes to: those of the plan that its role may see something of.
    pub fn subscribes(&self, client: u32) -> impl Iterator<Item = &str> {
        let cells = &self.cells[self.turn(client)];
        self.plan.namespaces.iter().zip(cells).filter(|(_, cell)| **cell != Cell::Nothing).map(|(n, _)| &**n)
    }

    /// How a client reads. The slow and the paused are spread over all roles, and their number is exact.
    pub fn pace(&self, client: u32) -> Pace {
        let all = u64::from(self.plan.clients);
        let rank = u64::from(client) * stride(all) % all;
        let paused = (self.plan.paused * all as f64).round() as u64;
        let slow = (self.plan.slow * all as f64).round() as u64;
        match rank {
            rank if rank < paused => Pace::Paused,
            rank if rank < paused + slow => Pace::Slow,
            _ => Pace::Prompt,
        }
    }

    /// Whom event number `seq` is about and for. Namespaces take turns; after each round of them the next entity and
    /// the next user are due.
    pub fn address(&self, seq: u64) -> Address {
        let namespaces = self.plan.namespaces.len() as u64;
        let round = seq / namespaces;
        let user = u32::try_from(round % u64::from(self.plan.clients)).unwrap_or(0);
        Address {
            namespace: usize::try_from(seq % namespaces).unwrap_or(0),
            key: (self.plan.keys > 0).then(|| u32::try_from(round % u64::from(self.plan.keys)).unwrap_or(0)),
            owner: user,
            to: self.plan.to_one.then_some(user),
        }
    }

    /// Whether a client must get event number `seq`, however it reads.
    pub fn sees(&self, client: u32, seq: u64) -> bool {
        let address = self.address(seq);
        let may = match self.cell(client, address.namespace) {
            Cell::Nothing => false,
            Cell::Own => address.owner == client,
            Cell::All => true,
        };
        may && address.to.is_none_or(|to| to == client) && address.key == self.key(client)
    }

    /// How many prompt clients must get event number `seq`.
    pub fn viewers(&self, seq: u64) -> u64 {
        let address = self.address(seq);
        let alone = |client: u32| u64::from(self.pace(client) == Pace::Prompt && self.sees(client, seq));
        if let Some(to) = address.to {
            return alone(to);
        }
        let whole = self.viewers[address.namespace].get(&address.key.unwrap_or(0)).copied().unwrap_or(0);
        let owns = self.cell(address.owner, address.namespace) == Cell::Own;
        whole + if owns { alone(address.owner) } else { 0 }
    }

    /// How many deliveries to prompt clients the events with these numbers make.
    pub fn deliveries(&self, events: impl Iterator<Item = u64>) -> u64 {
        events.map(|seq| self.viewers(seq)).sum()
    }

    /// How many clients read so.
    pub fn count(&self, pace: Pace) -> u32 {
        (0..self.plan.clients).map(|client| u32::from(self.pace(client) == pace)).sum()
    }
}

/// A step that visits each of `all` once before it begins anew, and neighbours far from each other.
fn stride(all: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = all.saturating_mul(618) / 1000;
    (golden.max(1)..).find(|step| gcd(*step, all) == 1).unwrap_or(1)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn plan(clients: u32, roles: &[(&str, u32)], namespaces: &[&str]) -> Plan {
        Plan {
            clients,
            roles: roles.iter().map(|(role, weight)| ((*role).to_string(), *weight)).collect(),
            namespaces: namespaces.iter().map(|n| (*n).to_string()).collect(),
            keys: 0,
            to_one: false,
            slow: 0.0,
            paused: 0.0,
        }
    }

    #[test]
    fn expected_counts_are_those_of_the_table() {
        let mix = [("staff", 7), ("customer", 2), ("guest", 1)];
        let table: [(&[&str], &[u64]); 4] = [
            (&["inventory"], &[70, 70]),
            (&["products"], &[100]),
            // Of orders a customer sees its own: clients 7 and 8 of each ten are customers.
            (&["orders"], &[70, 70, 70, 70, 70, 70, 70, 71, 71, 70]),
            (&["inventory", "payments", "products", "orders"], &[70, 0, 100, 70]),
        ];
        for (namespaces, counts) in table {
            let crowd = Crowd::new(plan(100, &mix, namespaces)).unwrap();
            let got: Vec<_> = (0..counts.len() as u64).map(|seq| crowd.viewers(seq)).collect();
            assert_eq!(got, counts, "{namespaces:?}");
            assert_eq!(crowd.deliveries(0..counts.len() as u64), counts.iter().sum::<u64>());
        }
        let crowd = Crowd::new(plan(100, &mix, &["orders", "payments"])).unwrap();
        assert_eq!((crowd.role(6), crowd.role(17), crowd.role(99)), ("staff", "customer", "guest"));
        assert_eq!(crowd.subscribes(7).collect::<Vec<_>>(), ["orders"]);
        assert_eq!(crowd.subscribes(9).count(), 0);
    }

    #[test]
    fn what_the_policy_does_not_have_is_refused() {
        let refusal = |roles, namespaces| Crowd::new(plan(1, roles, namespaces)).unwrap_err();
        assert!(refusal(&[("clerk", 1)], &["orders"]).contains("\"clerk\""));
        assert!(refusal(&[("staff", 1)], &["order"]).contains("\"order\""));
        assert!(refusal(&[("staff", 0)], &["orders"]).contains("at least one"));
    }

    proptest! {
        #[test]
        fn counts_agree_with_asking_everybody(
            clients in 1u32..60, keys in 0u32..5, to_one: bool, slow in 0.0..0.4f64, paused in 0.0..0.4f64, seq in 0u64..500,
        ) {
            let roles = [("admin", 1), ("staff", 2), ("customer", 3), ("guest", 1)];
            let plan = Plan { keys, to_one, slow, paused, ..plan(clients, &roles, &["orders", "products", "payments"]) };
            let crowd = Crowd::new(plan).unwrap();
            let naive = (0..clients).filter(|c| crowd.pace(*c) == Pace::Prompt && crowd.sees(*c, seq)).count();
            prop_assert_eq!(crowd.viewers(seq), naive as u64);
            let share = |share: f64| (share * f64::from(clients)).round() as u32;
            prop_assert_eq!((crowd.count(Pace::Slow), crowd.count(Pace::Paused)), (share(slow), share(paused)));
        }
    }
}
