//! Since when something is as it is, without looking at every build.

/// A search among builds, oldest first, for the first one from which on something is as it is in the newest.
///
/// Whoever holds it asks for the [`next`](Self::next) build to look at, and [`tell`](Self::tell)s what is there. If the
/// thing went back and forth, one of its changes is found; the build before the one that is found was looked at, and is
/// different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bisection {
    /// Known to be different.
    different: Option<usize>,
    /// Known to be the same.
    same: usize,
}

impl Bisection {
    /// A search among `count` builds, of which the newest is known; `None` without any.
    pub fn new(count: usize) -> Option<Self> {
        Some(Self {
            different: None,
            same: count.checked_sub(1)?,
        })
    }

    /// The next build to look at; `None` when the search is over.
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

    /// Takes in whether the build that [`next`](Self::next) named is as the newest one.
    pub fn tell(&mut self, index: usize, same: bool) {
        if same {
            self.same = index;
        } else {
            self.different = Some(index);
        }
    }

    /// The build in which it changed and the one before; of the second, `None` if it is the same in all builds.
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
    fn one_change_is_found_in_few_looks() {
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
        fn what_is_found_is_a_change(mut same in prop::collection::vec(any::<bool>(), 1..40)) {
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
