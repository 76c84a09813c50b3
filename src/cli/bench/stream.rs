//! Whether one client gets what it must, of one lane: everything, once, in order. Pure.

/// What a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or one behind a gap.
    Due,
    /// One that was missing: others overtook it.
    Late,
    /// One that was here before.
    Twice,
    /// One that this client must not get.
    Foreign,
}

/// What has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// The number from which on nothing has come.
    next: u64,
    /// Numbers below `next` that were due and have not come, ascending. Empty while all is well.
    missing: Vec<u64>,
}

impl Stream {
    /// A client that comes in before number `next` of the lane.
    pub fn from(next: u64) -> Stream {
        Stream { next, missing: Vec::new() }
    }

    /// Takes number `seq`; `sees` is whether a number is for this client.
    pub fn take(&mut self, seq: u64, sees: impl Fn(u64) -> bool) -> Arrival {
        if !sees(seq) {
            return Arrival::Foreign;
        }
        if seq >= self.next {
            self.missing.extend((self.next..seq).filter(|earlier| sees(*earlier)));
            self.next = seq + 1;
            return Arrival::Due;
        }
        match self.missing.binary_search(&seq) {
            Ok(index) => {
                self.missing.remove(index);
                Arrival::Late
            }
            Err(_) => Arrival::Twice,
        }
    }

    /// How many of the numbers before `end` never came, without those that `refused` says were never published.
    pub fn lost(&self, end: u64, sees: impl Fn(u64) -> bool, refused: impl Fn(u64) -> bool) -> u64 {
        let absent = self.missing.iter().copied().chain((self.next..end).filter(|seq| sees(*seq)));
        absent.filter(|seq| !refused(*seq)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_fault_has_its_name() {
        use Arrival::{Due, Foreign, Late, Twice};
        let table: [(&[u64], &[Arrival], u64); 6] = [
            (&[0, 2, 4], &[Due, Due, Due], 0),
            (&[0, 4], &[Due, Due], 1),
            (&[0, 4, 2], &[Due, Due, Late], 0),
            (&[0, 2, 2, 0, 4], &[Due, Due, Twice, Twice, Due], 0),
            (&[0, 4, 2, 2], &[Due, Due, Late, Twice], 0),
            (&[1, 2], &[Foreign, Due], 2),
        ];
        let even = |seq: u64| seq.is_multiple_of(2);
        for (numbers, arrivals, lost) in table {
            let mut stream = Stream::default();
            let got: Vec<_> = numbers.iter().map(|seq| stream.take(*seq, even)).collect();
            assert_eq!(got, arrivals, "{numbers:?}");
            assert_eq!(stream.lost(5, even, |_| false), lost, "{numbers:?}");
        }
        // What was refused at the post is not lost, and who came later misses nothing of before.
        assert_eq!(Stream::default().lost(5, even, |seq| seq == 2), 2);
        assert_eq!(Stream::from(3).lost(5, even, |_| false), 1);
    }

    proptest! {
        #[test]
        fn any_arrival_agrees_with_counting(numbers in prop::collection::vec(0u64..30, 0..60)) {
            let sees = |seq: u64| seq % 3 != 1;
            let (mut stream, mut seen, mut highest) = (Stream::default(), std::collections::BTreeSet::new(), None);
            for seq in numbers {
                let expected = if !sees(seq) {
                    Arrival::Foreign
                } else if !seen.insert(seq) {
                    Arrival::Twice
                } else if highest.is_some_and(|highest| seq < highest) {
                    Arrival::Late
                } else {
                    Arrival::Due
                };
                if sees(seq) {
                    highest = highest.max(Some(seq));
                }
                prop_assert_eq!(stream.take(seq, sees), expected);
            }
            let lost = (0..30).filter(|seq| sees(*seq) && !seen.contains(seq)).count() as u64;
            prop_assert_eq!(stream.lost(30, sees, |_| false), lost);
        }
    }
}
