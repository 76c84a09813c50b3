//! The compiled policy for human eyes: what an operator reads before trusting it.

use std::fmt::Write;

use crate::base::masks::Mask;
use crate::policy::compiled::Policy;

impl Policy {
    /// The role × namespace table (`all`, `own`, `-`), the masks it compiled to, and every event type
    /// with its namespace, fields of address, and publishers.
    #[must_use]
    pub fn table(&self) -> String {
        let sections = [self.cells(), self.masks(), self.catalogue()];
        sections.iter().map(|rows| columns(rows)).collect::<Vec<_>>().join("\n")
    }

    fn cells(&self) -> Vec<Vec<String>> {
        let mut head = vec!["role".to_owned()];
        head.extend(self.namespaces().map(|n| self.namespace_name(n).to_owned()));
        let mut rows = vec![head];
        for role in self.roles() {
            let cell = |all: bool, own: bool| {
                if all {
                    "all"
                } else if own {
                    "own"
                } else {
                    "-"
                }
            };
            let mut row = vec![self.role_name(role).to_owned()];
            row.extend(
                self.namespaces()
                    .map(|n| cell(self.sees_all(role).has(n.0), self.sees_own(role).has(n.0)).to_owned()),
            );
            rows.push(row);
        }
        rows
    }

    fn masks(&self) -> Vec<Vec<String>> {
        let width = self.namespaces.len();
        let lowest = self.namespaces().next().map_or("", |n| self.namespace_name(n));
        let head = ["mask".to_owned(), format!("all (right-most bit: {lowest})"), "own".to_owned()];
        let mut rows = vec![head.to_vec()];
        for role in self.roles() {
            let masks = [self.sees_all(role), self.sees_own(role)].map(|mask| {
                let bits = bits(mask);
                format!("{bits:0width$b} {bits:#x}")
            });
            rows.push(std::iter::once(self.role_name(role).to_owned()).chain(masks).collect());
        }
        rows
    }

    fn catalogue(&self) -> Vec<Vec<String>> {
        let head = ["event", "namespace", "key", "owner", "published by"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for event in self.event_types() {
            let publishers: Vec<&str> =
                self.roles().filter(|r| self.may_publish(*r, event)).map(|r| self.role_name(r)).collect();
            let or_dash = |s: &str| if s.is_empty() { "-".to_owned() } else { s.to_owned() };
            rows.push(vec![
                self.event_name(event).to_owned(),
                self.namespace_name(self.event_namespace(event)).to_owned(),
                or_dash(self.key_field(event).unwrap_or_default()),
                or_dash(self.owner_field(event).unwrap_or_default()),
                or_dash(&publishers.join(", ")),
            ]);
        }
        rows
    }
}

fn bits(mask: Mask) -> u32 {
    mask.iter().fold(0, |bits, index| bits | 1 << index)
}

/// Rows of cells, each column as wide as its widest cell.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_the_default_policy() {
        let table = Policy::builtin().table();
        let lines: Vec<String> =
            table.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for expected in [
            "role orders customers products inventory payments system",
            "admin all all all all all all",
            "customer own - all - - -",
            "admin 111111 0x3f 000000 0x0",
            "customer 000100 0x4 000001 0x1",
            "order:created orders orderId customerId -",
            "customer:activity customers customerId customerId customer",
            "product:deleted products productId - -",
            "system:maintenance system - - -",
        ] {
            assert!(lines.iter().any(|l| l == expected), "{expected}\n{table}");
        }
        assert!(table.lines().all(|l| l == l.trim_end()));
    }
}
