//! Many pieces of work, several at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use crate::error::{Error, Result};
use crate::network::Network;

/// Does `count` pieces of work on as many threads as `workers` says, each piece on one of them, and
/// gives the results in order. `start` makes what a worker keeps from piece to piece; `progress` is
/// told how many are done.
///
/// # Errors
/// The first error of `start` or `work`, after which the other workers finish their piece and end.
pub fn batch<W, T: Send>(
    count: usize,
    workers: usize,
    start: &(dyn Fn() -> Result<W> + Sync),
    work: &(dyn Fn(&mut W, usize) -> Result<T> + Sync),
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let (done_in, done_out) = mpsc::channel();
    let run = |done: mpsc::Sender<()>| -> Result<()> {
        let mut worker = start()?;
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
        for _ in 0..workers.clamp(1, count.max(1)) {
            let (run, next, done) = (&run, &next, done_in.clone());
            let run = move || {
                let result = run(done);
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

/// Networks for workers: `first` for the first that asks, and what `load` gives for the others.
pub fn networks<'a>(
    first: Network,
    load: &'a (dyn Fn() -> Result<Network> + Sync),
) -> impl Fn() -> Result<Network> + Sync + 'a {
    let first = Mutex::new(Some(first));
    move || first.lock().unwrap_or_else(PoisonError::into_inner).take().map_or_else(load, Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_each_piece_is_told_once() {
        for workers in [0, 1, 3, 50] {
            let mut told = Vec::new();
            let work = |kept: &mut usize, i: usize| {
                *kept += 1;
                Ok(10 * i)
            };
            let found = batch(20, workers, &|| Ok(0), &work, &mut |done| told.push(done)).unwrap();
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
        let error = batch(1 << 30, 2, &|| Ok(()), &work, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "broken");
        assert!(begun.into_inner() > 3);
        let none = || Err::<(), _>(Error::invalid("no network"));
        assert!(batch(5, 2, &none, &|_, i| Ok(i), &mut |_| {}).is_err());
    }

    #[test]
    fn nothing_to_do_is_done() {
        assert_eq!(batch(0, 4, &|| Ok(()), &|_, i| Ok(i), &mut |_| {}), Ok(vec![]));
    }
}
