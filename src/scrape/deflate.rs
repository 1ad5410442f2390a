//! Deflate (RFC 1951) for expositions: pages of a few kilobytes whose lines differ in some digits from the lines before them.
//!
//! General compressors pay for what such pages do not have: zlib-rs clears 128 KB of tables before each, and looks at several
//! places for every match. Here a table of 4 KB remembers where the last match or literal with the same five bytes began, and where a
//! match ends, the distance of the last one is tried first: lines repeat at the distance of a line. On the text of a fleet that is twice
//! as fast as zlib's level 2 on pages of this size, and packs as well. Other text only packs worse, never wrong.
//!
//! ```text
//! page = block … stored block without content, which ends at a byte border
//! block = dynamic Huffman codes, or stored where that is shorter; of at most BLOCK bytes, and refers to nothing before it
//! ```

/// Bytes of a block: positions have 16 bits, and every distance is below the 32 KiB that deflate allows.
const BLOCK: usize = 32 << 10;
const HASH_BITS: u32 = 11;
/// Shortest match that is looked for.
const MATCH_MIN: usize = 4;
const MATCH_MAX: usize = 258;
/// Farther away, a match of four bytes is not worth its distance.
const NEAR: usize = 512;
const FOUR_BYTES: u64 = 0xffff_ffff;
const FIVE_BYTES: u64 = 0xff_ffff_ffff;
const END_OF_BLOCK: usize = 256;
const N_LITERALS: usize = 286;
const N_DISTANCES: usize = 30;
const CODE_LEN_MAX: usize = 15;
/// In this order the lengths of the codes for code lengths are written.
const LENGTHS_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// By length less 3: symbol less 257, and how many bits follow it.
const LENGTHS: [(u8, u8); 256] = {
    let mut table = [(0, 0); 256];
    let mut i = 0;
    while i < 255 {
        let mut extra = 0;
        while i >> (extra + 3) != 0 {
            extra += 1;
        }
        table[i] = if i < 8 { (i as u8, 0) } else { ((4 * extra + (i >> extra)) as u8, extra as u8) };
        i += 1;
    }
    // RFC 1951, 3.2.5: the longest one has a symbol of its own.
    table[255] = (28, 0);
    table
};

/// Symbol of a distance and how many bits follow it.
fn distance_symbol(distance: u32) -> (u32, u32) {
    let rest = distance - 1;
    if rest < 4 {
        return (rest, 0);
    }
    let extra = rest.ilog2() - 1;
    (2 * extra + (rest >> extra), extra)
}

/// A literal, or a match: `MATCH | length less 3 << 16 | distance`.
type Token = u32;
const MATCH: Token = 1 << 31;

/// Codes of an alphabet by symbol: bits to write, the first one lowest, and how many.
#[derive(Clone, Copy, Default)]
struct Code {
    bits: u16,
    len: u8,
}

/// The memory that compressing takes; it keeps nothing else from one call to the next.
pub(super) struct Deflater {
    /// By hash of some bytes, where they were seen last.
    seen: Box<[u16; 1 << HASH_BITS]>,
    tokens: Box<[Token; BLOCK]>,
    n_tokens: usize,
    n_literals: [u32; N_LITERALS],
    n_distances: [u32; N_DISTANCES],
    literals: [Code; N_LITERALS],
    distances: [Code; N_DISTANCES],
    /// Symbols with how often they occur, while a code is made.
    sorted: Vec<(u32, u16)>,
    /// What was written last; kept for its memory.
    out: Vec<u8>,
}

impl Deflater {
    pub fn new() -> Self {
        Self {
            seen: Box::new([0; 1 << HASH_BITS]),
            tokens: vec![0; BLOCK].try_into().expect("it has this length"),
            n_tokens: 0,
            n_literals: [0; N_LITERALS],
            n_distances: [0; N_DISTANCES],
            literals: [Code::default(); N_LITERALS],
            distances: [Code::default(); N_DISTANCES],
            sorted: Vec::new(),
            out: Vec::new(),
        }
    }

