//! Operands and modifiers, from the text of the disassembler.

use crate::Fault;

/// What an instruction reads or writes. Registers are the first of `count`; accumulation registers follow the vector
/// registers from 256 on, as in the unified register file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Vector {
        first: usize,
        count: usize,
    },
    Scalar {
        first: usize,
        count: usize,
    },
    Exec,
    /// A constant of 64 bits; 32-bit instructions take its low half.
    Constant(u64),
    /// No address register: the address is wholly in the other operand.
    Off,
}

/// `vcc` lies in the scalar register file behind the numbered registers.
pub(crate) const VCC: usize = 106;

/// An operand with its sign modifiers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    pub(crate) place: Place,
    pub(crate) negate: bool,
    pub(crate) absolute: bool,
}

/// Which part of a register an SDWA operand means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Select {
    #[default]
    Dword,
    Word(u32),
    Byte(u32),
}

/// Everything after the operands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Modifiers {
    pub(crate) offset: i64,
    pub(crate) offset0: i64,
    pub(crate) offset1: i64,
    pub(crate) select: [u8; 3],
    pub(crate) select_high: Option<[u8; 3]>,
    pub(crate) negate_low: [u8; 3],
    pub(crate) negate_high: [u8; 3],
    pub(crate) source: [Select; 2],
    pub(crate) destination: Select,
}

fn register_range(text: &str) -> Option<(usize, usize)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (a, b) = inner.strip_suffix(']')?.split_once(':')?;
        let (a, b): (usize, usize) = (a.parse().ok()?, b.parse().ok()?);
        return Some((a, b.checked_sub(a)? + 1));
    }
    Some((text.parse().ok()?, 1))
}

fn constant(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if digits.contains('.') {
        let value: f32 = text.parse().ok()?;
        return Some(u64::from(value.to_bits()));
    }
    let magnitude = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { magnitude.wrapping_neg() } else { magnitude })
}

fn place(text: &str) -> Option<Place> {
    match text {
        "vcc" => return Some(Place::Scalar { first: VCC, count: 2 }),
        "vcc_lo" => return Some(Place::Scalar { first: VCC, count: 1 }),
        "vcc_hi" => return Some(Place::Scalar { first: VCC + 1, count: 1 }),
        "exec" => return Some(Place::Exec),
        "off" => return Some(Place::Off),
        _ => {}
    }
    let vector = |base| move |(first, count)| Place::Vector { first: first + base, count };
    if let Some(rest) = text.strip_prefix('v') {
        return register_range(rest).map(vector(0));
    }
    if let Some(rest) = text.strip_prefix('a') {
        return register_range(rest).map(vector(256));
    }
    if let Some(rest) = text.strip_prefix('s') {
        return register_range(rest).map(|(first, count)| Place::Scalar { first, count });
    }
    constant(text).map(Place::Constant)
}

pub(crate) fn operand(text: &str) -> Result<Operand, Fault> {
    let unknown = || Fault::Unknown(format!("operand {text}"));
    if let Some(place) = place(text) {
        return Ok(Operand { place, negate: false, absolute: false });
    }
    let (negate, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (absolute, rest) = match rest.strip_prefix('|').and_then(|r| r.strip_suffix('|')) {
        Some(inner) => (true, inner),
        None => (false, rest),
    };
    Ok(Operand { place: place(rest).ok_or_else(unknown)?, negate, absolute })
}

fn bits(text: &str) -> Option<[u8; 3]> {
    let mut all = [0; 3];
    for (i, part) in text.strip_prefix('[')?.strip_suffix(']')?.split(',').enumerate() {
        *all.get_mut(i)? = part.parse().ok()?;
    }
    Some(all)
}

fn select(text: &str) -> Option<Select> {
    if text == "DWORD" {
        return Some(Select::Dword);
    }
    if let Some(n) = text.strip_prefix("WORD_") {
        return n.parse().ok().map(Select::Word);
    }
    text.strip_prefix("BYTE_")?.parse().ok().map(Select::Byte)
}

/// Takes one `name:value`; `None` if it is none that is known.
fn modifier(into: &mut Modifiers, name: &str, value: &str) -> Option<()> {
    let number = || value.parse::<i64>().ok();
    match name {
        "offset" => into.offset = number()?,
        "offset0" => into.offset0 = number()?,
        "offset1" => into.offset1 = number()?,
        "op_sel" => into.select = bits(value)?,
        "op_sel_hi" => into.select_high = Some(bits(value)?),
        "neg_lo" => into.negate_low = bits(value)?,
        "neg_hi" => into.negate_high = bits(value)?,
        "src0_sel" => into.source[0] = select(value)?,
        "src1_sel" => into.source[1] = select(value)?,
        "dst_sel" => into.destination = select(value)?,
        "dst_unused" if value == "UNUSED_PAD" => {}
        _ => return None,
    }
    Some(())
}

/// Splits what follows the mnemonic into operands and modifiers.
pub(crate) fn operands(text: &str) -> Result<(Vec<Operand>, Modifiers), Fault> {
    let mut modifiers = Modifiers::default();
    let mut parsed = Vec::new();
    let mut depth = 0;
    let parts = text.split(|c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth == 0
    });
    for part in parts {
        let mut words = part.split_whitespace();
        let Some(first) = words.next() else { continue };
        parsed.push(operand(first)?);
        for word in words {
            let known = word.split_once(':').and_then(|(name, value)| modifier(&mut modifiers, name, value));
            known.ok_or_else(|| Fault::Unknown(format!("modifier {word}")))?;
        }
    }
    Ok((parsed, modifiers))
}
