//! The registers of a wave, and how instructions reach them.

use crate::code::Instruction;
use crate::operand::{Operand, Place, Select, VCC};
use crate::{Fault, LANES};

const VECTOR_REGISTERS: usize = 512;
const SCALAR_REGISTERS: usize = VCC + 2;

/// One value for each lane.
pub(crate) type Lanes = [u32; LANES];
pub(crate) type Lanes64 = [u64; LANES];

pub(crate) struct Wave {
    pub(crate) scalar: [u32; SCALAR_REGISTERS],
    pub(crate) vector: Vec<Lanes>,
    pub(crate) exec: u64,
    pub(crate) scc: bool,
    /// Index of the next instruction.
    pub(crate) next: usize,
    pub(crate) index: u32,
    pub(crate) done: bool,
    /// Halves of a result that is written when both are known: a source may be the destination.
    held: [Lanes; 2],
}

pub(crate) type Done = Result<(), String>;

fn odd(operand: &Operand) -> String {
    Fault::Unknown(format!("use of {operand:?}")).to_string()
}

impl Wave {
    pub(crate) fn new(index: u32, entry: usize) -> Self {
        let mut vector = vec![[0; LANES]; VECTOR_REGISTERS];
        for (lane, id) in vector[0].iter_mut().enumerate() {
            *id = index * LANES as u32 + lane as u32;
        }
        Self {
            scalar: [0; SCALAR_REGISTERS],
            vector,
            exec: u64::MAX,
            scc: false,
            next: entry,
            index,
            done: false,
            held: [[0; LANES]; 2],
        }
    }

    pub(crate) fn active(&self, lane: usize) -> bool {
        self.exec >> lane & 1 != 0
    }

    pub(crate) fn vcc(&self) -> u64 {
        u64::from(self.scalar[VCC]) | u64::from(self.scalar[VCC + 1]) << 32
    }

    pub(crate) fn scalar32(&self, operand: &Operand) -> Result<u32, String> {
        match operand.place {
            Place::Scalar { first, .. } => self.scalar.get(first).copied().ok_or_else(|| odd(operand)),
            Place::Constant(value) => Ok(value as u32),
            Place::Exec => Ok(self.exec as u32),
            _ => Err(odd(operand)),
        }
    }

    pub(crate) fn scalar64(&self, operand: &Operand) -> Result<u64, String> {
        match operand.place {
            Place::Scalar { first, count: 2 } => {
                let pair = self.scalar.get(first..first + 2).ok_or_else(|| odd(operand))?;
                Ok(u64::from(pair[0]) | u64::from(pair[1]) << 32)
            }
            Place::Constant(value) => Ok(value),
            Place::Exec => Ok(self.exec),
            _ => Err(odd(operand)),
        }
    }

    pub(crate) fn set_scalar32(&mut self, operand: &Operand, value: u32) -> Done {
        let Place::Scalar { first, .. } = operand.place else { return Err(odd(operand)) };
        *self.scalar.get_mut(first).ok_or_else(|| odd(operand))? = value;
        Ok(())
    }

    pub(crate) fn set_scalar64(&mut self, operand: &Operand, value: u64) -> Done {
        match operand.place {
            Place::Exec => self.exec = value,
            Place::Scalar { first, count: 2 } if first + 1 < SCALAR_REGISTERS => {
                self.scalar[first] = value as u32;
                self.scalar[first + 1] = (value >> 32) as u32;
            }
            _ => return Err(odd(operand)),
        }
        Ok(())
    }

    /// 32 bits of each lane, without the sign modifiers.
    fn raw(&self, operand: &Operand) -> Result<Lanes, String> {
        match operand.place {
            Place::Vector { first, .. } => self.vector.get(first).copied().ok_or_else(|| odd(operand)),
            _ => self.scalar32(operand).map(|v| [v; LANES]),
        }
    }

    /// Source number `n` of an instruction whose first operand is its destination: the part that SDWA selects, and
    /// sign modifiers as of binary32.
    pub(crate) fn source(&self, i: &Instruction, n: usize) -> Result<Lanes, String> {
        let operand = i.operands.get(n + 1).ok_or("an operand is missing")?;
        let mut lanes = self.selected(i, n)?;
        for v in &mut lanes {
            *v = if operand.absolute { *v & 0x7fff_ffff } else { *v };
            *v ^= u32::from(operand.negate) << 31;
        }
        Ok(lanes)
    }

