//! The registers of a user context, as Linux's `pt_regs` has them.

/// Selector of 64-bit user code.
pub const USER_CS: u64 = 0x33;
/// Selector of user data.
pub const USER_SS: u64 = 0x2b;

/// Flags that a program may set itself: CF PF AF ZF SF TF DF OF NT AC ID.
const USER_FLAGS: u64 = 0x0024_4dd5;
/// The always-set bit and IF.
const FIXED_FLAGS: u64 = 0x202;

/// Saved at the top of the task's kernel stack at every entry from ring 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "the registers' own names")]
pub struct UserRegs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The system call's number; -1 outside of system calls.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl UserRegs {
    /// The state in which a program starts.
    #[must_use]
    pub fn entry(rip: u64, rsp: u64) -> Self {
        Self {
            rip,
            rsp,
            cs: USER_CS,
            ss: USER_SS,
            eflags: FIXED_FLAGS,
            orig_rax: u64::MAX,
            ..Self::default()
        }
    }

    /// Forces what ring 3 must not choose: selectors, privileged flags. Call after setting registers from
    /// user memory. The instruction pointer is checked on the way out.
    pub fn sanitize(&mut self) {
        self.cs = USER_CS;
        self.ss = USER_SS;
        self.eflags = self.eflags & USER_FLAGS | FIXED_FLAGS;
    }

    /// The six arguments of a system call.
    #[must_use]
    pub const fn args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// Whether the entry was a system call.
    #[must_use]
    pub const fn is_syscall(&self) -> bool {
        self.orig_rax as i64 >= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_has_the_size_of_pt_regs() {
        assert_eq!(size_of::<UserRegs>(), 168);
        assert_eq!(core::mem::offset_of!(UserRegs, rip), 128);
    }

    #[test]
    fn sanitize_removes_privilege() {
        let mut regs = UserRegs { eflags: u64::MAX, cs: 0x10, ss: 0x18, ..UserRegs::default() };
        regs.sanitize();
        assert_eq!((regs.cs, regs.ss), (USER_CS, USER_SS));
        assert_eq!(regs.eflags & 0x3000, 0, "IOPL");
        assert_ne!(regs.eflags & 0x200, 0, "IF");
        assert_eq!(regs.eflags & (1 << 17), 0, "VM");
    }
}
