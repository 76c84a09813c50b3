//! Crash images: the disk of every moment of a random run, opened again.
//!
//! Two models. When the *process* ends, what was given to the system is there, and the last write may
//! be there in part. When the *machine* ends, what was not synced may be there or not: in the order of
//! the writes up to some byte, or any sectors of it; a file may have its length and zeros for bytes.
//!
//! What is demanded, and therefore guaranteed:
//!
//! | | process ends | machine ends |
//! |---|---|---|
//! | `always` | every event that was told is there; same epoch | every event that was told is there; same epoch, unless sectors came out of order (then maybe a new one) |
//! | `interval`, `never` | the same | every event that was told before the last sync is there; same epoch only if all that was told is there |
//!
//! In all cases the log opens and does not end within a post, no position holds anything but what was appended there (and what was
//! told, where something was), positions go on behind the last, and the next opening finds nothing wrong.

use std::collections::BTreeMap;

use crate::base::window::Bounds;
use crate::journal::history::{HistoryFilter, HistoryQuery};
use crate::journal::kit_tests::*;
use crate::journal::options::{Options, SyncPolicy};
use crate::journal::ram_tests::*;
use crate::journal::record::MAGIC;
use crate::journal::segment::{NEW_NAME, first_of};
use crate::wire::envelope::payload_of;

/// What an image is opened with: restoring many events takes a test's time.
const SMALL: Bounds = Bounds { items: 3, bytes: 1 << 20 };

/// The payloads behind `since`, by position.
fn read_range(rig: &mut Rig, since: u64) -> BTreeMap<u64, Vec<u8>> {
    let filter = HistoryFilter::default();
    let query = HistoryQuery {
        ticket: 1,
        since,
        until: u64::MAX,
        goes_on: false,
        filter,
        limit: usize::MAX,
        bytes_max: 1 << 30,
    };
    let page = rig.reader.page(&query, policy());
    assert!(!page.more);
    let lines = page.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let position = |line: &[u8]| {
        let id = std::str::from_utf8(line).unwrap().rsplit("\"id\":\"").next().unwrap().to_owned();
        id.split('"').next().unwrap().parse().unwrap()
    };
    lines.map(|line| (position(line), line.to_vec())).collect()
}

/// A run of a log, as it went.
struct Run {
    options: Options,
    ops: Vec<Op>,
    /// Payloads that were appended at each position, how many ops had been done when they were, and
    /// whether the post ended there.
    appended: BTreeMap<u64, Vec<(usize, Vec<u8>, bool)>>,
    reopenings: usize,
    with_faults: bool,
}

/// A disk at some moment, and what is known of it.
struct Image {
    disk: Ram,
    /// The last position that was told.
    told: u64,
    /// The last one that was told before the last sync of a segment.
    synced: u64,
    /// How many ops were done.
    ops: usize,
}

