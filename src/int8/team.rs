//! Threads that share the work of one operator after the other.
//!
//! An operator takes microseconds, and so does waking a thread that sleeps: between operators the
//! threads stay awake, and nobody waits for one that comes late.

#![allow(unsafe_code)] // Work that borrows is lent to threads that outlive it.

use std::any::Any;
use std::cell::{RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, hint, io, thread};

/// How often a thread that waits looks at once again, before it lets other threads run between.
const SPINS: usize = 500;

/// How long a helper waits for work before it sleeps.
const PATIENCE: Duration = Duration::from_micros(200);

/// The bits of [`Shared::state`] that count the helpers at work.
const AT_WORK: usize = OPEN - 1;
/// The bit that says that others may join them.
const OPEN: usize = 1 << 16;
/// The bit that says that the team is no more.
const ENDED: usize = 1 << 17;
/// One piece of work, of those that the bits from here on count.
const ROUND: usize = 1 << 18;

thread_local! {
    /// The team that this thread is [installed](Team::install) in, unless it is at work.
    static CURRENT: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// A thread and its helpers.
pub struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

struct Shared {
    threads: usize,
    state: AtomicUsize,
    /// Written only while no helper is at work and none may join; read only by helpers at work.
    work: UnsafeCell<&'static (dyn Fn() + Sync)>,
    /// That of a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// How many helpers sleep, or are about to.
    asleep: AtomicUsize,
    lock: Mutex<()>,
    woken: Condvar,
}

// SAFETY: `work` is the only part that is not `Sync` by itself, and its rule keeps threads from
// reading it while it is written.
unsafe impl Sync for Shared {}

impl Team {
    /// Starts the helpers of a team of so many threads: at least one, which is the caller's, and at
    /// most 65535.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn new(threads: usize) -> io::Result<Self> {
        let threads = threads.clamp(1, AT_WORK);
        let shared = Shared {
            threads,
            state: AtomicUsize::new(0),
            work: UnsafeCell::new(&|| ()),
            panic: Mutex::new(None),
            asleep: AtomicUsize::new(0),
            lock: Mutex::new(()),
            woken: Condvar::new(),
        };
        let mut team = Self { shared: Arc::new(shared), helpers: Vec::new() };
        for i in 1..threads {
            let shared = team.shared.clone();
            let helper = thread::Builder::new().name(format!("network {i}"));
            team.helpers.push(helper.spawn(move || shared.help())?);
        }
        Ok(team)
    }

    /// Calls `run`; the operators that it runs, on this thread, share their work with the team.
    pub fn install<R>(&mut self, run: impl FnOnce() -> R) -> R {
        struct Reset(Option<Arc<Shared>>);
        impl Drop for Reset {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _reset = Reset(CURRENT.replace(Some(self.shared.clone())));
        run()
    }
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Team of {}", self.shared.threads)
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.state.fetch_or(ENDED, Ordering::SeqCst);
        self.shared.wake();
        for helper in self.helpers.drain(..) {
            // Its panics are caught where it works.
            let _ = helper.join();
        }
    }
}

/// How many threads work is shared among here.
pub(super) fn threads() -> usize {
    CURRENT.with_borrow(|team| team.as_ref().map_or(1, |team| team.threads))
}

/// Calls `work` on this thread, and meanwhile on those of its team that have time: some or all or
/// none of them. Returns when all calls have.
///
/// # Panics
/// If one of the calls does, after all have returned.
pub(super) fn together(work: &(dyn Fn() + Sync)) {
    match CURRENT.take() {
        None => work(),
        Some(team) => {
            team.share(work);
            CURRENT.set(Some(team));
        }
    }
}

