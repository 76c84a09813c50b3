//! Compressed messages, against an inflater that reads RFC 1951 by the letter, one bit at a time; and what
//! the node compresses, against the same.

use omnicast::wire::deflate::Codec;

/// The message of that payload, or the code to close with.
pub fn naive_inflate(payload: &[u8], limit: usize) -> Result<Vec<u8>, u16> {
    // RFC 7692 section 7.2.2.
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut naive = Naive { input: &input, bit: 0, out: Vec::new(), limit };
    loop {
        let is_last = naive.bits(1)? == 1;
        match naive.bits(2)? {
            0 => naive.stored()?,
            1 => naive.fixed()?,
            2 => naive.dynamic()?,
            _ => return Err(1002),
        }
        let at = naive.bit.div_ceil(8);
        if is_last {
            // What may follow is the byte of an empty block (7.2.3.4).
            let rest = payload.get(at..).ok_or(1002u16)?;
            return if matches!(rest, [] | [0]) { Ok(naive.out) } else { Err(1002) };
        }
        if naive.bit == input.len() * 8 {
            return Ok(naive.out);
        }
    }
}

struct Naive<'a> {
    input: &'a [u8],
    bit: usize,
    out: Vec<u8>,
    limit: usize,
}

/// Codes by length, and symbols in the order of their codes (RFC 1951 section 3.2.2).
struct Codes {
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl Codes {
    /// `None` where there are more codes than fit. `left` says how many would still fit.
    fn new(lengths: &[u8]) -> Option<(Codes, i32)> {
        let mut counts = [0; 16];
        lengths.iter().for_each(|length| counts[usize::from(*length)] += 1);
        let mut left = 1i32;
        for count in &counts[1..] {
            left = (left << 1) - i32::from(*count);
            if left < 0 {
                return None;
            }
        }
        let mut symbols: Vec<u16> =
            (0..lengths.len() as u16).filter(|symbol| lengths[usize::from(*symbol)] != 0).collect();
        symbols.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
        Some((Codes { counts, symbols }, left))
    }
}

impl Naive<'_> {
    fn bits(&mut self, count: usize) -> Result<usize, u16> {
        let mut value = 0;
        for i in 0..count {
            let byte = self.input.get(self.bit / 8).ok_or(1002u16)?;
            value |= usize::from(byte >> (self.bit % 8) & 1) << i;
            self.bit += 1;
        }
        Ok(value)
    }

    fn put(&mut self, byte: u8) -> Result<(), u16> {
        self.out.push(byte);
        if self.out.len() > self.limit { Err(1009) } else { Ok(()) }
    }

    fn stored(&mut self) -> Result<(), u16> {
        self.bit = self.bit.next_multiple_of(8);
        let (len, inverse) = (self.bits(16)?, self.bits(16)?);
        if len != !inverse & 0xffff {
            return Err(1002);
        }
        for _ in 0..len {
            let byte = self.bits(8)? as u8;
            self.put(byte)?;
        }
        Ok(())
    }

    fn fixed(&mut self) -> Result<(), u16> {
        let lengths: Vec<u8> = (0..288)
            .map(|symbol| match symbol {
                0..144 | 280..288 => 8,
                144..256 => 9,
                _ => 7,
            })
            .collect();
        let (literals, _) = Codes::new(&lengths).unwrap();
        let (distances, _) = Codes::new(&[5; 32]).unwrap();
        self.block(&literals, &distances)
    }

    /// The code that there is is complete, but for one that has a single symbol of one bit, and for none at
    /// all: the rules of zlib, which the RFC leaves open.
    fn dynamic(&mut self) -> Result<(), u16> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let (literals, distances, coded) = (self.bits(5)? + 257, self.bits(5)? + 1, self.bits(4)? + 4);
        if literals > 286 || distances > 30 {
            return Err(1002);
        }
        let mut lengths = [0; 19];
        for place in &ORDER[..coded] {
            lengths[*place] = self.bits(3)? as u8;
        }
        let (codes, left) = Codes::new(&lengths).ok_or(1002u16)?;
        if left != 0 {
            return Err(1002);
        }
        let mut lengths: Vec<u8> = Vec::new();
        while lengths.len() < literals + distances {
            let (value, times) = match self.symbol(&codes)? {
                16 => (*lengths.last().ok_or(1002u16)?, 3 + self.bits(2)?),
                17 => (0, 3 + self.bits(3)?),
                18 => (0, 11 + self.bits(7)?),
                length => (length as u8, 1),
            };
            lengths.extend(std::iter::repeat_n(value, times));
        }
        if lengths.len() > literals + distances || lengths[256] == 0 {
            return Err(1002);
        }
        let set = |lengths: &[u8]| {
            let (codes, left) = Codes::new(lengths).ok_or(1002u16)?;
            let longest = lengths.iter().max().copied().unwrap_or(0);
            if left == 0 || longest <= 1 { Ok(codes) } else { Err(1002u16) }
        };
        let (first, second) = lengths.split_at(literals);
        self.block(&set(first)?, &set(second)?)
    }

    fn symbol(&mut self, codes: &Codes) -> Result<u16, u16> {
        let (mut code, mut first, mut index) = (0i32, 0i32, 0i32);
        for count in &codes.counts[1..] {
            code |= self.bits(1)? as i32;
            let count = i32::from(*count);
            if code - count < first {
                return Ok(codes.symbols[(index + code - first) as usize]);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(1002)
    }

    fn block(&mut self, literals: &Codes, distances: &Codes) -> Result<(), u16> {
        const LENGTHS: [usize; 29] = [
            3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
            163, 195, 227, 258,
        ];
        loop {
            let symbol = usize::from(self.symbol(literals)?);
            match symbol {
                0..256 => self.put(symbol as u8)?,
                256 => return Ok(()),
                _ => {
                    let length = *LENGTHS.get(symbol - 257).ok_or(1002u16)?;
                    let extra = if (265..285).contains(&symbol) { (symbol - 261) / 4 } else { 0 };
                    let length = length + self.bits(extra)?;
                    let symbol = usize::from(self.symbol(distances)?);
                    if symbol > 29 {
                        return Err(1002);
                    }
                    let distance = if symbol < 4 {
                        1 + symbol
                    } else {
                        let extra = symbol / 2 - 1;
                        1 + ((2 + symbol % 2) << extra) + self.bits(extra)?
                    };
                    let from = self.out.len().checked_sub(distance).ok_or(1002u16)?;
                    for i in 0..length {
                        let byte = self.out[from + i];
                        self.put(byte)?;
                    }
                }
            }
        }
    }
}

pub fn run(data: &[u8]) {
    let [first, payload @ ..] = data else { return };
    let mut codec = Codec::default();
    let limits = [16, 300, 70_000];
    // One after the other through the same inflater: nothing is left of the one before.
    for turn in 0..3 {
        let limit = limits[(usize::from(*first) + turn) % 3];
        let ours = codec.inflater.inflate(payload, limit).map(<[u8]>::to_vec);
        assert_eq!(ours.map_err(|fault| fault.close_code()), naive_inflate(payload, limit), "within {limit}");
    }
    // The same bytes as a message of the node's.
    if let Some(deflated) = codec.deflater.deflate(payload) {
        assert!(deflated.len() < payload.len());
        assert_eq!(naive_inflate(deflated, payload.len()).as_deref(), Ok(payload));
        assert_eq!(codec.inflater.inflate(deflated, payload.len()), Ok(payload));
    }
}
