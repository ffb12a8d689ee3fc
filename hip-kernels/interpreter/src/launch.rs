//! Runs the blocks of a launch.

use std::path::Path;

use crate::code::{Code, Instruction};
use crate::decode::{Condition, Execute};
use crate::elf::Descriptor;
use crate::memory::{Address, Heap};
use crate::scalar::{self, ARGUMENTS};
use crate::shared::Shared;
use crate::wave::Wave;
use crate::{Fault, LANES, matrix, vector, vmem};

/// Instructions of one block; more is taken for an endless loop.
const BLOCK_LIMIT: u64 = 20_000_000;

/// The argument struct of a kernel, field by field, as C lays it out.
#[derive(Debug, Default, Clone)]
pub struct Arguments(Vec<u8>);

impl Arguments {
    /// No fields yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// A pointer.
    #[must_use]
    pub fn pointer(mut self, address: Address) -> Self {
        self.0.extend(address.0.to_le_bytes());
        self
    }
    /// A `uint32_t`.
    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    /// A `float`.
    #[must_use]
    pub fn f32(mut self, value: f32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
}

/// A device with one code object loaded.
pub struct Machine {
    /// The code object.
    pub code: Code,
    /// Device memory.
    pub heap: Heap,
    /// Instructions executed, counted once for a wave.
    pub executed: u64,
}

fn refuse(kernel: &str, what: impl Into<String>) -> Fault {
    Fault::Launch { kernel: kernel.to_owned(), what: what.into() }
}

/// Register numbers at the start of a wave.
struct Entry {
    arguments: usize,
    block: [Option<usize>; 2],
}

/// The layout of initial registers that the descriptor asks for; only the parts our kernels use are known.
fn entry(kernel: &str, d: &Descriptor) -> Result<Entry, Fault> {
    const KERNARG_POINTER: u16 = 1 << 3;
    const PRIVATE_BUFFER: u16 = 1;
    const OTHER_POINTERS: u16 = 0b111_0110;
    // FP32 and FP16/64 denormals are kept, rounding is to nearest.
    const FLOAT_MODE: u32 = 0xf0;
    if d.properties & KERNARG_POINTER == 0 || d.properties & OTHER_POINTERS != 0 || d.preload != 0 {
        return Err(refuse(kernel, format!("properties {:#x}, preload {:#x}", d.properties, d.preload)));
    }
    if d.private_bytes != 0 {
        return Err(refuse(kernel, "private memory"));
    }
    if d.rsrc1 >> 12 & 0xff != FLOAT_MODE {
        return Err(refuse(kernel, format!("float mode {:#x}", d.rsrc1 >> 12 & 0xff)));
    }
    let arguments = if d.properties & PRIVATE_BUFFER != 0 { 4 } else { 0 };
    let mut next = (d.rsrc2 >> 1 & 31) as usize;
    if d.rsrc2 >> 9 & 3 != 0 || d.rsrc2 >> 11 & 3 != 0 {
        return Err(refuse(kernel, "more identifiers than the block's x and y"));
    }
    let block = [7, 8].map(|bit| {
        (d.rsrc2 >> bit & 1 != 0).then(|| {
            next += 1;
            next - 1
        })
    });
    Ok(Entry { arguments, block })
}

impl Machine {
    /// A device that runs the code object at `path`, with empty memory.
    ///
    /// # Errors
    /// As [`Code::load`].
    pub fn load(path: &Path) -> Result<Self, Fault> {
        Ok(Self { code: Code::load(path)?, heap: Heap::default(), executed: 0 })
    }

