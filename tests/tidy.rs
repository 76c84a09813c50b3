//! The house, as tests: import order, purity of the core, and documents that keep up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms in import order: a room uses only itself and those before it.
const ROOMS: [&str; 10] =
    ["base", "policy", "wire", "conn", "shard", "journal", "publish", "control", "node", "cli"];

/// Rooms, and single files of others, that cannot touch the world.
const PURE: [&str; 31] = [
    "base/",
    "policy/",
    "wire/",
    "conn/",
    "shard/archive.rs",
    "shard/census.rs",
    "shard/columns.rs",
    "shard/core.rs",
    "shard/cursors.rs",
    "shard/deadlines.rs",
    "shard/deliver.rs",
    "shard/envelope.rs",
    "shard/index.rs",
    "shard/mail.rs",
    "shard/orders.rs",
    "shard/press.rs",
    "shard/sweep.rs",
    "journal/block.rs",
    "journal/cache.rs",
    "journal/complaints.rs",
    "journal/history.rs",
    "journal/index.rs",
    "journal/meta.rs",
    "journal/options.rs",
    "journal/record.rs",
    "journal/recover.rs",
    "journal/scan.rs",
    "journal/segment.rs",
    "journal/store.rs",
    "journal/store/",
    "control/http.rs",
];

/// What would touch the world.
const WORLDLY: [&str; 9] = [
    "mio",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "SystemRandom",
];

/// Files that may hold a lock or another shared cell, each with its reason.
const SHARED: [(&str, &str); 7] = [
    ("shard/admission.rs", "limits over all shards"),
    ("shard/counters.rs", "written by one thread, read by another"),
    ("shard/envelope.rs", "the compressed copy of an event, made once by whoever needs it first"),
    ("shard/mailbox.rs", "the wake gate and the bytes that wait"),
    ("journal/counters.rs", "written by the log's writer or reader, read by others"),
    ("publish/sequencer.rs", "writes the shared facts"),
    ("node/start.rs", "makes the shared facts"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file below `src`, with its path there and its text.
fn texts() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let src = root().join("src");
    let mut found = Vec::new();
    walk(&src, &mut found);
    let mut sources: Vec<_> = found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    sources.sort();
    assert!(sources.len() > 50, "the sources are where they are looked for");
    sources
}

/// The same without unit tests.
fn sources() -> Vec<(String, String)> {
    let is_code = |name: &str| !name.ends_with("tests.rs") && name != "journal/faulty.rs";
    let code = |text: String| text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
    texts().into_iter().filter(|(name, _)| is_code(name)).map(|(name, text)| (name, code(text))).collect()
}

/// The lines that are code, with their numbers.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())).filter(|(_, line)| !line.starts_with("//"))
}

#[test]
fn rooms_import_only_from_their_left() {
    for (name, text) in sources() {
        let Some(room) = name.split('/').next().filter(|_| name.contains('/')) else { continue };
        let rank = ROOMS.iter().position(|r| *r == room).unwrap_or_else(|| panic!("{room} is no room"));
        for (line, code) in code_lines(&text) {
            for used in code.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(other) = ROOMS.iter().position(|r| *r == used) else { continue };
                assert!(other <= rank, "src/{name}:{line}: {room} must not use {used}");
            }
        }
    }
}

#[test]
fn the_library_lists_the_rooms_in_their_order() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let listed: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(listed, ROOMS);
}

#[test]
fn the_core_cannot_touch_the_world() {
    for (name, text) in sources().into_iter().filter(|(name, _)| PURE.iter().any(|p| name.starts_with(p))) {
        for (line, code) in code_lines(&text) {
            for word in WORLDLY {
                let touches = match word {
                    "mio" => code.contains("mio::"),
                    word => code.contains(word),
                };
                assert!(!touches, "src/{name}:{line}: {word} in a file that is pure");
            }
        }
    }
}

#[test]
fn shared_state_is_where_it_is_listed() {
    for (name, text) in sources() {
        for (line, code) in code_lines(&text) {
            let shared = [
                "Mutex",
                "RwLock",
                "Atomic",
                "RefCell",
                "thread_local!",
                "static mut",
                "OnceLock",
                "LazyLock",
            ];
            let Some(word) = shared.iter().find(|word| code.contains(**word)) else { continue };
            // Command line programs are not the node.
            let allowed = name.starts_with("cli/") || SHARED.iter().any(|(file, _)| *file == name);
            assert!(
                allowed || code.contains("atomic::Ordering"),
                "src/{name}:{line}: {word} outside the list"
            );
        }
    }
}

#[test]
fn only_reactors_touch_client_sockets_and_only_the_clock_reads_time() {
    for (name, text) in sources() {
        if name.starts_with("cli/") {
            continue;
        }
        for (line, code) in code_lines(&text) {
            let sockets = code.contains("TcpStream") || code.contains("UnixStream");
            let may_touch = [
                "shard/reactor.rs",
                "shard/sockets.rs",
                "control/reactor.rs",
                "control/peer.rs",
                "node/listen.rs",
            ]
            .contains(&name.as_str());
            assert!(!sockets || may_touch, "src/{name}:{line}: a socket outside a reactor");
            let clocks = code.contains("Instant::now") || code.contains("SystemTime::now");
            let may_read = ["shard/clock.rs", "node/start.rs"].contains(&name.as_str());
            assert!(!clocks || may_read, "src/{name}:{line}: a clock outside the clock");
        }
    }
}