    /// `bytes` as blocks that are not final and end at a byte border.
    pub fn deflate(&mut self, bytes: &[u8]) -> &[u8] {
        let mut writer = Writer::new(std::mem::take(&mut self.out));
        for block in bytes.chunks(BLOCK) {
            self.find_matches(block);
            self.write_block(block, &mut writer);
        }
        writer.put(0, 3);
        writer.align();
        writer.bytes(&[0, 0, 0xff, 0xff]);
        let len = writer.at;
        self.out = writer.out;
        &self.out[..len]
    }

    fn find_matches(&mut self, block: &[u8]) {
        self.seen.fill(0);
        self.n_literals = [0; N_LITERALS];
        self.n_distances = [0; N_DISTANCES];
        self.n_literals[END_OF_BLOCK] = 1;
        let (mut last_distance, mut at, mut n_tokens) = (1, 0, 0);
        // Reading eight bytes is possible up to here.
        let end = block.len().saturating_sub(7);
        while at < end {
            let word = word_at(block, at);
            let before = usize::from(std::mem::replace(&mut self.seen[hash(word)], at as u16));
            let differ = |from: usize| word_at(block, from) ^ word;
            let mut from = at.wrapping_sub(last_distance);
            if from >= at || differ(from) & FOUR_BYTES != 0 {
                from = before;
                // Four digits that were seen far away cost more as a match.
                let bytes = if at - from > NEAR { FIVE_BYTES } else { FOUR_BYTES };
                if from == at || differ(from) & bytes != 0 {
                    self.n_literals[usize::from(block[at])] += 1;
                    self.tokens[n_tokens] = u32::from(block[at]);
                    n_tokens += 1;
                    at += 1;
                    continue;
                }
            }
            let len = match_len(block, from, at);
            last_distance = at - from;
            self.n_literals[257 + usize::from(LENGTHS[len - 3].0)] += 1;
            self.n_distances[distance_symbol(last_distance as u32).0 as usize] += 1;
            self.tokens[n_tokens] = MATCH | ((len - 3) as u32) << 16 | last_distance as u32;
            n_tokens += 1;
            at += len;
        }
        for &byte in &block[at..] {
            self.n_literals[usize::from(byte)] += 1;
            self.tokens[n_tokens] = u32::from(byte);
            n_tokens += 1;
        }
        self.n_tokens = n_tokens;
    }

    fn write_block(&mut self, block: &[u8], writer: &mut Writer) {
        let mut lens = [0u8; N_LITERALS + N_DISTANCES];
        make_code(&self.n_literals, CODE_LEN_MAX, &mut self.sorted, &mut lens[..N_LITERALS], &mut self.literals);
        make_code(&self.n_distances, CODE_LEN_MAX, &mut self.sorted, &mut lens[N_LITERALS..], &mut self.distances);
        let used = |lens: &[u8], min: usize| lens.iter().rposition(|&len| len > 0).map_or(min, |last| (last + 1).max(min));
        let n_literals = used(&lens[..N_LITERALS], 257);
        let n_distances = used(&lens[N_LITERALS..], 1);
        lens.copy_within(N_LITERALS..N_LITERALS + n_distances, n_literals);
        let runs = Runs::of(&lens[..n_literals + n_distances]);
        let (mut run_lens, mut run_codes) = ([0; 19], [Code::default(); 19]);
        make_code(&runs.n_symbols, 7, &mut self.sorted, &mut run_lens, &mut run_codes);
        let n_run_lens = LENGTHS_ORDER.iter().rposition(|&symbol| run_lens[symbol] > 0).map_or(4, |last| (last + 1).max(4));

        let run_bits = |&(symbol, _): &(u8, u8)| u64::from(run_lens[usize::from(symbol)]) + u64::from(n_extra_of_run(symbol));
        let header_bits = 17 + 3 * n_run_lens as u64 + runs.all[..runs.n].iter().map(run_bits).sum::<u64>();
        let bits_of = |(&n, &code): (&u32, &Code)| u64::from(n) * u64::from(code.len);
        let literal_bits: u64 = self.n_literals.iter().zip(&self.literals).map(bits_of).sum();
        // Matches are not counted: where there are many of them, a block is far shorter than what it packs.
        if (header_bits + literal_bits) / 8 >= block.len() as u64 + 4 {
            writer.put(0, 3);
            writer.align();
            let len = block.len() as u16;
            writer.bytes(&len.to_le_bytes());
            writer.bytes(&(!len).to_le_bytes());
            writer.bytes(block);
            return;
        }
        writer.put(0b100, 3);
        writer.put((n_literals - 257) as u64, 5);
        writer.put((n_distances - 1) as u64, 5);
        writer.put((n_run_lens - 4) as u64, 4);
        for &symbol in &LENGTHS_ORDER[..n_run_lens] {
            writer.put(u64::from(run_lens[symbol]), 3);
        }
        for &(symbol, extra) in &runs.all[..runs.n] {
            let code = run_codes[usize::from(symbol)];
            writer.put(u64::from(code.bits) | u64::from(extra) << code.len, u32::from(code.len) + n_extra_of_run(symbol));
        }
        // Of six bytes at most; a match takes the place of four at least.
        writer.reserve(self.n_tokens * 6);
        for &token in &self.tokens[..self.n_tokens] {
            if token & MATCH == 0 {
                let code = self.literals[token as usize & 0xff];
                writer.put_reserved(u64::from(code.bits), u32::from(code.len));
                continue;
            }
            let len = (token >> 16) as usize & 0xff;
            let (symbol, n_extra) = LENGTHS[len];
            let code = self.literals[257 + usize::from(symbol)];
            let (mut bits, mut n_bits) = (u64::from(code.bits), u32::from(code.len));
            bits |= ((len & ((1 << n_extra) - 1)) as u64) << n_bits;
            n_bits += u32::from(n_extra);
            let distance = token & 0xffff;
            let (symbol, n_extra) = distance_symbol(distance);
            let code = self.distances[symbol as usize];
            bits |= u64::from(code.bits) << n_bits;
            n_bits += u32::from(code.len);
            bits |= u64::from((distance - 1) & ((1 << n_extra) - 1)) << n_bits;
            writer.put_reserved(bits, n_bits + n_extra);
        }
        let code = self.literals[END_OF_BLOCK];
        writer.put(u64::from(code.bits), u32::from(code.len));
    }
}

