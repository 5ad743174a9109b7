//! What the multiplying instructions of an instruction set achieve when nothing else is done.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::{Isa, Kernel, Simd};

impl Isa {
    /// Multiply-accumulates a second of one core, measured for some milliseconds: what the kernels
    /// are compared with. None for the scalar reference.
    pub fn peak(self) -> Option<f64> {
        const ROUNDS: usize = 100_000;
        if self == Self::Scalar {
            return None;
        }
        // What disturbs a run only makes it slower.
        let fastest = (0..20).map(|_| {
            let mut macs = 0;
            let start = Instant::now();
            self.run(Peak { rounds: ROUNDS, macs: &mut macs });
            macs as f64 / start.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
        });
        fastest.reduce(f64::max)
    }
}

/// Products of operands in registers, added to as many sums as a tile of a product of matrices has.
struct Peak<'a> {
    rounds: usize,
    /// How many multiply-accumulates were done.
    macs: &'a mut usize,
}

impl Kernel for Peak<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // Each product has operands of its own, so that none is computed once and for all.
        let elements = black_box([[S::element(1); 64]; 6 + 7]);
        let (weights, zeros) = (black_box([[1i8; 64]; 2]), [0i32; 16]);
        // SAFETY: a register holds at most 64 elements or weights, and 16 sums.
        let sums = unsafe {
            let weights = [simd.weights(weights[0].as_ptr()), simd.weights(weights[1].as_ptr())];
            let mut sums = [[simd.sums(zeros.as_ptr()); 2]; 6];
            for round in 0..self.rounds {
                let rows = elements.as_ptr().add(round % 8);
                for p in 0..6 {
                    let operand = simd.operand(rows.add(p).cast());
                    for r in 0..2 {
                        sums[p][r] = simd.dot(sums[p][r], operand, weights[r]);
                    }
                }
            }
            sums
        };
        black_box(sums);
        *self.macs = self.rounds * 12 * S::LANES * S::GROUP;
    }
}
