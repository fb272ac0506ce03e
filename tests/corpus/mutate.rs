//! Small changes to an input, the same at every run.

/// What JSON and Meta's answers hang on, and what has broken readers of them.
const PIECES: [&[u8]; 40] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\n",
    b"\0",
    b"\xff",
    b"\xf0\x9f",
    b"\xe2\x82",
    b"\\ud800",
    b"\\u0000",
    b"\\\"",
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1e3",
    b"3.5",
    b"1e999",
    b"9223372036854775807",
    b"79228162514264337593543950335",
    b"\"\"",
    b"\"data\":",
    b"\"rows\":",
    b"\"rows\":[",
    b"\"ad_id\":",
    b"\"ad_id\":\"1\"",
    b"\"spend\":",
    b"\"error\":{}",
    b"\"paging\":",
    b"\"next\":\"x\"",
    b"\"date_start\":\"2026-03-02\"",
    b"{\"ad_id\":\"7\"}",
    b"{},",
    b"]}",
];

/// Pseudo-random numbers (xorshift), and the inputs that pieces of are taken from.
pub struct Mutator {
    state: u64,
    inputs: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, inputs: Vec<Vec<u8>>) -> Self {
        Mutator { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, inputs }
    }

    /// The input after one to four changes.
    pub fn change(&mut self, input: &[u8]) -> Vec<u8> {
        let mut changed = input.to_vec();
        for _ in 0..=self.below(4) {
            self.change_once(&mut changed);
        }
        changed
    }

    fn change_once(&mut self, bytes: &mut Vec<u8>) {
        let (from, to) = self.range(bytes.len());
        match self.below(7) {
            0 if !bytes.is_empty() => {
                let at = from.min(bytes.len() - 1);
                bytes[at] ^= 1 << self.below(8);
            }
            1 => drop(bytes.drain(from..to)),
            2 => {
                let again = bytes[from..to].to_vec();
                bytes.splice(to..to, again);
            }
            3 => {
                let of = self.below(self.inputs.len());
                let (start, end) = self.range(self.inputs[of].len());
                let piece = self.inputs[of][start..end].to_vec();
                bytes.splice(from..to, piece);
            }
            4 => bytes.truncate(to),
            5 => drop(bytes.splice(from..to, PIECES[self.below(PIECES.len())].iter().copied())),
            _ => drop(bytes.splice(from..from, PIECES[self.below(PIECES.len())].iter().copied())),
        }
    }

    /// A stretch of so many bytes, mostly a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 12 };
        (from, (from + self.below(most + 1)).min(length))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % bound.max(1) as u64) as usize
    }
}