fn word_at(block: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*block[at..].first_chunk().expect("eight bytes are left"))
}

/// Of five bytes.
fn hash(word: u64) -> usize {
    ((word << 24).wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - HASH_BITS)) as usize
}

/// How many bytes at `from` and `at`, which share the first [`MATCH_MIN`], are alike.
fn match_len(block: &[u8], from: usize, at: usize) -> usize {
    let max = (block.len() - at).min(MATCH_MAX);
    let (a, b) = (&block[from..from + max], &block[at..at + max]);
    let mut len = MATCH_MIN;
    while len + 8 <= max {
        let differ = word_at(a, len) ^ word_at(b, len);
        if differ != 0 {
            return len + differ.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    while len < max && a[len] == b[len] {
        len += 1;
    }
    len
}

/// Code lengths as they are written: symbols 0 to 15 are lengths, 16 repeats the last one, 17 and 18 are many zeros.
struct Runs {
    all: [(u8, u8); N_LITERALS + N_DISTANCES],
    n: usize,
    n_symbols: [u32; 19],
}

impl Runs {
    fn of(lens: &[u8]) -> Self {
        let mut this = Self { all: [(0, 0); N_LITERALS + N_DISTANCES], n: 0, n_symbols: [0; 19] };
        for same in lens.chunk_by(|a, b| a == b) {
            let (len, mut left) = (same[0], same.len());
            if len > 0 {
                this.add(len, 0);
                left -= 1;
            }
            while left >= 3 {
                let (symbol, min, max) = match (len, left) {
                    (0, 11..) => (18, 11, 138),
                    (0, _) => (17, 3, 10),
                    _ => (16, 3, 6),
                };
                let n = left.min(max);
                this.add(symbol, (n - min) as u8);
                left -= n;
            }
            (0..left).for_each(|_| this.add(len, 0));
        }
        this
    }

    fn add(&mut self, symbol: u8, extra: u8) {
        self.all[self.n] = (symbol, extra);
        self.n += 1;
        self.n_symbols[usize::from(symbol)] += 1;
    }
}

fn n_extra_of_run(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// Makes a prefix code of lengths up to `len_max` for symbols that occur so often: almost as short as can be.
fn make_code(counts: &[u32], len_max: usize, sorted: &mut Vec<(u32, u16)>, lens: &mut [u8], codes: &mut [Code]) {
    sorted.clear();
    sorted.extend((0..).zip(counts).filter(|&(_, &count)| count > 0).map(|(symbol, &count)| (count, symbol)));
    sorted.sort_unstable();
    // How many codes there are of each length.
    let mut n_of_len = [0u32; 33];
    match sorted.len() {
        0 => {}
        // A code of one symbol has one bit all the same.
        1 => n_of_len[1] = 1,
        _ => {
            minimum_redundancy(sorted);
            sorted.iter().for_each(|&(len, _)| n_of_len[(len as usize).min(32)] += 1);
            limit_lens(&mut n_of_len, len_max);
        }
    }
    // The most frequent symbols stand last and get the shortest codes.
    lens.fill(0);
    let mut symbols = sorted.iter().rev();
    for (len, &n) in (1..).zip(&n_of_len[1..=len_max]) {
        for &(_, symbol) in symbols.by_ref().take(n as usize) {
            lens[usize::from(symbol)] = len;
        }
    }
    // RFC 1951, 3.2.2: codes of a length follow each other in the order of symbols.
    let mut next = [0u16; CODE_LEN_MAX + 2];
    for len in 1..=CODE_LEN_MAX {
        next[len + 1] = (next[len] + n_of_len[len] as u16) << 1;
    }
    for (code, &len) in codes.iter_mut().zip(&*lens) {
        *code = Code::default();
        if len > 0 {
            let bits = next[usize::from(len)];
            next[usize::from(len)] += 1;
            *code = Code { bits: bits.reverse_bits() >> (16 - len), len };
        }
    }
}

/// Replaces ascending counts by the lengths of Huffman codes, in place (Moffat and Katajainen, 1995).
fn minimum_redundancy(a: &mut [(u32, u16)]) {
    let n = a.len();
    a[0].0 += a[1].0;
    let (mut root, mut leaf) = (0, 2);
    for next in 1..n - 1 {
        if leaf >= n || a[root].0 < a[leaf].0 {
            a[next].0 = a[root].0;
            a[root].0 = next as u32;
            root += 1;
        } else {
            a[next].0 = a[leaf].0;
            leaf += 1;
        }
        if leaf >= n || (root < next && a[root].0 < a[leaf].0) {
            a[next].0 += a[root].0;
            a[root].0 = next as u32;
            root += 1;
        } else {
            a[next].0 += a[leaf].0;
            leaf += 1;
        }
    }
    a[n - 2].0 = 0;
    for next in (0..n - 2).rev() {
        a[next].0 = a[a[next].0 as usize].0 + 1;
    }
    let (mut available, mut used, mut depth) = (1, 0, 0);
    let (mut root, mut next) = (n as isize - 2, n as isize - 1);
    while available > 0 {
        while root >= 0 && a[root as usize].0 == depth {
            used += 1;
            root -= 1;
        }
        while available > used {
            a[next as usize].0 = depth;
            next -= 1;
            available -= 1;
        }
        available = 2 * used;
        depth += 1;
        used = 0;
    }
}

/// Shortens codes above `len_max` and lengthens others until the code is complete again.
fn limit_lens(n_of_len: &mut [u32; 33], len_max: usize) {
    for len in len_max + 1..n_of_len.len() {
        n_of_len[len_max] += std::mem::take(&mut n_of_len[len]);
    }
    let mut total: u32 = (1..=len_max).map(|len| n_of_len[len] << (len_max - len)).sum();
    while total > 1 << len_max {
        n_of_len[len_max] -= 1;
        let shorter = (1..len_max).rev().find(|&len| n_of_len[len] > 0).expect("fewer symbols than codes of this length");
        n_of_len[shorter] -= 1;
        n_of_len[shorter + 1] += 2;
        total -= 1;
    }
}

/// Writes bits, the first one lowest.
struct Writer {
    out: Vec<u8>,
    /// Bytes of `out` that are written; it is longer.
    at: usize,
    bits: u64,
    n_bits: u32,
}

impl Writer {
    fn new(out: Vec<u8>) -> Self {
        Self { out, at: 0, bits: 0, n_bits: 0 }
    }

    /// Up to 48 bits.
    fn put(&mut self, bits: u64, n_bits: u32) {
        self.reserve(0);
        self.put_reserved(bits, n_bits);
    }

    /// Makes room for so many bytes.
    fn reserve(&mut self, n_bytes: usize) {
        let len = self.at + n_bytes + 8;
        if self.out.len() < len {
            self.out.resize(len, 0);
        }
    }

    #[inline(always)]
    fn put_reserved(&mut self, bits: u64, n_bits: u32) {
        self.bits |= bits << self.n_bits;
        self.n_bits += n_bits;
        self.out[self.at..self.at + 8].copy_from_slice(&self.bits.to_le_bytes());
        let n_bytes = self.n_bits / 8;
        self.at += n_bytes as usize;
        self.bits >>= n_bytes * 8;
        self.n_bits %= 8;
    }

    fn align(&mut self) {
        self.put(0, (8 - self.n_bits) % 8);
    }

    /// At a byte border only.
    fn bytes(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// What `bytes` are packed to, which has to unpack to the same.
    fn check(bytes: &[u8]) -> usize {
        let mut member = Deflater::new().deflate(bytes).to_vec();
        let len = member.len();
        // A final block without content.
        member.extend_from_slice(&[3, 0]);
        let mut unpacked = Vec::new();
        flate2::read::DeflateDecoder::new(&member[..]).read_to_end(&mut unpacked).expect("valid blocks");
        assert!(unpacked == bytes, "{} bytes", bytes.len());
        len
    }

    #[test]
    fn lengths_and_distances_have_the_symbols_of_the_rfc() {
        let length = |len: usize| (u32::from(LENGTHS[len - 3].0) + 257, u32::from(LENGTHS[len - 3].1));
        for (len, symbol) in [(3, (257, 0)), (10, (264, 0)), (11, (265, 1)), (18, (268, 1)), (19, (269, 2)), (114, (279, 4))] {
            assert_eq!(length(len), symbol);
        }
        assert_eq!((length(115), length(257), length(258)), ((280, 4), (284, 5), (285, 0)));
        for (distance, symbol) in [(1, (0, 0)), (4, (3, 0)), (5, (4, 1)), (8, (5, 1)), (9, (6, 2)), (32_768, (29, 13))] {
            assert_eq!(distance_symbol(distance), symbol);
        }
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same() {
        let mut random = fastrand::Rng::with_seed(4);
        for n in (0..40).chain([255, 256, 257, 4_000, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 77]) {
            for n_letters in [1, 2, 3, 20, 256] {
                let bytes: Vec<u8> = (0..n).map(|_| random.u16(..n_letters) as u8).collect();
                assert!(check(&bytes) <= n + 5 * n.div_ceil(BLOCK) + 6);
            }
        }
    }

    /// Counts like Fibonacci's numbers ask for codes of more bits than there are.
    #[test]
    fn rare_symbols_get_codes_that_are_not_too_long() {
        let (mut bytes, mut a, mut b) = (Vec::new(), 1, 1);
        for letter in 0..20 {
            bytes.extend(std::iter::repeat_n(letter, a));
            (a, b) = (b, a + b);
        }
        fastrand::Rng::with_seed(1).shuffle(&mut bytes);
        check(&bytes);
    }

    #[test]
    fn random_lines_unpack_to_the_same() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..300 {
            let (n_lines, n_words) = (random.usize(..400), random.usize(1..30));
            let words: Vec<String> = (0..n_words).map(|_| random.u64(..).to_string().repeat(random.usize(..9))).collect();
            let mut text = String::new();
            for _ in 0..n_lines {
                (0..random.usize(..5)).for_each(|_| text += &words[random.usize(..n_words)]);
                let n_bits = random.u8(..32);
                text += &format!("{}\n", random.u32(..1 << n_bits));
            }
            check(text.as_bytes());
        }
    }

    #[test]
    fn lines_of_a_fleet_pack_to_a_ninth() {
        let mut random = fastrand::Rng::with_seed(6);
        let line = |n: usize| {
            let value = random.u32(1_000..10_000);
            format!("batch_records_total{{instance=\"node-{n:07}\",job=\"fleet\",step=\"read\"}} {value}\n")
        };
        let text: String = (0..200).map(line).collect();
        assert!(check(text.as_bytes()) < text.len() / 9);
    }
}
