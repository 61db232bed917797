use alloc::vec::Vec;
use proptest::prelude::*;

use super::{
    ARCH, Action, Facts, Filter,
    program::{Insn, Program, WORDS},
};
use crate::errno::Errno;

const fn op(code: u16, k: u32) -> Insn {
    Insn { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code, jt, jf, k }
}

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;

fn refused(insns: &[Insn]) -> bool {
    Program::new(insns).is_err_and(|error| error == Errno::EINVAL)
}

fn facts(nr: u32, argument: u64) -> Facts {
    let mut words = [0; WORDS];
    (words[0], words[1]) = (nr, ARCH);
    (words[4], words[5]) = (argument as u32, (argument >> 32) as u32);
    Facts(words)
}

/// Refuses `nr` with an error, allows the rest.
fn refuse(nr: u32, errno: u32) -> Program {
    Program::new(&[op(LOAD, 0), branch(EQUAL, nr, 0, 1), op(RETURN, 0x5_0000 | errno), op(RETURN, ALLOW)])
        .unwrap()
}

#[test]
fn programs_that_could_run_away_are_refused() {
    assert!(refused(&[]));
    assert!(refused(&[op(LOAD, 0)]), "no end");
    assert!(refused(&[op(0x05, 1), op(RETURN, 0)]), "a jump past the end");
    assert!(refused(&[op(0x05, u32::MAX), op(RETURN, 0)]), "a jump back");
    assert!(refused(&[branch(EQUAL, 0, 1, 0), op(RETURN, 0)]));
    assert!(refused(&[op(LOAD, 64), op(RETURN, 0)]), "behind the facts");
    assert!(refused(&[op(LOAD, 2), op(RETURN, 0)]), "between words");
    assert!(refused(&[op(0x28, 0), op(RETURN, 0)]), "half a word");
    assert!(refused(&[op(0x02, 16), op(RETURN, 0)]), "no such scratch word");
    assert!(refused(&[op(0x60, 0), op(RETURN, 0)]), "scratch that was not written");
    assert!(refused(&[op(0x34, 0), op(RETURN, 0)]), "division by zero");
    assert!(refused(&[op(0x64, 32), op(RETURN, 0)]), "shift too far");
    assert!(refused(&[op(0x94, 1), op(RETURN, 0)]), "no remainder in these programs");
    assert!(refused(&[op(0x0e, 0)]), "X is not returned");
    assert!(!refused(&[op(0x02, 3), op(0x60, 3), op(0x16, 0)]));
}

#[test]
fn arithmetic_is_that_of_words() {
    let run = |insns: &[Insn]| Program::new(insns).unwrap().run(&[7; WORDS]);
    assert_eq!(run(&[op(LOAD, 0), op(0x04, u32::MAX), op(0x16, 0)]), 6);
    assert_eq!(run(&[op(0, 1), op(0x84, 0), op(0x16, 0)]), u32::MAX);
    assert_eq!(run(&[op(0, 9), op(1, 0), op(0x3c, 0), op(0x16, 0)]), 0, "X is zero");
    assert_eq!(run(&[op(0, 1), op(1, 33), op(0x6c, 0), op(0x16, 0)]), 2);
    assert_eq!(run(&[op(0x80, 0), op(0x16, 0)]), 64);
    assert_eq!(run(&[op(0, 5), op(0x02, 15), op(0, 0), op(0x61, 15), op(0x87, 0), op(0x16, 0)]), 5);
}

#[test]
fn the_strictest_of_a_list_counts() {
    let first = Filter::new(refuse(1, 5), None, false, None).unwrap();
    let second = Filter::new(refuse(2, 6), Some(first.clone()), true, None).unwrap();
    assert_eq!(second.judge(&facts(1, 0)).0, Action::Errno(5));
    assert_eq!(second.judge(&facts(2, 0)).0, Action::Errno(6));
    assert_eq!(second.judge(&facts(3, 0)).0, Action::Allow);
    let kill = Program::new(&[op(RETURN, 0x8000_0000)]).unwrap();
    let third = Filter::new(kill, Some(second.clone()), false, None).unwrap();
    assert_eq!(third.judge(&facts(1, 0)).0, Action::KillProcess);
    assert!(third.descends_from(&first) && !first.descends_from(&third));
    assert_eq!(third.count, 3);
}

