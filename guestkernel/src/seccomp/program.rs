//! Classic BPF programs over the facts of a system call: checking and running them.
//!
//! A program is decoded once. What a decoded program holds is in range, and its jumps go forward only, so that a run
//! takes at most as many steps as there are instructions.

use alloc::{boxed::Box, vec::Vec};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::errno::{Errno, Result};

/// Most instructions of a program.
pub const MAX_LEN: usize = 4096;
/// 32-bit words of the facts.
pub const WORDS: usize = 16;
/// Words of scratch memory.
const SCRATCH: u32 = 16;

/// An instruction as user code writes it, `struct sock_filter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Insn {
    /// What it does.
    pub code: u16,
    /// Instructions to skip where a condition holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// Constant.
    pub k: u32,
}

/// The second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Constant(u32),
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    Shl,
    Shr,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Equal,
    Greater,
    GreaterEqual,
    AnyBit,
}

/// A decoded instruction. Jumps count the instructions that are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    LoadFact(u8),
    Load(u32),
    LoadScratch(u8),
    LoadIndex(u32),
    LoadIndexScratch(u8),
    Store(u8),
    StoreIndex(u8),
    Alu(Alu, Operand),
    Negate,
    Jump(u32),
    JumpIf(Condition, Operand, u8, u8),
    Return(u32),
    ReturnAccumulator,
    ToIndex,
    FromIndex,
}

/// A checked program.
#[derive(Debug)]
pub struct Program(Box<[Op]>);

fn scratch(k: u32) -> Result<u8> {
    if k < SCRATCH { Ok(k as u8) } else { Err(Errno::EINVAL) }
}

fn alu(code: u16, k: u32) -> Result<Op> {
    let operand = if code & 8 == 0 { Operand::Constant(k) } else { Operand::Index };
    let operation = match code & 0xf0 {
        0x00 => Alu::Add,
        0x10 => Alu::Sub,
        0x20 => Alu::Mul,
        0x30 => Alu::Div,
        0x40 => Alu::Or,
        0x50 => Alu::And,
        0x60 => Alu::Shl,
        0x70 => Alu::Shr,
        0x80 if operand != Operand::Index => return Ok(Op::Negate),
        0xa0 => Alu::Xor,
        _ => return Err(Errno::EINVAL),
    };
    match (operation, operand) {
        (Alu::Div, Operand::Constant(0)) => Err(Errno::EINVAL),
        (Alu::Shl | Alu::Shr, Operand::Constant(32..)) => Err(Errno::EINVAL),
        _ => Ok(Op::Alu(operation, operand)),
    }
}

fn jump(insn: Insn) -> Result<Op> {
    let operand = if insn.code & 8 == 0 { Operand::Constant(insn.k) } else { Operand::Index };
    let condition = match insn.code & 0xf0 {
        0x00 if operand != Operand::Index => return Ok(Op::Jump(insn.k)),
        0x10 => Condition::Equal,
        0x20 => Condition::Greater,
        0x30 => Condition::GreaterEqual,
        0x40 => Condition::AnyBit,
        _ => return Err(Errno::EINVAL),
    };
    Ok(Op::JumpIf(condition, operand, insn.jt, insn.jf))
}

/// Decodes an instruction by itself.
fn decode(insn: Insn) -> Result<Op> {
    const BYTES: u32 = WORDS as u32 * 4;
    let Insn { code, k, .. } = insn;
    match code {
        0x20 if k < BYTES && k.is_multiple_of(4) => Ok(Op::LoadFact((k / 4) as u8)),
        0x80 => Ok(Op::Load(BYTES)),
        0x81 => Ok(Op::LoadIndex(BYTES)),
        0x00 => Ok(Op::Load(k)),
        0x01 => Ok(Op::LoadIndex(k)),
        0x60 => scratch(k).map(Op::LoadScratch),
        0x61 => scratch(k).map(Op::LoadIndexScratch),
        0x02 => scratch(k).map(Op::Store),
        0x03 => scratch(k).map(Op::StoreIndex),
        0x06 => Ok(Op::Return(k)),
        0x16 => Ok(Op::ReturnAccumulator),
        0x07 => Ok(Op::ToIndex),
        0x87 => Ok(Op::FromIndex),
        _ if code & !0xf8 == 4 => alu(code, k),
        _ if code & !0xf8 == 5 => jump(insn),
        _ => Err(Errno::EINVAL),
    }
}

