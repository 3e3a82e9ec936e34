//! The weak sum of a block: two sums of 16 bits, which can be updated when the window moves by a byte.

/// The weak sum of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rsum {
    /// The sum of the bytes.
    pub(crate) a: u16,
    /// The sum of the bytes, each multiplied by its distance from the end.
    pub(crate) b: u16,
}

impl Rsum {
    /// The sum of a whole block.
    #[inline]
    pub(crate) fn of(block: &[u8]) -> Self {
        /// The number of bytes that are summed in one step, in the 16 bits that the format keeps: a processor adds many of these at once.
        const STEP: usize = 64;
        /// The weight of each earlier byte in the second sum.
        const WHOLE: u16 = 64;
        /// The weight of each byte of the step.
        const WEIGHTS: [u16; STEP] = {
            let (mut weights, mut weight, mut at) = ([0; STEP], WHOLE, 0);
            while at < STEP {
                weights[at] = weight;
                weight -= 1;
                at += 1;
            }
            weights
        };
        let (mut a, mut b) = (0_u16, 0_u16);
        let (steps, rest) = block.as_chunks::<STEP>();
        for step in steps {
            let (mut sum, mut weighted) = (0_u16, 0_u16);
            for (&byte, &weight) in step.iter().zip(&WEIGHTS) {
                sum = sum.wrapping_add(u16::from(byte));
                weighted = weighted.wrapping_add(weight.wrapping_mul(u16::from(byte)));
            }
            b = b.wrapping_add(a.wrapping_mul(WHOLE)).wrapping_add(weighted);
            a = a.wrapping_add(sum);
        }
        for &byte in rest {
            a = a.wrapping_add(u16::from(byte));
            b = b.wrapping_add(a);
        }
        Self { a, b }
    }

    /// Moves the window of `1 << shift` bytes by one.
    #[inline]
    pub(crate) fn roll(&mut self, leaves: u8, enters: u8, shift: u32) {
        self.a = self
            .a
            .wrapping_add(u16::from(enters))
            .wrapping_sub(u16::from(leaves));
        // For a block of 64 KiB or more, the product is a multiple of 65,536.
        let product = u16::from(leaves).checked_shl(shift).unwrap_or(0);
        self.b = self.b.wrapping_add(self.a).wrapping_sub(product);
    }

    /// Both sums in one number, in the order of their bytes in the file.
    #[inline]
    pub(crate) fn bits(self) -> u32 {
        u32::from(self.a) << 16 | u32::from(self.b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of zsync 0.6.2.
    fn defined(block: &[u8]) -> Rsum {
        let (mut a, mut b) = (0_u16, 0_u16);
        for (at, &byte) in block.iter().enumerate() {
            let weight = u16::try_from((block.len() - at) & 0xffff).expect("16 bits");
            a = a.wrapping_add(u16::from(byte));
            b = b.wrapping_add(weight.wrapping_mul(u16::from(byte)));
        }
        Rsum { a, b }
    }

    #[test]
    fn a_rolling_sum_equals_the_sum_of_its_window() {
        for shift in [4, 6, 11, 12, 15, 16, 17] {
            let size = 1 << shift;
            let bytes: Vec<u8> = (0..size * 2 + 100)
                .map(|at: usize| u8::try_from((at * at / 7) & 0xff).expect("a byte") | 0x80)
                .collect();
            let mut rolled = Rsum::of(&bytes[..size]);
            for at in 0..size.min(5_000) {
                if at % 97 == 0 || at < 3 {
                    let window = &bytes[at..at + size];
                    assert_eq!(Rsum::of(window), defined(window), "{shift} at {at}");
                    assert_eq!(rolled, defined(window), "{shift} at {at}");
                }
                rolled.roll(bytes[at], bytes[at + size], shift);
            }
        }
    }
}
