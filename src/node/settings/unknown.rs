//! Variables that look like settings and are none: a typing error that would otherwise pass in silence.

use super::table::SETTINGS;

/// Variables of the command line that are no settings of a node.
const COMMAND_VARIABLES: [&str; 1] = ["WS_TOKEN"];
/// Longest name that is compared with the table; the comparison is quadratic.
const MAX_COMPARED_BYTES: usize = 64;

/// One warning for each variable that begins with `WS_` (or is `ALLOWED_ORIGINS` misspelt with that beginning) and is
/// no setting.
pub fn unknown_variables<I>(names: I) -> Vec<String>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut warnings = Vec::new();
    for name in names {
        let name = name.as_ref();
        let known = SETTINGS.iter().any(|setting| setting.name == name) || COMMAND_VARIABLES.contains(&name);
        if known || !name.starts_with("WS_") {
            continue;
        }
        let hint = nearest(name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        warnings.push(format!("{} is no setting{hint}", super::read::quoted(name).trim_matches('"')));
    }
    warnings.sort();
    warnings
}

/// The setting that is spelt most alike, where one is alike at all.
fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > MAX_COMPARED_BYTES {
        return None;
    }
    // Compared without the prefix, which all share and some people add to ALLOWED_ORIGINS.
    let bare = |name: &'static str| name.trim_start_matches("WS_");
    let wanted = name.trim_start_matches("WS_");
    let near = |candidate: &'static str| (distance(wanted, bare(candidate)), candidate);
    let (edits, best) = SETTINGS.iter().map(|setting| near(setting.name)).min()?;
    (edits <= wanted.len().div_ceil(3).min(4)).then_some(best)
}

/// Edits (insert, delete, replace one byte) that turn `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_get_a_hint_and_others_are_left_alone() {
        let table = [
            ("WS_PROT", "WS_PROT is no setting; did you mean WS_PORT?"),
            ("WS_MAX_CONECTIONS", "WS_MAX_CONECTIONS is no setting; did you mean WS_MAX_CONNECTIONS?"),
            ("WS_ALLOWED_ORIGINS", "WS_ALLOWED_ORIGINS is no setting; did you mean ALLOWED_ORIGINS?"),
            ("WS_SOMETHING_ELSE", "WS_SOMETHING_ELSE is no setting"),
            ("WS_\u{1b}[31m", "WS_\\u{1b}[31m is no setting"),
        ];
        for (name, warning) in table {
            assert_eq!(unknown_variables([name]), [warning]);
        }
        assert!(unknown_variables(["WS_PORT", "WS_TOKEN", "ALLOWED_ORIGINS", "PATH", "XWS_PROT"]).is_empty());
        assert_eq!(unknown_variables([format!("WS_{}", "X".repeat(100_000))]).len(), 1);
    }

    #[test]
    fn distance_counts_edits() {
        for (a, b, edits) in
            [("", "", 0), ("abc", "", 3), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