impl Shared {
    fn share(&self, work: &(dyn Fn() + Sync)) {
        // SAFETY: helpers call it only while they are at work, and this returns only when none of
        // them is and none may join: it is not called once its borrows have ended. A team is
        // installed on one thread at a time, and not within `work`, so that only this thread writes.
        unsafe {
            let work: &'static (dyn Fn() + Sync) = std::mem::transmute(work);
            *self.work.get() = work;
        }
        let round = self.state.load(Ordering::Relaxed).wrapping_add(ROUND);
        self.state.store(round | OPEN, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 {
            self.wake();
        }
        let own = catch_unwind(AssertUnwindSafe(work));
        self.state.fetch_and(!OPEN, Ordering::Relaxed);
        let left = || (self.state.load(Ordering::Acquire) & AT_WORK == 0).then_some(());
        wait(Duration::MAX, left);
        let helpers = lock(&self.panic).take();
        if let Some(panic) = own.err().or(helpers) {
            resume_unwind(panic);
        }
    }

    fn wake(&self) {
        // Who has seen no work while it held the lock sleeps by now.
        drop(lock(&self.lock));
        self.woken.notify_all();
    }

    /// A helper's life.
    fn help(&self) {
        let mut last = 0;
        loop {
            let state = self.await_work(last);
            if state & ENDED != 0 {
                return;
            }
            let (joined, failed) = (Ordering::Acquire, Ordering::Relaxed);
            if self.state.compare_exchange(state, state + 1, joined, failed).is_err() {
                continue; // Somebody else came or went, or the work is done.
            }
            last = state / ROUND;
            // SAFETY: this helper is at work, so that nobody writes; what was written before the
            // work was opened is seen by who joins.
            let work = unsafe { *self.work.get() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                *lock(&self.panic) = Some(panic);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// The state once there is work that may be joined, other than that of the round `last`; or once
    /// the team is no more.
    fn await_work(&self, last: usize) -> usize {
        let work = || {
            let state = self.state.load(Ordering::SeqCst);
            let open = state & OPEN != 0 && state / ROUND != last;
            (open || state & ENDED != 0).then_some(state)
        };
        if let Some(state) = wait(PATIENCE, work) {
            return state;
        }
        let mut guard = lock(&self.lock);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        let state = loop {
            // Who opens work looks for sleepers after that: one of the two sees the other.
            if let Some(state) = work() {
                break state;
            }
            guard = self.woken.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        state
    }
}

/// Looks again and again, for as long as `patience` says.
fn wait<T>(patience: Duration, look: impl Fn() -> Option<T>) -> Option<T> {
    for _ in 0..SPINS {
        if let Some(found) = look() {
            return Some(found);
        }
        hint::spin_loop();
    }
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > patience {
            return None;
        }
        thread::yield_now();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::atomic::AtomicBool;

    /// On a machine that is busy a helper comes late.
    const LATEST: Duration = Duration::from_secs(20);

    #[test]
    fn work_is_called_on_this_thread_and_has_ended_on_all_when_it_returns() {
        for threads in [1, 2, 5] {
            let mut team = Team::new(threads).unwrap();
            let this = thread::current().id();
            for round in 0..2000 {
                let (calls, inside) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
                let work = || {
                    inside.fetch_add(1, Ordering::SeqCst);
                    lock(&calls).push(thread::current().id());
                    inside.fetch_sub(1, Ordering::SeqCst);
                };
                team.install(|| together(&work));
                assert_eq!(inside.into_inner(), 0, "round {round}");
                let calls = calls.into_inner().unwrap();
                assert!(calls.contains(&this) && calls.len() <= threads, "round {round}");
                assert_eq!(calls.iter().collect::<HashSet<_>>().len(), calls.len());
            }
        }
    }

    #[test]
    fn helpers_join_awake_or_asleep() {
        let mut team = Team::new(2).unwrap();
        for pause in [Duration::ZERO, 20 * PATIENCE] {
            thread::sleep(pause);
            let this = thread::current().id();
            let joined = AtomicBool::new(false);
            let work = || {
                let start = Instant::now();
                joined.fetch_or(thread::current().id() != this, Ordering::SeqCst);
                while !joined.load(Ordering::SeqCst) && start.elapsed() < LATEST {
                    thread::yield_now();
                }
            };
            team.install(|| together(&work));
            assert!(joined.into_inner(), "after {pause:?}");
        }
    }

    #[test]
    fn a_panic_of_any_thread_reaches_the_caller_and_the_team_works_on() {
        let mut team = Team::new(3).unwrap();
        let this = thread::current().id();
        for caller_panics in [true, false] {
            let joined = AtomicBool::new(false);
            let work = || {
                let start = Instant::now();
                match (thread::current().id() == this, caller_panics) {
                    (true, true) => panic!("odd"),
                    (false, false) => {
                        joined.store(true, Ordering::SeqCst);
                        panic!("odd");
                    }
                    (false, true) => (),
                    (true, false) => {
                        while !joined.load(Ordering::SeqCst) && start.elapsed() < LATEST {
                            thread::yield_now();
                        }
                    }
                }
            };
            let panic = catch_unwind(AssertUnwindSafe(|| team.install(|| together(&work))));
            assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"odd"));
        }
        let calls = AtomicUsize::new(0);
        team.install(|| {
            together(&|| {
                calls.fetch_add(1, Ordering::SeqCst);
            });
        });
        assert!(calls.into_inner() > 0);
    }

    #[test]
    fn a_team_is_there_only_while_it_is_installed_and_not_within_its_work() {
        let mut team = Team::new(3).unwrap();
        assert_eq!(threads(), 1);
        team.install(|| {
            assert_eq!(threads(), 3);
            together(&|| assert_eq!(threads(), 1));
            Team::new(2).unwrap().install(|| assert_eq!(threads(), 2));
            assert_eq!(threads(), 3);
        });
        assert_eq!(threads(), 1);
    }
}
