//! Real directories: who owns one, and what else may be in it.

use std::path::Path;

use crate::journal::Progress::{Committed, Refused};
use crate::journal::disk::{Directory, Disk};
use crate::journal::kit_tests::*;
use crate::journal::open::open;
use crate::journal::options::Options;
use crate::journal::ram_tests::*;
use crate::journal::segment::name_of;
use crate::policy::Policy;

#[test]
fn a_real_directory_has_one_owner_and_keeps_what_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { dir: dir.path().join("a/b"), ..short_segments(ALWAYS) };
    let open = || open(&options, &Policy::builtin(), WINDOW, 0, "e");
    let opened = open().unwrap();
    let error = open().unwrap_err().to_string();
    let expected = format!("WS_JOURNAL={}: another node has it", options.dir.display());
    assert!(error.starts_with(&expected), "{error}");
    drop(opened);
    std::fs::write(options.dir.join("notes"), "mine").unwrap();
    let opened = open().unwrap();
    assert_eq!((opened.last, &*opened.epoch), (0, "e"));
    assert!(has(&opened.findings, "\"notes\""));
    let file = options.dir.join("file");
    std::fs::write(&file, "").unwrap();
    let error = super::open::open(&Options { dir: file, ..options.clone() }, policy(), WINDOW, 0, "e");
    assert!(error.unwrap_err().to_string().starts_with("WS_JOURNAL="));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let pipe = |at: &Path| mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let folder = |at: &Path| std::fs::create_dir(at).unwrap();
    let device = |at: &Path| std::os::unix::fs::symlink("/dev/zero", at).unwrap();
    let socket = |at: &Path| drop(std::os::unix::net::UnixListener::bind(at).unwrap());
    let kinds: [&dyn Fn(&Path); 4] = [&pipe, &folder, &device, &socket];
    for (n, make) in kinds.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { dir: dir.path().to_owned(), ..options(ALWAYS) };
        let open = || open(&options, policy(), WINDOW, 0, "e");
        for name in ["lock", "meta"] {
            make(&dir.path().join(name));
            let error = open().unwrap_err().to_string();
            assert!(error.contains("it is not a file"), "{n} {name}: {error}");
            let at = dir.path().join(name);
            if at.is_dir() { std::fs::remove_dir(at).unwrap() } else { std::fs::remove_file(at).unwrap() }
        }
        make(&dir.path().join(name_of(5)));
        let opened = open().unwrap();
        assert!(has(&opened.findings, &name_of(5)), "{n}: {:?}", opened.findings);
    }
}

#[test]
fn a_directory_that_is_not_in_its_place_takes_nothing_and_is_left_alone() {
    let options = Options { max_bytes: 2_000, ..short_segments(ALWAYS) };
    let mut rig = Rig::open(&Ram::default(), &options, BOOT, &epoch(0));
    (0..6).for_each(|_| drop(rig.publish(1, 150)));
    let untouched = |rig: &Rig| {
        let names = rig.disk.state().names.clone();
        (names, rig.disk.done())
    };
    let before = untouched(&rig);
    rig.disk.state().is_displaced = true;
    assert_eq!(rig.publish(1, 150), [Refused { after: 6 }], "a rotation looks");
    rig.later(1_000);
    rig.tick();
    assert_eq!(rig.publish(1, 1), [Refused { after: 6 }]);
    assert_eq!(untouched(&rig), before, "nothing was touched");
    rig.disk.state().is_displaced = false;
    assert_eq!(rig.publish(1, 1), [Refused { after: 6 }], "until the next look");
    rig.later(1_000);
    rig.tick();
    assert_eq!(rig.publish(1, 1), [Committed(7)]);
    rig.disk.state().is_displaced = true;
    rig.later(1_000);
    rig.tick();
    assert_eq!(rig.publish(1, 1), [Refused { after: 7 }], "without a rotation");
    let disk = rig.close();
    assert!(String::from_utf8_lossy(&disk.bytes("meta")).contains("\"clean\": false"));
}

#[test]
fn a_hold_tells_whether_the_directory_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("log"), dir.path().join("away"));
    let disk = Directory::at(&path).unwrap();
    let hold = disk.lock().unwrap();
    assert!(hold.is_in_place());
    std::fs::rename(&path, &away).unwrap();
    assert!(!hold.is_in_place(), "gone");
    std::fs::create_dir(&path).unwrap();
    assert!(!hold.is_in_place(), "another");
    let other = disk.lock().unwrap();
    assert!(!hold.is_in_place() && other.is_in_place(), "of another node");
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    assert!(hold.is_in_place() && !other.is_in_place());
    std::fs::remove_file(path.join("lock")).unwrap();
    assert!(hold.is_in_place(), "the directory is held, with that file in it or without");
    assert!(disk.lock().is_err());
}
