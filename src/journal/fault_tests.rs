//! What the log does when the disk does not.

use crate::journal::kit_tests::*;
use crate::journal::options::SyncPolicy;

#[test]
fn what_goes_in_comes_out_after_a_restart_and_goes_on() {
    for sync in [SyncPolicy::Always, SyncPolicy::Interval { ms: 10 }, SyncPolicy::Never] {
        let mut rig = Rig::new(sync);
        assert_eq!((rig.first, rig.last, rig.findings.len()), (1, 0, 0));
        for n in 1..50 {
            rig.publish(n % 4 + 1, n * 37);
        }
        let all = rig.read_all();
        assert_eq!(positions(&all), (1..=rig.last).collect::<Vec<_>>());
        for envelope in &all {
            let filler = payload_of_filler(envelope);
            let sent = entry(envelope.position, filler, None, 1_000_000).envelope;
            assert_eq!(essence(envelope), essence(&sent));
        }
        let last = rig.last;
        let mut rig = Rig::open(&rig.close(), &options(sync), "another boot", &epoch(1));
        assert_eq!((rig.last, &rig.epoch, &rig.findings), (last, &epoch(0), &Vec::new()));
        assert_eq!(
            rig.tail.iter().map(|e| essence(e)).collect::<Vec<_>>(),
            all.iter().map(|e| essence(e)).collect::<Vec<_>>()
        );
        rig.publish(2, 5);
        assert_eq!(positions(&rig.read_all()), (1..=last + 2).collect::<Vec<_>>());
        assert_eq!(rig.disk.segments().len(), 1);
    }
}

fn payload_of_filler(envelope: &crate::shard::envelope::Envelope) -> usize {
    envelope.frame.iter().filter(|byte| **byte == b'x').count()
}
