//! Finds the build that introduced a state, without examining every build.

/// A search among builds, oldest first, for the first build from which on a state is the same as in the newest build.
///
/// The caller examines the [`next`](Self::next) build, and [`tell`](Self::tell)s the result. If the state changed several
/// times, one of the changes is found: the build before the found one was examined, and differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bisection {
    /// The newest build that is known to differ.
    different: Option<usize>,
    /// The oldest build that is known to be the same.
    same: usize,
}

impl Bisection {
    /// A search among `count` builds, of which only the newest is known; `None` if there are none.
    pub fn new(count: usize) -> Option<Self> {
        Some(Self {
            different: None,
            same: count.checked_sub(1)?,
        })
    }

    /// The next build to examine; `None` when the search is over.
    pub fn next(&self) -> Option<usize> {
        match self.different {
            None if self.same == 0 => None,
            None => Some(0),
            Some(different) if self.same - different > 1 => {
                Some(different + (self.same - different) / 2)
            }
            Some(_) => None,
        }
    }

    /// Records if the build from [`next`](Self::next) is the same as the newest one.
    pub fn tell(&mut self, index: usize, same: bool) {
        if same {
            self.same = index;
        } else {
            self.different = Some(index);
        }
    }

    /// The build in which the state changed, and the build before it; the latter is `None` if the state is the same in all
    /// builds.
    pub fn found(&self) -> (usize, Option<usize>) {
        (self.same, self.different)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Bisection;

    fn search(same: &[bool]) -> ((usize, Option<usize>), usize) {
        let mut search = Bisection::new(same.len()).expect("builds");
        let mut looks = 0;
        while let Some(index) = search.next() {
            assert!(index + 1 < same.len(), "the newest is known");
            search.tell(index, same[index]);
            looks += 1;
        }
        (search.found(), looks)
    }

    #[test]
    fn a_bisection_needs_few_comparisons() {
        for count in 1..70_usize {
            for change in 0..count {
                let same: Vec<_> = (0..count).map(|index| index >= change).collect();
                let (found, looks) = search(&same);
                assert_eq!(found, (change, change.checked_sub(1)), "of {count}");
                assert!(
                    looks <= 2 + count.ilog2() as usize,
                    "{looks} looks at {count}"
                );
            }
        }
        assert_eq!(Bisection::new(0), None);
    }

    proptest! {
        #[test]
        fn a_bisection_ends_at_a_change(mut same in prop::collection::vec(any::<bool>(), 1..40)) {
            *same.last_mut().expect("one") = true;
            match search(&same).0 {
                (first, Some(before)) => {
                    prop_assert_eq!(first, before + 1);
                    prop_assert!(same[first] && !same[before]);
                }
                (first, None) => prop_assert!(first == 0 && same[0]),
            }
        }
    }
}