fn run(seed: u64, sync: SyncPolicy, with_faults: bool) -> Run {
    let mut random = Random(seed);
    let retains = random.below(2) == 0;
    let options = Options {
        segment_bytes: [1_500, 6_000][random.below(2)],
        max_bytes: if retains { 4_000 } else { 1 << 30 },
        max_age_ms: if random.below(3) == 0 { 60_000 } else { 0 },
        ..options(sync)
    };
    let disk = Ram::default();
    let mut rig = Rig::open(&disk, &options, BOOT, &epoch(0));
    let mut appended: BTreeMap<u64, Vec<(usize, Vec<u8>, bool)>> = BTreeMap::new();
    let mut reopenings = 0;
    for _ in 0..50 {
        match random.below(16) {
            0..=6 => {
                let done = disk.state().ops.len();
                let (from, filler) = (rig.last, random.below(6) * 40 + random.below(7));
                rig.post(random.below(4) + 1, filler);
                for position in from + 1..=rig.last {
                    let payload =
                        payload_of(&entry(position, filler, None, rig.now.get().wall).envelope.frame)
                            .to_vec();
                    appended.entry(position).or_default().push((done, payload, position == rig.last));
                }
            }
            7..=9 => rig.write(),
            10 | 11 => drop(rig.hear()),
            12 => {
                rig.later(random.below(15_000) as u64 + 1);
                rig.tick();
            }
            13 | 14 if with_faults => {
                let mut faults = Faults::default();
                match random.below(6) {
                    0 => faults.space = Some(random.below(900) as u64),
                    1 => faults.sync = Some(EIO),
                    2 => (faults.space, faults.truncate) = (Some(random.below(900) as u64), Some(EIO)),
                    3 => (faults.sync, faults.truncate) = (Some(EIO), Some(EIO)),
                    4 => (faults.create, faults.remove) = (Some(ENOSPC), Some(EIO)),
                    _ => faults.sync_names = Some(EIO),
                }
                disk.state().faults = faults;
            }
            13 | 14 => {}
            _ => {
                disk.state().faults = Faults::default();
                if random.below(2) == 0 {
                    continue;
                }
                // Another process takes over, whatever the old one has left.
                rig.write();
                rig.hear();
                let told = rig.safe;
                reopenings += 1;
                let unclean = random.below(2) == 0;
                if unclean {
                    drop(rig);
                } else {
                    rig.close();
                }
                rig = Rig::open(&disk, &options, BOOT, &epoch(99));
                assert_eq!(rig.epoch, epoch(0));
                assert!(rig.last >= told);
                // What had been refused and is there after all, is in the log from now on.
                let (done, first) = (disk.state().ops.len(), rig.shared_first());
                for (position, payload) in read_range(&mut rig, first - 1) {
                    let known = appended.get_mut(&position).unwrap();
                    let is_end = known.iter().any(|(_, of, is_end)| *is_end && *of == payload);
                    known.push((done, payload, is_end));
                }
            }
        }
    }
    disk.state().faults = Faults::default();
    rig.write();
    rig.hear();
    rig.close();
    let ops = disk.state().ops.clone();
    Run { options, ops, appended, reopenings, with_faults }
}

impl Run {
    /// What is known when so many ops are done.
    fn image(&self, ops: usize, disk: Ram) -> Image {
        let (mut told, mut synced) = (0, 0);
        // The segment that is written to, and whether its name and its bytes are safe.
        let (mut active, mut is_named, mut is_dirty, mut is_trusted) = (None, true, false, true);
        let (mut begun, mut header_is_safe) = (0, false);
        for op in &self.ops[..ops] {
            match op {
                Op::Told { position } => told = *position,
                Op::Create { name, file } if name == NEW_NAME => begun = *file,
                Op::Rename { to, .. } if first_of(to).is_some() => {
                    // One that was left unsynced is never synced any more.
                    is_trusted &= is_named && !is_dirty;
                    (active, is_named, is_dirty) = (Some(begun), false, !header_is_safe);
                }
                Op::SyncNames => is_named = true,
                Op::Write { file, .. } if *file == begun && active != Some(begun) => header_is_safe = false,
                Op::Sync { file } if *file == begun && active != Some(begun) => header_is_safe = true,
                Op::Write { file, .. } if active == Some(*file) => is_dirty = true,
                Op::Sync { file } if active == Some(*file) => {
                    is_dirty = false;
                    synced = if is_trusted && is_named { told } else { synced };
                }
                _ => {}
            }
        }
        Image { disk, told, synced, ops }
    }

    /// The disk as the next process finds it: so many ops done, and so many bytes of the next write.
    fn after_process(&self, ops: usize, bytes: usize) -> Image {
        let (mut names, mut files) = (BTreeMap::new(), Vec::new());
        for op in &self.ops[..ops] {
            apply_name(op, &mut names);
            apply_bytes(op, &mut files);
        }
        if let Some(Op::Write { file, offset, bytes: new }) = self.ops.get(ops) {
            write_into(&mut files[*file], *offset, &new[..bytes]);
        }
        self.image(ops, Ram::with(names, files))
    }

