//! Operators and inputs drawn from a seed.

use crate::int8::*;

/// The splitmix64 generator.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Bytes, half of the time the extreme ones only.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let extreme = self.below(2) == 0;
        let byte =
            |random: &mut Self| if extreme { random.pick(&[0, 255]) } else { random.next() as u8 };
        (0..count).map(|_| byte(self)).collect()
    }

    /// Weights, half of the time the extreme ones only.
    pub fn weights(&mut self, count: usize) -> Vec<i8> {
        let extreme = self.below(2) == 0;
        let weight = |random: &mut Self| {
            if extreme { random.pick(&[-128, -127, 127]) } else { random.next() as i8 }
        };
        (0..count).map(|_| weight(self)).collect()
    }

    pub fn scale(&mut self) -> f32 {
        2f32.powf(self.below(1000) as f32 / 200.0 - 5.0)
    }

    pub fn quantization(&mut self) -> Quantization {
        let byte = self.next() as u8;
        Quantization { scale: self.scale(), zero_point: self.pick(&[0, 255, 128, byte]) }
    }

    pub fn clamp(&mut self) -> Clamp {
        let (a, b) = (self.next() as u8, self.next() as u8);
        self.pick(&[Clamp::NONE, Clamp { low: a.min(b), high: a.max(b) }])
    }
}

/// The instruction sets to be compared with the reference.
pub fn vectorised() -> Vec<Isa> {
    Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar).collect()
}