#[test]
fn files_have_one_owner() {
    /// Where a file should be split by a second owner.
    const LINES_MAX: usize = 600;
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "src/{name} has {lines} lines: is there a second owner in it?");
        for word in ["utils", "helpers", "common", "manager"] {
            assert!(!name.contains(word), "src/{name}: {word} is no name for an owner");
        }
    }
}

#[test]
fn nothing_is_unsafe_and_no_lint_is_turned_off() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for line in ["unsafe_code = \"forbid\"", "missing_docs = \"deny\""] {
        assert!(manifest.contains(line), "Cargo.toml has no longer {line}");
    }
    for (name, text) in texts() {
        // An attribute may be broken over lines; none nests brackets.
        for attribute in text.split("#[").chain(text.split("#![")).skip(1) {
            let attribute: String = attribute.split(']').next().unwrap().split_whitespace().collect();
            let overrides =
                ["allow(", "warn(", "expect(", "cfg_attr("].iter().any(|word| attribute.starts_with(word));
            // An expectation of style that says why is no hole: it fails once it is not needed.
            let is_style = attribute.starts_with("expect(clippy::") && attribute.contains("reason=");
            assert!(!overrides || is_style, "src/{name}: #[{attribute}]");
        }
        for (line, code) in code_lines(&text) {
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(!words.into_iter().any(|word| word == "unsafe"), "src/{name}:{line}: unsafe");
        }
    }
}

/// The texts in the list of that name in `deny.toml`.
fn allowed(list: &str) -> BTreeSet<String> {
    let file = fs::read_to_string(root().join("deny.toml")).unwrap();
    let line = file.lines().find_map(|line| line.strip_prefix(&format!("{list} = ["))).expect("the list");
    line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_dependency_has_a_licence_and_a_source_that_is_allowed() {
    let (licences, registries) = (allowed("allow"), allowed("allow-registry"));
    assert!(licences.contains("MIT") && registries.len() == 1);
    let cargo = std::env::var("CARGO").expect("tests are run by cargo");
    // What other systems need was perhaps never fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = std::process::Command::new(cargo)
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            "--all-features",
            "--filter-platform",
            &platform,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if let Some(source) = package["source"].as_str() {
            let registry = source.strip_prefix("registry+").unwrap_or(source);
            assert!(registries.contains(registry), "{name} comes from {source}");
        }
        // Of each part, one choice must be allowed; a choice with an exception would be listed as such.
        let expression = package["license"].as_str().unwrap_or("none").replace('/', " OR ");
        let fine = expression.split(" AND ").all(|part| {
            let part = part.trim_start_matches('(').trim_end_matches(')');
            part.split(" OR ").any(|licence| licences.contains(licence))
        });
        assert!(fine, "{name} is under {expression}: see deny.toml");
    }
}

fn doc(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap_or_else(|e| panic!("docs/{name}: {e}"))
}

#[test]
fn every_setting_is_in_the_operations_page() {
    let page = doc("operations.md");
    for setting in omnicast::node::settings::SETTINGS {
        assert!(
            page.contains(&format!("`{}`", setting.name)),
            "{} is not in docs/operations.md",
            setting.name
        );
    }
}

#[test]
fn every_metric_is_in_the_operations_page() {
    let page = doc("operations.md");
    let source = fs::read_to_string(root().join("src/control/metrics.rs")).unwrap();
    let mut names = BTreeSet::new();
    for opening in ["gauge(\"", "counter(\"", "by_label((\"", "head(\""] {
        for rest in source.split(opening).skip(1) {
            names.insert(rest.split('"').next().unwrap().to_owned());
        }
    }
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("omnicast_{name}")), "omnicast_{name} is not in docs/operations.md");
    }
}

#[test]
fn every_close_and_error_code_is_in_the_protocol_page() {
    let page = doc("protocol.md");
    for ending in omnicast::conn::reason::Ending::ALL {
        let Some(code) = ending.code() else { continue };
        let row = page
            .lines()
            .find(|l| l.contains(&code.to_string()) && l.contains(&format!("`{}`", ending.word())));
        assert!(row.is_some(), "{code} `{}` has no row in docs/protocol.md", ending.word());
    }
    for code in omnicast::wire::reply::ErrorCode::ALL {
        assert!(
            page.contains(&format!("`{}`", code.as_str())),
            "{} is not in docs/protocol.md",
            code.as_str()
        );
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let page = doc("ARCHITECTURE.md");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once(" =").filter(|_| inside) {
            assert!(page.contains(&format!("`{name}`")), "{name} has no reason in docs/ARCHITECTURE.md");
        }
    }
}
