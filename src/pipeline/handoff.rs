//! Handing frames from thread to thread without waiting for whoever is slow.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// The giving end of a hand-off in which the newest item wins.
#[derive(Debug)]
pub struct Newest<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

/// A hand-off that holds one item. The receiver is disconnected when `Newest` is dropped.
pub fn newest<T>() -> (Newest<T>, Receiver<T>) {
    let (sender, receiver) = bounded(1);
    (Newest { sender, receiver: receiver.clone() }, receiver)
}

impl<T> Newest<T> {
    /// Leaves `item` for the receiver and gives back the item that it overtook, for its buffers
    /// to be used again. Never waits.
    pub fn put(&self, item: T) -> Option<T> {
        let mut overtaken = None;
        let mut item = item;
        loop {
            match self.sender.try_send(item) {
                Ok(()) => return overtaken,
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => {
                    // The receiver may have been faster; then the next attempt succeeds.
                    overtaken = self.receiver.try_recv().ok().or(overtaken);
                    item = back;
                }
            }
        }
    }

    /// Waits until the item before was taken, then leaves `item`; gives it back where that takes
    /// longer than `patience`.
    pub fn put_behind(&self, item: T, patience: Duration) -> Result<(), T> {
        self.sender.send_timeout(item, patience).map_err(|refused| refused.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_item_wins_and_the_overtaken_one_comes_back() {
        let (newest, receiver) = newest();
        assert_eq!(newest.put(1), None);
        assert_eq!(newest.put(2), Some(1));
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(newest.put(3), None);
        assert_eq!(newest.put_behind(4, Duration::ZERO), Err(4));
        drop(newest);
        assert_eq!(receiver.recv(), Ok(3));
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn under_contention_nothing_is_lost_twice_and_order_is_kept() {
        let (newest, receiver) = newest();
        let taker = std::thread::spawn(move || receiver.iter().collect::<Vec<u32>>());
        let overtaken = (0..10_000).filter_map(|i| newest.put(i)).collect::<Vec<_>>();
        drop(newest);
        let taken = taker.join().unwrap();
        assert!(taken.is_sorted() && overtaken.is_sorted());
        let mut all = [taken, overtaken].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10_000).collect::<Vec<_>>());
    }
}