#[test]
fn what_does_not_depend_on_arguments_is_known() {
    let first = Filter::new(refuse(1, 5), None, false, None).unwrap();
    assert!(first.always_allows(0) && !first.always_allows(1) && !first.always_allows(1 << 30));
    // Allowed only with a certain argument.
    let picky = [op(LOAD, 16), branch(EQUAL, 3, 0, 1), op(RETURN, ALLOW), op(RETURN, 0)];
    let second = Filter::new(Program::new(&picky).unwrap(), Some(first), false, None).unwrap();
    assert!(!second.always_allows(0));
    assert_eq!(second.judge(&facts(0, 3)).0, Action::Allow);
    assert_eq!(second.judge(&facts(0, 4)).0, Action::KillThread);
}

#[test]
fn long_lists_end() {
    let mut list = None;
    let mut count = 0;
    loop {
        let program = Program::new(&[op(RETURN, ALLOW)]).unwrap();
        match Filter::new(program, list.clone(), false, None) {
            Ok(filter) => list = Some(filter),
            Err(error) => {
                assert_eq!(error, Errno::ENOMEM);
                break;
            }
        }
        count += 1;
    }
    assert_eq!(count, 6554);
    drop(list);
}

#[test]
fn actions_decode() {
    assert_eq!(Action::from_raw(0x5_ffff), Action::Errno(4095));
    assert_eq!(Action::from_raw(0x3_0007), Action::Trap(7));
    assert_eq!(Action::from_raw(0x1234_0000), Action::KillProcess);
    assert_eq!([0x8000_0000, 0, 0x3_0000, 0x7fff_0000].map(Action::exists), [true; 4]);
    assert_eq!([1, 0x8000_0001, 0x4_0000, 0x7fff_0001].map(Action::exists), [false; 4]);
}

/// Instructions that are mostly good.
fn insn() -> impl Strategy<Value = Insn> {
    let codes = prop::sample::select(Vec::from([
        0x20u16, 0x80, 0x81, 0, 1, 0x60, 0x61, 2, 3, 4, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x84, 0xa4,
        0x0c, 0x3c, 0x6c, 5, 0x15, 0x1d, 0x25, 0x35, 0x45, 6, 0x16, 7, 0x87,
    ]));
    (codes, 0u8..4, 0u8..4, prop_oneof![0u32..16, (0u32..16).prop_map(|word| word * 4), any::<u32>()])
        .prop_map(|(code, jt, jf, k)| Insn { code, jt, jf, k })
}

proptest! {
    #[test]
    fn any_program_is_refused_or_ends(
        mut insns in prop::collection::vec(prop_oneof![3 => insn(), 1 => any::<(u16, u8, u8, u32)>()
            .prop_map(|(code, jt, jf, k)| Insn { code, jt, jf, k })], 0..40),
        words in any::<[u32; WORDS]>(),
    ) {
        insns.push(op(0x16, 0));
        if let Ok(program) = Program::new(&insns) {
            let mut steps = insns.len();
            prop_assert!(program.run_knowing(&words, &mut steps).is_some(), "more steps than instructions");
        }
    }

    #[test]
    fn what_is_known_without_arguments_is_true(
        insns in prop::collection::vec(insn(), 0..30),
        words in any::<[u32; WORDS]>(),
    ) {
        let insns: Vec<Insn> = insns.into_iter().chain([op(0x16, 0)]).collect();
        if let Ok(program) = Program::new(&insns) {
            let mut steps = usize::MAX;
            if let Some(known) = program.run_knowing(&words[..2], &mut steps) {
                prop_assert_eq!(known, program.run(&words));
            }
        }
    }
}
