//! Memory that a thread keeps from one run to the next.

use std::cell::RefCell;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    _bytes: [u8; 64],
}

/// Memory that only grows.
pub(in crate::int8) struct Scratch(Vec<Line>);

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch(Vec::new())) };
}

impl Scratch {
    /// Lends this thread's memory. `work` must not do so too, nor wait for other threads, whose work
    /// it could be handed.
    pub fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        SCRATCH.with_borrow_mut(work)
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

/// A type that any bits are a value of.
pub(in crate::int8) trait Integer: Copy + Into<i32> {}

impl Integer for u8 {}
impl Integer for i8 {}
impl Integer for i16 {}