    /// The disk as the next machine finds it.
    fn after_machine(&self, ops: usize, in_order: bool, random: &mut Random) -> Image {
        let done = &self.ops[..ops];
        let synced_names = done.iter().rposition(|op| *op == Op::SyncNames).map_or(0, |at| at + 1);
        let (mut names, mut files) = (BTreeMap::new(), Vec::new());
        for op in &done[..synced_names] {
            apply_name(op, &mut names);
        }
        let mut survives = true;
        for op in &done[synced_names..] {
            survives = survives && random.below(3) > 0;
            if survives {
                apply_name(op, &mut names);
            }
        }
        for op in done {
            if let Op::Create { .. } = op {
                files.push(Vec::new());
            }
        }
        for (file, bytes) in files.iter_mut().enumerate() {
            let of_file = |op: &&Op| matches!(op, Op::Write { file: f, .. } | Op::Truncate { file: f, .. } if *f == file);
            let synced = done.iter().rposition(|op| *op == Op::Sync { file }).unwrap_or(0);
            for op in done[..synced].iter().filter(of_file) {
                apply_one(op, bytes);
            }
            let pending: Vec<&Op> = done[synced..].iter().filter(of_file).collect();
            if in_order {
                some_in_order(&pending, bytes, random)
            } else {
                some_sectors(&pending, bytes, random)
            }
        }
        self.image(ops, Ram::with(names, files))
    }

    /// Opens it, and demands what is demanded always. Returns whether the epoch is the same.
    fn check(&self, image: &Image, boot: &str, everything_told: bool, all_whole: bool) -> bool {
        let opened = open_with(&image.disk, &self.options, boot, &epoch(1), SMALL).unwrap();
        let mut rig = Rig::take(&image.disk, opened);
        let context =
            format!("{:?}, ops {}, told {}: {:?}", self.options.sync, image.ops, image.told, rig.findings);
        let promised = if everything_told { image.told } else { image.synced };
        // Retention may have removed what was safe, and a failed sync cost what came after it.
        let all_is_gone = self.with_faults && rig.last == 0;
        assert!(rig.last >= promised || all_is_gone, "{context}");
        assert!(rig.shared_first() <= rig.last + 1);
        let oldest = rig.disk.segments().first().and_then(|name| first_of(name)).unwrap_or(rig.last + 1);
        let since = oldest.min(rig.last + 1) - 1;
        let found = read_range(&mut rig, since);
        for position in oldest..=rig.last {
            let Some(payload) = found.get(&position) else {
                let may_miss = position > promised && !all_whole && position < rig.shared_first();
                assert!(may_miss, "{position} is missing: {context}");
                continue;
            };
            let is_told = position <= if rig.epoch == epoch(0) { image.told } else { promised };
            self.check_payload(position, payload, is_told, image.ops, &context);
        }
        if let Some(payload) = found.get(&rig.last) {
            let is_end = self.appended[&rig.last].iter().any(|(_, of, is_end)| *is_end && of == payload);
            assert!(is_end, "half a post is back: {context}");
        }
        // Where a write could not be taken back, what it left behind is told of.
        let alarms: &[&str] = if self.with_faults { &["missing"] } else { &["missing", "damaged"] };
        let is_alarm = |finding: &String| alarms.iter().any(|alarm| finding.contains(alarm));
        assert!(!all_whole || !rig.findings.iter().any(is_alarm), "{context}");
        assert_eq!(
            positions(&rig.tail),
            (rig.shared_first().max((rig.last + 1).saturating_sub(SMALL.items as u64))..=rig.last)
                .collect::<Vec<_>>(),
            "{context}"
        );
        let same = rig.epoch == epoch(0);
        let (last, ours) = (rig.last, rig.epoch.clone());
        assert_eq!(rig.publish(2, 3), [crate::journal::Progress::Committed(last + 2)], "{context}");
        let disk = rig.close();
        let opened = open_with(&disk, &self.options, "yet another boot", &epoch(2), SMALL).unwrap();
        let rig = Rig::take(&disk, opened);
        assert_eq!((rig.last, &rig.epoch), (last + 2, &ours), "{context} then {:?}", rig.findings);
        assert!(!rig.findings.iter().any(|f| f.contains("cut")), "{context} then {:?}", rig.findings);
        same || image.told == 0
    }

