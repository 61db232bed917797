//! The operation of `FUTEX_WAKE_OP`.

use crate::errno::{Errno, Result};

/// The last argument of `FUTEX_WAKE_OP`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    op: u32,
    comparison: u32,
    operand: i32,
    against: i32,
}

impl Operation {
    /// Takes the argument apart.
    pub(super) fn decode(code: u32) -> Result<Self> {
        let signed = |value: u32| (value << 20) as i32 >> 20;
        let (op, comparison) = (code >> 28 & 7, code >> 24 & 0xf);
        let operand = signed(code >> 12 & 0xfff);
        if op > 4 || comparison > 5 {
            return Err(Errno::ENOSYS);
        }
        let operand = if code >> 31 != 0 { 1i32.wrapping_shl(operand as u32) } else { operand };
        Ok(Self { op, comparison, operand, against: signed(code & 0xfff) })
    }

    /// The second word's new value.
    pub(super) fn apply(self, old: u32) -> u32 {
        let operand = self.operand as u32;
        match self.op {
            0 => operand,
            1 => old.wrapping_add(operand),
            2 => old | operand,
            3 => old & !operand,
            _ => old ^ operand,
        }
    }

    /// Whether waiters of the second word are woken.
    pub(super) fn compare(self, old: u32) -> bool {
        let old = old as i32;
        match self.comparison {
            0 => old == self.against,
            1 => old != self.against,
            2 => old < self.against,
            3 => old <= self.against,
            4 => old > self.against,
            _ => old >= self.against,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_op_codes_decode() {
        // OP_ADD 5, CMP_GT -1.
        let operation = Operation::decode(1 << 28 | 4 << 24 | 5 << 12 | 0xfff).unwrap();
        assert_eq!(operation.apply(3), 8);
        assert!(operation.compare(0) && !operation.compare(u32::MAX));
        // OP_OR with a shifted operand.
        let operation = Operation::decode(1 << 31 | 2 << 28 | 4 << 12).unwrap();
        assert_eq!(operation.apply(1), 17);
        assert!(Operation::decode(7 << 28).is_err());
    }
}
