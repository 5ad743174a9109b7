//! The work of an operator, divided among the threads of the team that it is called in.

use std::sync::Mutex;

use super::team::{self, lock};

/// Multiplications (or as much other work) that are not worth dividing: they take about a
/// microsecond.
const WORTH_IT: usize = 100_000;

/// How many threads to divide so many multiplications among.
pub(super) fn threads(work: usize) -> usize {
    if work >= WORTH_IT { team::threads() } else { 1 }
}

/// The length of the parts of `total`, of which every thread gets as many: about `longest` at most,
/// and whole tiles where a single thread leaves the choice.
pub(super) fn part(total: usize, longest: usize, tile: usize, threads: usize) -> usize {
    let parts = total.div_ceil(longest.max(1)).next_multiple_of(threads).max(1);
    total.div_ceil(parts).max(1).next_multiple_of(if threads == 1 { tile } else { 1 })
}

/// Calls `work` with the number and the values of each chunk of a buffer.
pub(super) fn for_each_chunk<T: Send>(
    buffer: &mut [T],
    chunk: usize,
    threads: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let chunks = Mutex::new(buffer.chunks_mut(chunk).enumerate());
    let work = || {
        loop {
            // The lock is free again before the work begins.
            let next = lock(&chunks).next();
            let Some((i, chunk)) = next else { return };
            work(i, chunk);
        }
    };
    if threads == 1 { work() } else { team::together(&work) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_gets_as_many_parts() {
        assert_eq!(part(49, 100, 6, 2), 25);
        assert_eq!(part(100, 34, 6, 2), 25);
        assert_eq!(part(1, 100, 6, 4), 1);
    }

    #[test]
    fn a_single_thread_gets_parts_of_whole_tiles() {
        assert_eq!(part(196, 52, 6, 1), 54);
        assert_eq!(part(49, 100, 1, 1), 49);
        assert_eq!(part(5, 100, 6, 1), 6);
    }
}