/// Refuses programs that read scratch memory which some way to that place has not written.
fn check_scratch(ops: &[Op]) -> Result<()> {
    let mut known = alloc::vec![u16::MAX; ops.len()];
    let mut valid = 0u16;
    for (at, op) in ops.iter().enumerate() {
        valid &= known.get(at).copied().unwrap_or(0);
        let mut reaches = |skip: usize| {
            if let Some(there) = known.get_mut(at + 1 + skip) {
                *there &= valid;
            }
        };
        match *op {
            Op::Store(slot) | Op::StoreIndex(slot) => valid |= 1 << slot,
            Op::LoadScratch(slot) | Op::LoadIndexScratch(slot) if valid & 1 << slot == 0 => {
                return Err(Errno::EINVAL);
            }
            Op::Jump(skip) => {
                reaches(skip as usize);
                valid = u16::MAX;
            }
            Op::JumpIf(_, _, yes, no) => {
                reaches(yes.into());
                reaches(no.into());
                valid = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}

impl Program {
    /// Checks and decodes.
    ///
    /// # Errors
    /// `EINVAL` for what Linux refuses, `ENOMEM`.
    pub fn new(insns: &[Insn]) -> Result<Self> {
        if insns.is_empty() || insns.len() > MAX_LEN {
            return Err(Errno::EINVAL);
        }
        let mut ops = Vec::new();
        ops.try_reserve_exact(insns.len()).map_err(|_| Errno::ENOMEM)?;
        for (at, &insn) in insns.iter().enumerate() {
            let op = decode(insn)?;
            let left = insns.len() - at - 1;
            let inside = match op {
                Op::Jump(skip) => (skip as usize) < left,
                Op::JumpIf(_, _, yes, no) => usize::from(yes.max(no)) < left,
                _ => true,
            };
            if !inside {
                return Err(Errno::EINVAL);
            }
            ops.push(op);
        }
        if !matches!(ops.last(), Some(Op::Return(_) | Op::ReturnAccumulator)) {
            return Err(Errno::EINVAL);
        }
        check_scratch(&ops)?;
        Ok(Self(ops.into()))
    }

    /// Number of instructions.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What it says of these facts.
    #[must_use]
    pub fn run(&self, facts: &[u32; WORDS]) -> u32 {
        let mut steps = usize::MAX;
        self.step(|word| facts.get(usize::from(word)).copied(), &mut steps).unwrap_or(0)
    }

    /// What it says of a call whatever else is true of it; `None` where that depends on more than the first `facts`,
    /// or `steps` run out.
    #[must_use]
    pub fn run_knowing(&self, facts: &[u32], steps: &mut usize) -> Option<u32> {
        self.step(|word| facts.get(usize::from(word)).copied(), steps)
    }

    #[inline]
    fn step(&self, fact: impl Fn(u8) -> Option<u32>, steps: &mut usize) -> Option<u32> {
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; SCRATCH as usize];
        let mut ops = self.0.iter();
        while let Some(&op) = ops.next() {
            *steps = steps.checked_sub(1)?;
            let mut skip = |count: usize| {
                if count != 0 {
                    ops.nth(count - 1);
                }
            };
            match op {
                Op::LoadFact(word) => a = fact(word)?,
                Op::Load(k) => a = k,
                Op::LoadIndex(k) => x = k,
                Op::LoadScratch(slot) => a = *memory.get(usize::from(slot))?,
                Op::LoadIndexScratch(slot) => x = *memory.get(usize::from(slot))?,
                Op::Store(slot) => *memory.get_mut(usize::from(slot))? = a,
                Op::StoreIndex(slot) => *memory.get_mut(usize::from(slot))? = x,
                Op::Alu(operation, operand) => match calculate(operation, a, value(operand, x)) {
                    Some(result) => a = result,
                    // A division by zero ends the program with zero.
                    None => return Some(0),
                },
                Op::Negate => a = a.wrapping_neg(),
                Op::Jump(count) => skip(count as usize),
                Op::JumpIf(condition, operand, yes, no) => {
                    let holds = holds(condition, a, value(operand, x));
                    skip(usize::from(if holds { yes } else { no }));
                }
                Op::Return(k) => return Some(k),
                Op::ReturnAccumulator => return Some(a),
                Op::ToIndex => x = a,
                Op::FromIndex => a = x,
            }
        }
        None
    }
}

const fn value(operand: Operand, x: u32) -> u32 {
    match operand {
        Operand::Constant(k) => k,
        Operand::Index => x,
    }
}

const fn calculate(operation: Alu, a: u32, b: u32) -> Option<u32> {
    Some(match operation {
        Alu::Add => a.wrapping_add(b),
        Alu::Sub => a.wrapping_sub(b),
        Alu::Mul => a.wrapping_mul(b),
        Alu::Div => return a.checked_div(b),
        Alu::Or => a | b,
        Alu::And => a & b,
        Alu::Shl => a.wrapping_shl(b),
        Alu::Shr => a.wrapping_shr(b),
        Alu::Xor => a ^ b,
    })
}

const fn holds(condition: Condition, a: u32, b: u32) -> bool {
    match condition {
        Condition::Equal => a == b,
        Condition::Greater => a > b,
        Condition::GreaterEqual => a >= b,
        Condition::AnyBit => a & b != 0,
    }
}