    fn check_payload(&self, position: u64, payload: &[u8], is_told: bool, ops: usize, context: &str) {
        let known: Vec<_> = self.appended[&position].iter().filter(|(at, ..)| *at <= ops).collect();
        assert!(known.iter().any(|(_, of, _)| of == payload), "{position} is something else: {context}");
        let told = &known.last().expect("it was appended").1;
        assert!(!is_told || told == payload, "{position} is not what was told: {context}");
    }

    /// The lengths at which the next op is cut, if it is a write.
    fn cuts(&self, ops: usize, at_most: usize) -> Vec<usize> {
        match self.ops.get(ops) {
            Some(Op::Write { bytes, .. }) => {
                let step = bytes.len().div_ceil(at_most).max(1);
                let mut cuts: Vec<usize> = (0..bytes.len()).step_by(step).collect();
                cuts.extend([1, 11, 12, 13, 67, 68].iter().filter(|cut| **cut < bytes.len()));
                cuts.push(bytes.len() - usize::from(!bytes.is_empty()));
                cuts
            }
            _ => vec![0],
        }
    }
}

fn apply_name(op: &Op, names: &mut BTreeMap<String, usize>) {
    match op {
        Op::Create { name, file } => drop(names.insert(name.clone(), *file)),
        Op::Remove { name } => drop(names.remove(name)),
        Op::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        _ => {}
    }
}

fn apply_bytes(op: &Op, files: &mut Vec<Vec<u8>>) {
    match op {
        Op::Create { .. } => files.push(Vec::new()),
        Op::Write { file, .. } | Op::Truncate { file, .. } => apply_one(op, &mut files[*file]),
        _ => {}
    }
}

fn apply_one(op: &Op, file: &mut Vec<u8>) {
    match op {
        Op::Write { offset, bytes, .. } => write_into(file, *offset, bytes),
        Op::Truncate { len, .. } => file.resize(*len as usize, 0),
        _ => {}
    }
}

/// A prefix of the bytes that were written; maybe with the length of more.
fn some_in_order(pending: &[&Op], file: &mut Vec<u8>, random: &mut Random) {
    let whole = random.below(pending.len() + 1);
    for op in &pending[..whole] {
        apply_one(op, file);
    }
    if let Some(Op::Write { offset, bytes, .. }) = pending.get(whole) {
        let cut = random.below(bytes.len() + 1);
        write_into(file, *offset, &bytes[..cut]);
        if random.below(2) == 0 {
            let len = *offset as usize + cut + random.below(bytes.len() - cut + 1);
            file.resize(len.max(file.len()), 0);
        }
    }
}

/// Any sectors of what was written.
fn some_sectors(pending: &[&Op], file: &mut Vec<u8>, random: &mut Random) {
    for op in pending {
        let Op::Write { offset, bytes, .. } = op else {
            if random.below(2) == 0 {
                apply_one(op, file);
            }
            continue;
        };
        let mut at = 0;
        while at < bytes.len() {
            let into_sector = (*offset as usize + at) % SECTOR_BYTES;
            let end = (at + SECTOR_BYTES - into_sector).min(bytes.len());
            match random.below(3) {
                0 => {}
                1 => write_into(file, *offset + at as u64, &bytes[at..end]),
                _ => {
                    let len = *offset as usize + end;
                    file.resize(len.max(file.len()), 0);
                }
            }
            at = end;
        }
    }
}

/// Seeds of a test that are tried where nothing else is asked for.
const SEEDS: u64 = 12;

/// Seeds of a test, from `first` on: as many as `OMNICAST_JOURNAL_SEEDS` says.
fn seeds(first: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("OMNICAST_JOURNAL_SEEDS").ok().map(|text| text.parse().expect("a number"));
    first..first + asked.unwrap_or(SEEDS).max(SEEDS)
}

