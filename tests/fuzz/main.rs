//! Fuzzing. `tests/fuzz/run` builds this with a fuzzer in it; `cargo test --test fuzz` feeds every
//! stored input to its target.
//!
//! A target is a function of bytes that panics when something is wrong. It holds what it calls
//! against a naive reading of the same bytes, or against itself with the bytes cut otherwise.

#![cfg_attr(fuzzing, no_main)]

mod targets {
    pub mod command;
    pub mod control;
    pub mod event;
    pub mod frames;
    pub mod head;
    pub mod inflate;
    pub mod journal;
    pub mod message;
    pub mod policy;
    pub mod shard;
    pub mod token;
}

#[path = "../simulation/actions.rs"]
mod actions;
#[path = "../simulation/checks.rs"]
#[allow(dead_code, reason = "the simulation counts what its runs reached; a fuzzer does not")]
mod checks;
#[path = "../simulation/client.rs"]
mod client;
#[path = "../simulation/frames.rs"]
mod frames;
#[path = "../simulation/log.rs"]
mod log;
#[path = "../simulation/net.rs"]
mod net;
#[path = "../simulation/obey.rs"]
mod obey;
#[path = "../simulation/oracle.rs"]
mod oracle;
#[path = "../simulation/reader.rs"]
mod reader;
#[path = "../simulation/rng.rs"]
mod rng;
#[path = "../simulation/saga.rs"]
mod saga;
#[path = "../simulation/stream.rs"]
mod stream;
#[path = "../simulation/world.rs"]
mod world;

/// Takes one input, and panics where it finds something.
type Target = fn(&[u8]);

/// Every target, by the name of its folder in `corpus`.
const TARGETS: [(&str, Target); 11] = [
    ("command", targets::command::run),
    ("control", targets::control::run),
    ("event", targets::event::run),
    ("frames", targets::frames::run),
    ("head", targets::head::run),
    ("inflate", targets::inflate::run),
    ("journal", targets::journal::run),
    ("message", targets::message::run),
    ("policy", targets::policy::run),
    ("shard", targets::shard::run),
    ("token", targets::token::run),
];

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: std::sync::OnceLock<Target> = std::sync::OnceLock::new();
    let run = TARGET.get_or_init(|| {
        let name = std::env::var("OMNICAST_FUZZ_TARGET").expect("tests/fuzz/run names the target");
        let found = TARGETS.iter().find(|(target, _)| *target == name);
        found.unwrap_or_else(|| panic!("{name} is no target")).1
    });
    run(data);
});

#[cfg(not(fuzzing))]
mod replay {
    use super::TARGETS;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Inputs that are stored, by target.
    fn corpus() -> BTreeMap<String, Vec<std::path::PathBuf>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        let list = |dir: &Path| -> Vec<_> {
            let mut paths: Vec<_> =
                std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths
        };
        list(&root)
            .iter()
            .map(|dir| (dir.file_name().unwrap().to_str().unwrap().to_owned(), list(dir)))
            .collect()
    }

    #[test]
    fn every_stored_input_passes() {
        for (name, paths) in corpus() {
            let (_, run) =
                TARGETS.iter().find(|(target, _)| *target == name).expect("a folder has its target");
            for path in paths {
                let input = std::fs::read(&path).unwrap();
                // The name comes before the panic that it may belong to.
                println!("{}", path.display());
                run(&input);
            }
        }
    }

    #[test]
    fn every_target_has_inputs_and_all_of_them_are_few() {
        let corpus = corpus();
        for (target, _) in TARGETS {
            assert!(corpus.get(target).is_some_and(|paths| paths.len() >= 3), "{target} starts from nothing");
        }
        assert!(corpus.values().flatten().count() < 200, "a corpus in the repository is chosen by hand");
    }
}
