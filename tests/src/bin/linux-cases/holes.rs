//! Files with holes: what they take.

use crate::{
    Case, case,
    files::{both, file},
    sys::{self, call},
};

pub(crate) const CASES: &[Case] = &[case("holes/blocks", &["stat", "pwrite64", "ftruncate"], |out| {
    both(out, |out| {
        let fd = file("a", b"");
        let blocks = |out: &mut crate::Out, what: &str| {
            let mut words = [0u64; 18];
            call!(SYS_stat, sys::c("a"), words.as_mut_ptr());
            out.say(format_args!("{what}: {} bytes, {} blocks", words[6], words[8]));
        };
        call!(SYS_pwrite64, fd, b"end".as_ptr(), 3, 3_000_000);
        blocks(out, "a hole");
        call!(SYS_pwrite64, fd, b"x".as_ptr(), 1, 1_000_000);
        blocks(out, "in the hole");
        call!(SYS_pwrite64, fd, b"x".as_ptr(), 1, 3_000_003);
        blocks(out, "at the end");
        call!(SYS_ftruncate, fd, 5_000_000);
        blocks(out, "longer");
        call!(SYS_pwrite64, fd, b"x".as_ptr(), 1, 4_999_999);
        blocks(out, "its last byte");
        call!(SYS_ftruncate, fd, 0);
        call!(SYS_pwrite64, fd, [7u8; 9000].as_ptr(), 9000, 0);
        blocks(out, "without holes");
    });
})];