/// What the runs came to, so that it shows when they do not come to it any more.
#[derive(Default, Debug)]
struct Coverage {
    rotations: usize,
    removals: usize,
    cuts: usize,
    reopenings: usize,
    rewritten: usize,
}

impl Coverage {
    fn add(&mut self, run: &Run) {
        let segment = |name: &str| first_of(name).is_some();
        for op in &run.ops {
            match op {
                Op::Rename { to, .. } if segment(to) => self.rotations += 1,
                Op::Remove { name } if segment(name) => self.removals += 1,
                Op::Truncate { .. } => self.cuts += 1,
                _ => {}
            }
        }
        self.reopenings += run.reopenings;
        self.rewritten +=
            run.appended.values().filter(|variants| variants.windows(2).any(|w| w[0].1 != w[1].1)).count();
    }

    fn check(&self) {
        let Coverage { rotations, removals, cuts, reopenings, rewritten } = self;
        let least = [rotations, removals, cuts, reopenings, rewritten].into_iter().min();
        assert!(least.is_some_and(|n| *n >= 3), "{self:?}");
    }
}

const POLICIES: [SyncPolicy; 3] = [SyncPolicy::Always, SyncPolicy::Interval { ms: 5_000 }, SyncPolicy::Never];

#[test]
fn every_write_of_a_run_cut_at_every_byte() {
    let run = run(7, SyncPolicy::Always, false);
    let from = run.ops.iter().position(|op| matches!(op, Op::Told { .. })).unwrap();
    for ops in 0..from + 12 {
        for bytes in run.cuts(ops, usize::MAX) {
            let image = run.after_process(ops, bytes);
            assert!(run.check(&image, BOOT, true, true), "a new epoch at {ops}, {bytes}");
        }
    }
}

/// A group of posts, cut at every byte: those are back that were written to their end, with their keys.
#[test]
fn a_post_that_was_cut_short_is_not_there_at_all() {
    // The second post is longer than a block.
    for (filler, step) in [(5, 1), (40_000, 997)] {
        let mut rig = Rig::new(SyncPolicy::Always);
        rig.publish(1, 5);
        let before = rig.disk.copy();
        let name = &before.segments()[0];
        let start = before.bytes(name).len();
        let mut ends = vec![(1, start)];
        for events in [3, 4, 1, 2] {
            let mut alone = Rig::open(&before.copy(), &options(SyncPolicy::Always), BOOT, "e");
            rig.post(events, filler);
            // How long the group is up to here.
            let mut last = 1;
            while last < rig.last {
                let of_post = ends.iter().map(|(end, _)| *end).find(|end| *end > last).unwrap_or(rig.last);
                alone.post((of_post - last) as usize, filler);
                last = of_post;
            }
            alone.write();
            ends.push((rig.last, alone.disk.bytes(name).len()));
        }
        rig.write();
        let whole = rig.disk.bytes(name);
        assert_eq!(ends.last(), Some(&(11, whole.len())));
        let boundaries = (start..whole.len()).filter(|at| whole[*at..].starts_with(&MAGIC));
        let mut cuts: Vec<usize> = (start..=whole.len()).step_by(step).chain(boundaries).collect();
        cuts.push(whole.len());
        for cut in cuts {
            let disk = before.copy();
            disk.change(name, |bytes| *bytes = whole[..cut].to_vec());
            let opened = open_with(&disk, &options(SyncPolicy::Always), BOOT, "e", SMALL).unwrap();
            let &(last, end) = ends.iter().rfind(|(_, end)| *end <= cut).unwrap();
            assert_eq!((opened.last, &*opened.epoch), (last, &*epoch(0)), "{cut}: {:?}", opened.findings);
            let keys: Vec<u64> = opened.keys.iter().map(|key| key.position).collect();
            assert_eq!(keys, (1..=last).filter(|n| n.is_multiple_of(2)).collect::<Vec<_>>(), "{cut}");
            assert_eq!((disk.bytes(name).len(), opened.findings.len()), (end, usize::from(end < cut)));
            let mut rig = Rig::take(&disk, opened);
            assert_eq!(positions(&rig.read_all()), (1..=last).collect::<Vec<_>>(), "{cut}");
            assert_eq!(rig.publish(2, 5), [crate::journal::Progress::Committed(last + 2)]);
            let rig = Rig::open(&rig.close(), &options(SyncPolicy::Always), BOOT, "e");
            assert_eq!((rig.last, rig.findings.len()), (last + 2, 0), "{cut}: {:?}", rig.findings);
        }
    }
}

