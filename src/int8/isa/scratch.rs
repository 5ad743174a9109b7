//! Memory in whole cache lines: what a thread keeps from one run to the next, and packed weights.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line {
    _bytes: [u8; 64],
}

/// Memory that only grows.
pub(in crate::int8) struct Scratch(Vec<Line>);

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch(Vec::new())) };
    static PICTURE: RefCell<Scratch> = const { RefCell::new(Scratch(Vec::new())) };
}

impl Scratch {
    /// Lends this thread's memory. `work` must not do so too, nor wait for other threads, whose work
    /// it could be handed.
    pub fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        SCRATCH.with_borrow_mut(work)
    }

    /// Lends other memory in the same way, for what is computed with the help of [`Scratch::with`].
    pub fn with_picture<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        PICTURE.with_borrow_mut(work)
    }

    /// So many elements and so many others, which hold whatever was left there.
    #[inline(always)]
    pub fn two<E: Integer>(&mut self, first: usize, second: usize) -> [&mut [E]; 2] {
        // The second starts at a cache line.
        let line = 64 / size_of::<E>();
        let start = first.next_multiple_of(line);
        let (elements, rest) = self.elements(start + second).split_at_mut(start);
        [&mut elements[..first], rest]
    }

    /// So many elements, which hold whatever was left there.
    #[inline(always)]
    pub fn elements<E: Integer>(&mut self, count: usize) -> &mut [E] {
        let lines = (count * size_of::<E>()).div_ceil(64);
        if self.0.len() < lines {
            self.0.resize(lines, Line { _bytes: [0; 64] });
        }
        // SAFETY: any bits are a value of an integer.
        let (_, elements, _) = unsafe { self.0.align_to_mut::<E>() };
        &mut elements[..count]
    }
}

/// Packed weights, from a cache line's beginning: a register that lies in two lines takes two loads.
#[derive(Debug, Clone)]
pub(super) struct Weights(Vec<Line>);

impl Weights {
    /// So many weights of 0, and what else the last line holds.
    pub fn new(count: usize) -> Self {
        Self(vec![Line { _bytes: [0; 64] }; count.div_ceil(64)])
    }
}

impl Deref for Weights {
    type Target = [i8];

    #[inline(always)]
    fn deref(&self) -> &[i8] {
        // SAFETY: any bits are a value of an integer.
        unsafe { self.0.align_to::<i8>().1 }
    }
}

impl DerefMut for Weights {
    fn deref_mut(&mut self) -> &mut [i8] {
        // SAFETY: any bits are a value of an integer.
        unsafe { self.0.align_to_mut::<i8>().1 }
    }
}

/// A type that any bits are a value of.
pub(in crate::int8) trait Integer: Copy + Into<i32> {}

impl Integer for u8 {}
impl Integer for i8 {}
impl Integer for i16 {}
