//! Reads a code object: its kernels' descriptors and its instructions.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use crate::Fault;
use crate::decode::{Execute, decode};
use crate::elf::{self, Descriptor};
use crate::operand::{Modifiers, Operand, operands};

/// The disassembler, as Debian names it.
const DISASSEMBLER: &str = "llvm-objdump-22";

pub(crate) struct Instruction {
    pub(crate) execute: Execute,
    pub(crate) operands: Vec<Operand>,
    pub(crate) modifiers: Modifiers,
    /// Index of the instruction that a branch goes to.
    pub(crate) target: Option<usize>,
    /// As disassembled, with its address.
    pub(crate) text: String,
    /// The kernel it belongs to, as an index of `Code::functions`.
    pub(crate) function: usize,
}

/// A code object, decoded.
pub struct Code {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) by_address: HashMap<u64, usize>,
    pub(crate) kernels: BTreeMap<String, Descriptor>,
    pub(crate) functions: Vec<String>,
}

/// Whether the disassembler can be run here.
fn disassemble(path: &Path) -> Result<String, Fault> {
    let output = Command::new(DISASSEMBLER).arg("-d").arg(path).output();
    let output = output.map_err(|e| Fault::Disassembler(format!("{DISASSEMBLER}: {e}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Fault::Disassembler(format!("{DISASSEMBLER}: {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One line of disassembly, taken apart.
struct Line<'a> {
    mnemonic: &'a str,
    rest: &'a str,
    address: u64,
    /// Function and offset of a branch target.
    target: Option<(&'a str, u64)>,
}

fn line(text: &str) -> Option<Line<'_>> {
    let (code, comment) = text.strip_prefix('\t')?.split_once("//")?;
    let (address, tail) = comment.trim().split_once(':')?;
    let (mnemonic, rest) = code.trim().split_once(' ').unwrap_or((code.trim(), ""));
    let target = tail.split_once('<').and_then(|(_, t)| {
        let t = t.strip_suffix('>')?;
        match t.split_once("+0x") {
            Some((name, offset)) => Some((name, u64::from_str_radix(offset, 16).ok()?)),
            None => Some((t, 0)),
        }
    });
    Some(Line { mnemonic, rest: rest.trim(), address: u64::from_str_radix(address, 16).ok()?, target })
}

impl Code {
    /// Whether code objects can be read here; the reason where not.
    ///
    /// # Errors
    /// The disassembler is not installed.
    pub fn available() -> Result<(), Fault> {
        let run = Command::new(DISASSEMBLER).arg("--version").output();
        run.map(|_| ()).map_err(|e| Fault::Disassembler(format!("{DISASSEMBLER}: {e}")))
    }

    /// Reads and decodes a code object.
    ///
    /// # Errors
    /// The file cannot be read or disassembled, or holds an instruction that the interpreter does not know.
    pub fn load(path: &Path) -> Result<Self, Fault> {
        let file =
            std::fs::read(path).map_err(|source| Fault::File { path: path.display().to_string(), source })?;
        Self::parse(elf::descriptors(&file)?, &disassemble(path)?)
    }

    fn parse(kernels: BTreeMap<String, Descriptor>, text: &str) -> Result<Self, Fault> {
        let mut code =
            Self { instructions: Vec::new(), by_address: HashMap::new(), kernels, functions: Vec::new() };
        let mut starts = HashMap::new();
        let mut branches = Vec::new();
        for text in text.lines() {
            if let Some(start) = text.strip_suffix(">:").and_then(|t| t.split_once(" <")) {
                let address = u64::from_str_radix(start.0, 16);
                starts.insert(start.1, address.map_err(|e| Fault::Disassembler(e.to_string()))?);
                code.functions.push(start.1.to_owned());
                continue;
            }
            let Some(line) = line(text) else { continue };
            // Padding behind a function.
            if line.mnemonic == "s_code_end" {
                continue;
            }
            let index = code.instructions.len();
            code.by_address.insert(line.address, index);
            if let Some(target) = line.target {
                branches.push((index, target));
            }
            let text = format!("{:#x} {} {}", line.address, line.mnemonic, line.rest);
            let decoded = decode(line.mnemonic, line.rest).and_then(|execute| {
                let rest = if execute.has_operands() { line.rest } else { "" };
                operands(rest).map(|(operands, modifiers)| (execute, operands, modifiers))
            });
            let (execute, operands, modifiers) =
                decoded.map_err(|e| Fault::Unknown(format!("{text} ({e})")))?;
            let function = code.functions.len().saturating_sub(1);
            code.instructions.push(Instruction {
                execute,
                operands,
                modifiers,
                target: None,
                text,
                function,
            });
        }
        for (index, (name, offset)) in branches {
            let target = starts.get(name).and_then(|start| code.by_address.get(&(start + offset)));
            code.instructions[index].target = target.copied();
        }
        if code.instructions.is_empty() {
            return Err(Fault::CodeObject("no instructions".to_owned()));
        }
        Ok(code)
    }

    /// The kernels' names.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.keys().map(String::as_str)
    }

    /// The barriers of a kernel, for [`Code::without`].
    pub fn barriers(&self, kernel: &str) -> Vec<usize> {
        let is = |i: &Instruction| i.execute.is_barrier() && self.functions[i.function] == kernel;
        self.instructions.iter().enumerate().filter(|(_, i)| is(i)).map(|(at, _)| at).collect()
    }

    /// Takes an instruction out, or puts it back if it had been taken out by the last call: see what would be missed.
    pub fn toggle_barrier(&mut self, at: usize) {
        let execute = &mut self.instructions[at].execute;
        *execute = if execute.is_barrier() { Execute::Nothing } else { Execute::Barrier };
    }
}