/// What cannot be read before the post that was cut short may have been seen.
#[test]
fn damage_before_a_post_that_was_cut_short_is_a_new_epoch() {
    let mut rig = Rig::new(SyncPolicy::Always);
    for events in [1, 1, 3] {
        rig.publish(events, 5);
    }
    let disk = rig.disk.copy();
    let name = &disk.segments()[0];
    disk.change(name, |bytes| {
        let starts: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&MAGIC)).collect();
        bytes.truncate(starts[4]);
        bytes[starts[1] + 50] ^= 1;
    });
    let mut rig = Rig::open(&disk, &options(SyncPolicy::Always), BOOT, &epoch(1));
    assert_eq!((rig.last, &rig.epoch), (1, &epoch(1)), "{:?}", rig.findings);
    assert_eq!(rig.publish(1, 5), [crate::journal::Progress::Committed(2)]);
    let rig = Rig::open(&rig.close(), &options(SyncPolicy::Always), BOOT, &epoch(2));
    assert_eq!((rig.last, &rig.epoch, rig.findings.len()), (2, &epoch(1), 0), "{:?}", rig.findings);
}

#[test]
fn a_process_that_ends_loses_nothing_it_told() {
    let mut coverage = Coverage::default();
    for seed in seeds(0) {
        let with_faults = seed % 4 > 0;
        let run = run(seed, POLICIES[seed as usize % 3], with_faults);
        coverage.add(&run);
        for ops in 0..=run.ops.len() {
            for bytes in run.cuts(ops, 4) {
                let image = run.after_process(ops, bytes);
                assert!(run.check(&image, BOOT, true, true), "a new epoch: seed {seed}, ops {ops}, {bytes}");
            }
        }
    }
    coverage.check();
}

#[test]
fn a_machine_that_ends_loses_nothing_that_was_told_under_always() {
    let (mut epochs, mut seen) = (0, 0);
    for seed in seeds(1 << 32) {
        let run = run(seed, SyncPolicy::Always, seed % 2 == 0);
        let mut random = Random(seed);
        for ops in 0..=run.ops.len() {
            let image = run.after_machine(ops, true, &mut random);
            assert!(run.check(&image, "boot 2", true, true), "a new epoch: seed {seed}, ops {ops}");
            let image = run.after_machine(ops, false, &mut random);
            epochs += usize::from(!run.check(&image, "boot 2", true, false));
            seen += 1;
        }
    }
    assert!(epochs > 0 && epochs < seen, "sectors out of order do make a new epoch: {epochs} of {seen}");
}

#[test]
fn a_machine_that_ends_begins_a_new_epoch_where_told_events_may_be_lost() {
    let (mut lost, mut kept) = (0, 0);
    for seed in seeds(2 << 32) {
        let run = run(seed, POLICIES[1 + seed as usize % 2], seed % 3 == 0);
        let mut random = Random(seed);
        for ops in 0..=run.ops.len() {
            let in_order = random.below(2) == 0;
            let image = run.after_machine(ops, in_order, &mut random);
            let again = image.disk.copy();
            let same = run.check(&image, "boot 2", false, false);
            if image.told == 0 {
                continue;
            }
            let again = Image { disk: again, ..image };
            if same {
                // Where syncs failed, something may be missing before the end; never the end.
                let last = open_with(&again.disk, &run.options, "boot 2", "e", SMALL).unwrap().last;
                assert!(last >= again.told);
                if !run.with_faults {
                    run.check(&again, "boot 2", true, false);
                }
                kept += 1;
            } else {
                lost += 1;
            }
        }
    }
    assert!(lost > 0 && kept > 0, "{lost} {kept}");
}
