//! Where the control socket lies when nobody says it: the node and the command line come to the same answer.

use std::path::{Path, PathBuf};

/// The file name of the socket in whatever directory.
const FILE: &str = "control.sock";
/// The directory of a node that root starts by hand, and of the packaged service.
const SYSTEM_DIRECTORY: &str = "/run/omnicast";

/// Where a node listens when `WS_CONTROL_SOCKET` is not set: in systemd's `RUNTIME_DIRECTORY` (its first entry), else in
/// `XDG_RUNTIME_DIR/omnicast`, else for root in `/run/omnicast`, else in a directory of this user under the temporary one.
#[must_use]
pub fn default_control_socket(env: impl Fn(&str) -> Option<String>) -> PathBuf {
    let own = || {
        let system = rustix::process::geteuid().is_root().then(|| Path::new(SYSTEM_DIRECTORY).join(FILE));
        system.unwrap_or_else(|| in_temporary(&env))
    };
    in_runtime(&env).or_else(|| in_xdg(&env)).unwrap_or_else(own)
}

/// Where the command line looks for a node, best first. `WS_CONTROL_SOCKET` is the only candidate where it is set: whoever
/// names a node must not reach another one.
#[must_use]
pub fn find_control_socket(env: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    if let Some(path) = env("WS_CONTROL_SOCKET").filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    let system = Some(Path::new(SYSTEM_DIRECTORY).join(FILE));
    let mut found = Vec::new();
    for path in [in_runtime(&env), in_xdg(&env), system, Some(in_temporary(&env))].into_iter().flatten() {
        if !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

fn in_runtime(env: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let directories = env("RUNTIME_DIRECTORY")?;
    absolute(directories.split(':').next()?).map(|directory| directory.join(FILE))
}

fn in_xdg(env: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    absolute(&env("XDG_RUNTIME_DIR")?).map(|directory| directory.join("omnicast").join(FILE))
}

fn in_temporary(env: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let temporary = env("TMPDIR").and_then(|directory| absolute(&directory)).unwrap_or_else(|| "/tmp".into());
    temporary.join(format!("omnicast-{}", rustix::process::geteuid().as_raw())).join(FILE)
}

/// A relative or empty directory is none (XDG Base Directory Specification).
fn absolute(directory: &str) -> Option<PathBuf> {
    Some(PathBuf::from(directory)).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_string())
    }

    #[test]
    fn the_node_and_the_command_line_agree() {
        let uid = rustix::process::geteuid().as_raw();
        let own = match uid {
            0 => "/run/omnicast/control.sock".to_string(),
            uid => format!("/tmp/omnicast-{uid}/control.sock"),
        };
        let table: [(&[(&str, &str)], &str); 6] = [
            (
                &[("RUNTIME_DIRECTORY", "/run/a:/run/b"), ("XDG_RUNTIME_DIR", "/run/user/7")],
                "/run/a/control.sock",
            ),
            (&[("XDG_RUNTIME_DIR", "/run/user/7")], "/run/user/7/omnicast/control.sock"),
            (&[("XDG_RUNTIME_DIR", "relative"), ("RUNTIME_DIRECTORY", "")], &own),
            (&[], &own),
            (&[("WS_CONTROL_SOCKET", "")], &own),
            (&[("TMPDIR", "")], &own),
        ];
        for (pairs, expected) in table {
            let socket = default_control_socket(env(pairs));
            assert_eq!(socket, Path::new(expected), "{pairs:?}");
            assert!(find_control_socket(env(pairs)).contains(&socket), "{pairs:?}");
        }
    }

    #[test]
    fn candidates_stand_in_order_and_a_named_socket_stands_alone() {
        let pairs = [("RUNTIME_DIRECTORY", "/run/omnicast"), ("XDG_RUNTIME_DIR", "/x"), ("TMPDIR", "/t")];
        let uid = rustix::process::geteuid().as_raw();
        let expected = [
            "/run/omnicast/control.sock".to_string(),
            "/x/omnicast/control.sock".into(),
            format!("/t/omnicast-{uid}/control.sock"),
        ];
        assert_eq!(find_control_socket(env(&pairs)), expected.map(PathBuf::from));
        let named = [("WS_CONTROL_SOCKET", "/n.sock"), ("XDG_RUNTIME_DIR", "/x")];
        assert_eq!(find_control_socket(env(&named)), [PathBuf::from("/n.sock")]);
    }
}