    /// As [`Wave::source`], without the sign modifiers.
    pub(crate) fn selected(&self, i: &Instruction, n: usize) -> Result<Lanes, String> {
        let operand = i.operands.get(n + 1).ok_or("an operand is missing")?;
        let mut lanes = self.raw(operand)?;
        match i.modifiers.source.get(n).copied().unwrap_or_default() {
            Select::Dword => {}
            Select::Word(w) => lanes.iter_mut().for_each(|v| *v = *v >> (16 * w) & 0xffff),
            Select::Byte(b) => lanes.iter_mut().for_each(|v| *v = *v >> (8 * b) & 0xff),
        }
        Ok(lanes)
    }

    /// 32 bits of each lane of an operand without modifiers.
    pub(crate) fn lanes_of(&self, operand: &Operand) -> Result<Lanes, String> {
        self.raw(operand)
    }

    pub(crate) fn hold(&mut self, half: usize, lanes: Lanes) {
        self.held[half] = lanes;
    }

    pub(crate) fn release(&mut self, operand: &Operand) -> Done {
        let [low, high] = self.held;
        self.set_at(operand, 0, &low)?;
        self.set_at(operand, 1, &high)
    }

    pub(crate) fn floats(&self, i: &Instruction, n: usize) -> Result<[f32; LANES], String> {
        self.source(i, n).map(|lanes| lanes.map(f32::from_bits))
    }

    /// 64 bits of each lane.
    pub(crate) fn lanes64(&self, operand: &Operand) -> Result<Lanes64, String> {
        if operand.negate || operand.absolute {
            return Err(odd(operand));
        }
        match operand.place {
            Place::Vector { first, count: 2 } if first + 1 < VECTOR_REGISTERS => {
                let (low, high) = (&self.vector[first], &self.vector[first + 1]);
                Ok(std::array::from_fn(|l| u64::from(low[l]) | u64::from(high[l]) << 32))
            }
            _ => self.scalar64(operand).map(|v| [v; LANES]),
        }
    }

    /// A mask of lanes, from a pair of scalar registers.
    pub(crate) fn mask(&self, operand: &Operand) -> Result<u64, String> {
        self.scalar64(operand)
    }

    /// Writes the active lanes of a vector register, `offset` registers behind the operand's first.
    pub(crate) fn set_at(&mut self, operand: &Operand, offset: usize, lanes: &Lanes) -> Done {
        let Place::Vector { first, count } = operand.place else { return Err(odd(operand)) };
        if offset >= count {
            return Err(odd(operand));
        }
        let exec = self.exec;
        let register = self.vector.get_mut(first + offset).ok_or_else(|| odd(operand))?;
        for (lane, (to, from)) in register.iter_mut().zip(lanes).enumerate() {
            if exec >> lane & 1 != 0 {
                *to = *from;
            }
        }
        Ok(())
    }

    /// Writes an instruction's destination, in the part that SDWA selects; the rest becomes zero.
    pub(crate) fn set(&mut self, i: &Instruction, lanes: &Lanes) -> Done {
        match i.modifiers.destination {
            Select::Dword => self.set_at(&i.operands[0], 0, lanes),
            Select::Word(w) => self.set_at(&i.operands[0], 0, &lanes.map(|v| (v & 0xffff) << (16 * w))),
            Select::Byte(b) => self.set_at(&i.operands[0], 0, &lanes.map(|v| (v & 0xff) << (8 * b))),
        }
    }

    pub(crate) fn set64(&mut self, operand: &Operand, lanes: &Lanes64) -> Done {
        self.set_at(operand, 0, &lanes.map(|v| v as u32))?;
        self.set_at(operand, 1, &lanes.map(|v| (v >> 32) as u32))
    }

    /// Writes a mask with the bits of inactive lanes zero.
    pub(crate) fn set_mask(&mut self, operand: &Operand, mask: u64) -> Done {
        self.set_scalar64(operand, mask & self.exec)
    }
}