    /// Runs every block of a grid of blocks of `waves` waves, to its end.
    ///
    /// # Errors
    /// The launch does not fit the kernel, or the kernel does what none may.
    pub fn launch(
        &mut self,
        kernel: &str,
        grid: [u32; 2],
        waves: u32,
        arguments: &Arguments,
    ) -> Result<(), Fault> {
        let descriptor = *self.code.kernels.get(kernel).ok_or_else(|| refuse(kernel, "no such kernel"))?;
        if descriptor.argument_bytes as usize != arguments.0.len() {
            let (needs, got) = (descriptor.argument_bytes, arguments.0.len());
            return Err(refuse(kernel, format!("{got} bytes of arguments, {needs} expected")));
        }
        let entry = entry(kernel, &descriptor)?;
        let start = self.code.by_address.get(&descriptor.entry).copied();
        let start = start.ok_or_else(|| refuse(kernel, "no code at its entry"))?;
        for y in 0..grid[1] {
            for x in 0..grid[0] {
                let waves = (0..waves).map(|index| {
                    let mut wave = Wave::new(index, start);
                    wave.scalar[entry.arguments] = ARGUMENTS as u32;
                    wave.scalar[entry.arguments + 1] = (ARGUMENTS >> 32) as u32;
                    for (register, id) in entry.block.iter().zip([x, y]) {
                        if let Some(register) = *register {
                            wave.scalar[register] = id;
                        }
                    }
                    wave
                });
                self.block(waves.collect(), &descriptor, &arguments.0)?;
            }
        }
        Ok(())
    }

    fn block(
        &mut self,
        mut waves: Vec<Wave>,
        descriptor: &Descriptor,
        arguments: &[u8],
    ) -> Result<(), Fault> {
        let mut shared = Shared::new(descriptor.shared_bytes as usize);
        let limit = self.executed + BLOCK_LIMIT;
        while waves.iter().any(|w| !w.done) {
            for wave in waves.iter_mut().filter(|w| !w.done) {
                loop {
                    let i = &self.code.instructions.get(wave.next);
                    let i = i.ok_or_else(|| refuse("a block", "runs past the end of the code"))?;
                    let broken = |what: &str, wave: u32| Fault::Broken {
                        kernel: self.code.functions[i.function].clone(),
                        instruction: i.text.clone(),
                        what: format!("wave {wave}: {what}"),
                    };
                    self.executed += 1;
                    if self.executed > limit {
                        return Err(broken("does not end", wave.index));
                    }
                    wave.next += 1;
                    wave.done = matches!(i.execute, Execute::End);
                    if wave.done || i.execute.is_barrier() {
                        break;
                    }
                    step(i, wave, &mut self.heap, &mut shared, arguments)
                        .map_err(|e| broken(&e, wave.index))?;
                }
            }
            shared.barrier();
            // Hardware counts a wave that has ended as arrived; the other compilers' targets do not all, so no kernel
            // may rely on it.
            if waves.iter().any(|w| w.done) && waves.iter().any(|w| !w.done) {
                return Err(refuse("a block", "some waves ended while others wait at a barrier"));
            }
        }
        Ok(())
    }
}

fn step(
    i: &Instruction,
    w: &mut Wave,
    heap: &mut Heap,
    shared: &mut Shared,
    arguments: &[u8],
) -> Result<(), String> {
    match &i.execute {
        Execute::Nothing | Execute::Barrier | Execute::End => Ok(()),
        Execute::Branch(condition) => {
            let taken = match *condition {
                Condition::Always => true,
                Condition::Scc(v) => w.scc == v,
                Condition::VccZero(v) => (w.vcc() == 0) == v,
                Condition::ExecZero(v) => (w.exec == 0) == v,
            };
            if taken {
                w.next = i.target.ok_or("a branch to nowhere")?;
            }
            Ok(())
        }
        Execute::Scalar(op) => scalar::run(op, i, w, heap, arguments),
        Execute::Vector(op) => vector::run(op, i, w),
        Execute::Matrix(op) => matrix::run(op, i, w),
        Execute::Memory(op) => vmem::run(op, i, w, heap, shared),
    }
}

const _: () = assert!(LANES == 64, "masks are 64 bits wide");
