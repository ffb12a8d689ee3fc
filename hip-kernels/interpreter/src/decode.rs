//! From mnemonics to what is executed.

use crate::Fault;
use crate::matrix::{self, Matrix};
use crate::scalar::{self, Scalar};
use crate::vector::{self, Vector};
use crate::vmem::{self, Memory};

/// When a branch is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Condition {
    Always,
    Scc(bool),
    VccZero(bool),
    ExecZero(bool),
}

pub(crate) enum Execute {
    Nothing,
    Barrier,
    End,
    Branch(Condition),
    Scalar(Scalar),
    Vector(Vector),
    Matrix(Matrix),
    Memory(Memory),
}

impl Execute {
    pub(crate) fn is_barrier(&self) -> bool {
        matches!(self, Self::Barrier)
    }

    /// Whether what follows the mnemonic are operands in the ordinary sense.
    pub(crate) fn has_operands(&self) -> bool {
        !matches!(self, Self::Nothing | Self::Barrier | Self::End | Self::Branch(_))
    }
}

fn control(mnemonic: &str) -> Option<Execute> {
    Some(match mnemonic {
        // Memory is coherent and every result is there at once.
        "s_nop" | "s_waitcnt" => Execute::Nothing,
        "s_barrier" => Execute::Barrier,
        "s_endpgm" => Execute::End,
        "s_branch" => Execute::Branch(Condition::Always),
        "s_cbranch_scc0" => Execute::Branch(Condition::Scc(false)),
        "s_cbranch_scc1" => Execute::Branch(Condition::Scc(true)),
        "s_cbranch_vccz" => Execute::Branch(Condition::VccZero(true)),
        "s_cbranch_vccnz" => Execute::Branch(Condition::VccZero(false)),
        "s_cbranch_execz" => Execute::Branch(Condition::ExecZero(true)),
        "s_cbranch_execnz" => Execute::Branch(Condition::ExecZero(false)),
        _ => return None,
    })
}

/// `rest` is what follows the mnemonic.
pub(crate) fn decode(mnemonic: &str, rest: &str) -> Result<Execute, Fault> {
    // The encoding does not matter; SDWA shows in the modifiers.
    let name = ["_e32", "_e64", "_sdwa"].iter().find_map(|e| mnemonic.strip_suffix(e)).unwrap_or(mnemonic);
    control(name)
        .or_else(|| scalar::decode(name).map(Execute::Scalar))
        .or_else(|| matrix::decode(name).map(Execute::Matrix))
        .or_else(|| vmem::decode(name).map(Execute::Memory))
        .or_else(|| vector::decode(name).map(Execute::Vector))
        .ok_or_else(|| Fault::Unknown(format!("{mnemonic} {rest}")))
}
