//! The work of an operator, divided among the threads of the pool that it is called in.

use rayon::prelude::*;

/// Multiplications (or as much other work) below which it costs more to wait for another thread than
/// it saves: some microseconds. Depthwise convolutions take up to ten times as long for as many, and
/// threads that are left idle for that long fall asleep, which costs as much again.
const WORTH_IT: usize = 100_000;

/// How many threads to divide so many multiplications among.
pub(super) fn threads(work: usize) -> usize {
    let in_pool = rayon::current_thread_index().is_some();
    if in_pool && work >= WORTH_IT { rayon::current_num_threads() } else { 1 }
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
    if threads == 1 {
        buffer.chunks_mut(chunk).enumerate().for_each(|(i, chunk)| work(i, chunk));
    } else {
        buffer.par_chunks_mut(chunk).enumerate().for_each(|(i, chunk)| work(i, chunk));
    }
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
