//! Executes AMD CDNA machine code (gfx90a, gfx942, gfx950), so that what the compiler made of the GPU kernels can be
//! tested where there is no GPU.
//!
//! A code object is read from its ELF file, its instructions from the text of `llvm-objdump`. Each wave runs 64 lanes
//! under an execution mask. Beyond the results, the interpreter looks for what hardware would let pass: reads and writes
//! outside of an allocation, reads of memory that nobody has written, shared memory that two waves touch without a
//! barrier between. An instruction or a modifier it does not know is refused, never skipped.
//!
//! Not modelled: time, caches, the order of memory operations of different waves (and so a missing `s_waitcnt`),
//! registers read before they are written, the last bit of `v_exp`, `v_rcp`, `v_rsq` and of sums inside a matrix
//! instruction.
#![forbid(unsafe_code)]

mod code;
mod decode;
mod elf;
pub mod half;
mod launch;
mod matrix;
mod memory;
mod operand;
mod scalar;
mod shared;
mod vector;
mod vmem;
mod wave;

pub use code::Code;
pub use launch::{Arguments, Machine};
pub use memory::{Address, Heap};

/// Why a code object could not be read or a kernel not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file could not be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disassembler is absent or failed.
    #[error("{0}")]
    Disassembler(String),
    /// Not a code object of a known layout.
    #[error("code object: {0}")]
    CodeObject(String),
    /// An instruction, an operand or a modifier that the interpreter does not know.
    #[error("not known: {0}")]
    Unknown(String),
    /// The kernel did what no kernel may.
    #[error("{kernel}: {instruction}: {what}")]
    Broken {
        /// The kernel.
        kernel: String,
        /// The instruction as disassembled, with its address.
        instruction: String,
        /// What was wrong.
        what: String,
    },
    /// The launch does not fit the kernel.
    #[error("launch of {kernel}: {what}")]
    Launch {
        /// The kernel.
        kernel: String,
        /// What does not fit.
        what: String,
    },
}

/// Lanes of a wave.
pub const LANES: usize = 64;
