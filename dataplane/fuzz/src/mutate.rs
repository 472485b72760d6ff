//! Mutations for where there is no libFuzzer: the same seed, the same bytes.

/// Random numbers (SplitMix64, Steele and others, 2014).
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % (end.max(1) as u64)) as usize
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.number() as u8
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// Bytes that decide something: ends of ranges, versions, set ids, sizes.
const TELLING: [u8; 16] = [0, 1, 2, 3, 4, 5, 8, 9, 10, 16, 32, 64, 127, 128, 254, 255];

/// Changes an input a little; `other` is another one to take a piece of.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(input.len());
        match random.below(8) {
            0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            1 if !input.is_empty() => input[at] = random.byte(),
            2 | 3 if !input.is_empty() => input[at] = TELLING[random.below(TELLING.len())],
            // A length or an id: two bytes on an even place.
            4 if input.len() > 1 => {
                let at = at & !1;
                let value = if random.byte() & 1 == 0 { 0 } else { random.below(300) };
                let pair = (value as u16).to_be_bytes();
                input[at..].iter_mut().zip(pair).for_each(|(byte, value)| *byte = value);
            }
            5 => input.truncate(at),
            6 => {
                let from = random.below(other.len());
                let length = random.below(64).min(other.len() - from);
                let piece = other[from..from + length].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let length = random.below(16).min(input.len() - at);
                drop(input.drain(at..at + length));
            }
        }
    }
}
