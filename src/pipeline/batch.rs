//! Many pieces of work, several at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use crate::error::{Error, Result};

/// Does `count` pieces of work on as many threads as there are workers, at least one, each piece on
/// one of them, and gives the results in order. A worker is what a thread keeps from piece to piece;
/// `progress` is told how many are done.
///
/// # Errors
/// The first error of `work`, after which the other workers finish their piece and end.
///
/// # Panics
/// If there is work, but no worker.
pub fn batch<W: Send, T: Send>(
    count: usize,
    workers: Vec<W>,
    work: &(dyn Fn(&mut W, usize) -> Result<T> + Sync),
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<T>> {
    assert!(count == 0 || !workers.is_empty(), "nobody works");
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let (done_in, done_out) = mpsc::channel();
    let run = |mut worker: W, done: mpsc::Sender<()>| -> Result<()> {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return Ok(());
            }
            let result = work(&mut worker, i)?;
            results.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
            if done.send(()).is_err() {
                return Ok(());
            }
        }
    };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for worker in workers.into_iter().take(count) {
            let (run, next, done) = (&run, &next, done_in.clone());
            let run = move || {
                let result = run(worker, done);
                if result.is_err() {
                    next.store(count, Ordering::Relaxed);
                }
                result
            };
            let spawned =
                std::thread::Builder::new().name("worker".into()).spawn_scoped(scope, run);
            threads
                .push(spawned.map_err(|e| Error::invalid(format!("cannot start a thread: {e}")))?);
        }
        drop(done_in);
        for (done, ()) in done_out.iter().enumerate() {
            progress(done + 1);
        }
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok::<_, Error>(())
    })?;
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(i, _)| *i);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_each_piece_is_told_once() {
        for workers in [1, 3, 50] {
            let mut told = Vec::new();
            let work = |kept: &mut usize, i: usize| {
                *kept += 1;
                Ok(10 * i)
            };
            let found = batch(20, vec![0; workers], &work, &mut |done| told.push(done)).unwrap();
            assert_eq!(found, (0..20).map(|i| 10 * i).collect::<Vec<_>>());
            assert_eq!(told, (1..=20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_ends_the_others_soon() {
        let begun = AtomicUsize::new(0);
        let work = |_: &mut (), i: usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            if i == 3 { Err(Error::invalid("broken")) } else { Ok(()) }
        };
        let error = batch(1 << 30, vec![(); 2], &work, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "broken");
        assert!(begun.into_inner() > 3);
    }

    #[test]
    fn nothing_to_do_is_done() {
        assert_eq!(batch(0, vec![(); 4], &|_, i| Ok(i), &mut |_| {}), Ok(vec![]));
    }
}
