//! The names of peers that ended.

use std::collections::VecDeque;

use libratman::types::Ident32;
use netmod_inet::Target;

/// The last names of peers that ended, the latest last: frames of theirs may still be in the
/// receive queue.
#[derive(Debug)]
pub(super) struct LastNames {
    entries: VecDeque<(Target, Ident32)>,
    capacity: usize,
}

impl LastNames {
    /// Holds at most `capacity` names; each further one displaces the oldest.
    pub(super) fn new(capacity: usize) -> LastNames {
        LastNames { entries: VecDeque::new(), capacity }
    }

    pub(super) fn push(&mut self, target: Target, name: Ident32) {
        if self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back((target, name));
    }

    /// The last name that was known for this target.
    pub(super) fn get(&self, target: Target) -> Option<Ident32> {
        self.entries.iter().rev().find(|(ended, _)| *ended == target).map(|(_, name)| *name)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Target> {
        self.entries.iter().map(|(target, _)| *target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_name_of_a_target_counts_and_the_oldest_entry_goes() {
        let mut names = LastNames::new(2);
        let id = |byte: u8| Ident32::from([byte; 32]);
        for (target, byte) in [(0, 1), (1, 2), (0, 3)] {
            names.push(Target::from(target), id(byte));
        }
        assert_eq!(
            [0, 1, 2].map(|target| names.get(target.into())),
            [Some(id(3)), Some(id(2)), None]
        );
        assert_eq!(names.targets().collect::<Vec<_>>(), [1.into(), 0.into()]);
    }
}
