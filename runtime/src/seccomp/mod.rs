//! `linux.seccomp`: a profile becomes a classic BPF program, which the sentry applies to every process.
//!
//! The numbers of calls are searched as a tree, over runs of numbers that are treated alike; conditions on arguments
//! are checked at the leaves, in the order of the profile, and before a rule that has none.
//!
//! As runc does it: names that this architecture does not have are passed over, a rule that says what the default says
//! adds nothing, a rule with several conditions on one argument holds when any of its conditions does, and a call that
//! is newer than all that the profile names is not there (`ENOSYS`) rather than forbidden.

mod names;
#[cfg(test)]
mod tests;

use anyhow::{Result, bail, ensure};
use hostcall::FilterSpec;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};

/// Actions that profiles may name.
pub(crate) const ACTIONS: [&str; 8] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// Comparisons that profiles may name.
pub(crate) const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// `AUDIT_ARCH_X86_64`.
const ARCH: u32 = 0xc000_003e;
/// Where the facts of a call lie, `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;
/// Most instructions that Linux takes.
const MAX_LEN: usize = 4096;
/// Arguments of a call.
const ARGUMENTS: usize = 6;

/// Instructions: load a word of the facts, keep the bits of a mask, jump, return.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// What a program returns.
const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// An instruction: code, where to go on if it holds and if not, constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Insn(u16, u8, u8, u32);

impl Insn {
    fn encode(self) -> u64 {
        u64::from(self.0) | u64::from(self.1) << 16 | u64::from(self.2) << 24 | u64::from(self.3) << 32
    }
}

/// What happens to a call whose conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    conditions: Vec<LinuxSeccompArg>,
    action: u32,
}

/// What is said of one call: rules with conditions, the first that holds counts, and what happens otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    rules: Vec<Rule>,
    otherwise: u32,
}

/// Makes the program.
///
/// # Errors
/// For a profile that cannot be had, named.
pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<FilterSpec> {
    ensure!(
        profile.listener_path().is_none(),
        "config.json: linux.seccomp.listenerPath: nobody outside can decide for a sandbox's system calls"
    );
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut program = vec![
        Insn(LOAD, 0, 0, ARCH_AT),
        Insn(IF_EQUAL, 1, 0, ARCH),
        Insn(RETURN, 0, 0, KILL_THREAD),
        Insn(LOAD, 0, 0, NUMBER_AT),
    ];
    search(&runs(&calls(profile, default)?), &mut program)?;
    ensure!(program.len() <= MAX_LEN, "config.json: linux.seccomp: longer than {MAX_LEN} instructions");
    let log =
        profile.flags().iter().flatten().any(|flag| *flag == LinuxSeccompFilterFlag::SeccompFilterFlagLog);
    Ok(FilterSpec { program: program.into_iter().map(Insn::encode).collect(), log })
}

fn action(action: LinuxSeccompAction, number: Option<u32>) -> Result<u32> {
    let number = |default: i32| number.unwrap_or(default.unsigned_abs()) & 0xffff;
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => TRAP,
        LinuxSeccompAction::ScmpActErrno => ERRNO | number(libc::EPERM),
        LinuxSeccompAction::ScmpActTrace => TRACE | number(libc::EPERM),
        LinuxSeccompAction::ScmpActLog => LOG,
        LinuxSeccompAction::ScmpActAllow => ALLOW,
        LinuxSeccompAction::ScmpActNotify => {
            bail!(
                "config.json: linux.seccomp: SCMP_ACT_NOTIFY: nobody outside can decide for a sandbox's system calls"
            )
        }
    })
}

/// What is said of each call, by number; the last is for all that follow.
fn calls(profile: &LinuxSeccomp, default: u32) -> Result<Vec<Call>> {
    let mut calls: Vec<Call> = Vec::new();
    for (index, entry) in profile.syscalls().iter().flatten().enumerate() {
        let action = action(entry.action(), entry.errno_ret())?;
        let conditions = entry.args().as_deref().unwrap_or_default();
        for condition in conditions {
            ensure!(
                condition.index() < ARGUMENTS,
                "config.json: linux.seccomp.syscalls[{index}].args: index {}",
                condition.index()
            );
        }
        for number in entry.names().iter().filter_map(|name| names::number(name)) {
            let number = number as usize;
            // What is newest of all that is named counts, also where nothing more is said of it.
            if calls.len() <= number {
                calls.resize(number + 1, Call { rules: Vec::new(), otherwise: default });
            }
            let Some(call) = calls.get_mut(number).filter(|_| action != default) else { continue };
            let repeated = conditions
                .iter()
                .enumerate()
                .any(|(at, one)| conditions.iter().take(at).any(|other| other.index() == one.index()));
            if conditions.is_empty() {
                call.otherwise = action;
            } else if repeated {
                let each = conditions.iter().map(|one| Rule { conditions: vec![*one], action });
                call.rules.extend(each);
            } else {
                call.rules.push(Rule { conditions: conditions.to_vec(), action });
            }
        }
    }
    let permits = matches!(default, ALLOW | LOG);
    let otherwise = if permits { default } else { ERRNO | libc::ENOSYS.unsigned_abs() };
    calls.push(Call { rules: Vec::new(), otherwise });
    Ok(calls)
}

/// Runs of calls that are treated alike, by the first number of each.
fn runs(calls: &[Call]) -> Vec<(u32, &Call)> {
    let mut runs: Vec<(u32, &Call)> = Vec::new();
    for (number, call) in (0..).zip(calls) {
        if runs.last().is_none_or(|(_, last)| *last != call) {
            runs.push((number, call));
        }
    }
    runs
}

/// Code that goes to the run that the loaded number lies in.
fn search(runs: &[(u32, &Call)], program: &mut Vec<Insn>) -> Result<()> {
    if let [(_, call)] = runs {
        return judge(call, program);
    }
    let (lower, upper) = runs.split_at(runs.len() / 2);
    let Some((first, _)) = upper.first() else { return Ok(()) };
    // A jump that depends on something reaches 255 instructions only.
    program.push(Insn(IF_AT_LEAST, 0, 1, *first));
    let jump = program.len();
    program.push(Insn(JUMP, 0, 0, 0));
    search(lower, program)?;
    program[jump].3 = u32::try_from(program.len() - jump - 1)?;
    search(upper, program)
}

/// Code that says what happens to a call.
fn judge(call: &Call, program: &mut Vec<Insn>) -> Result<()> {
    for rule in &call.rules {
        let parts: Vec<_> = rule.conditions.iter().map(condition).collect();
        let len: usize = parts.iter().map(Vec::len).sum();
        let mut at = 0;
        for part in parts {
            let next = at + part.len();
            for step in part {
                at += 1;
                // Past the rule's last instruction, which returns.
                let to = |target: Target| {
                    u8::try_from(match target {
                        Target::Next => 0,
                        Target::Holds => next - at,
                        Target::Fails => len + 1 - at,
                    })
                };
                program.push(match step {
                    Step::Plain(code, k) => Insn(code, 0, 0, k),
                    Step::If(code, k, yes, no) => Insn(code, to(yes)?, to(no)?, k),
                });
            }
        }
        program.push(Insn(RETURN, 0, 0, rule.action));
    }
    program.push(Insn(RETURN, 0, 0, call.otherwise));
    Ok(())
}

/// Where a step of a condition leads.
#[derive(Clone, Copy)]
enum Target {
    Next,
    Holds,
    Fails,
}

#[derive(Clone, Copy)]
enum Step {
    Plain(u16, u32),
    If(u16, u32, Target, Target),
}

/// Code for one condition on a 64-bit argument, which is looked at in halves.
fn condition(condition: &LinuxSeccompArg) -> Vec<Step> {
    use Target::{Fails, Holds, Next};
    let low = ARGUMENTS_AT + 8 * condition.index() as u32;
    let high = low + 4;
    let halves = |value: u64| (value as u32, (value >> 32) as u32);
    let (value_low, value_high) = halves(condition.value());
    let compare = |high_code, low_code, yes, no| {
        vec![
            Step::Plain(LOAD, high),
            Step::If(high_code, value_high, yes, Next),
            Step::If(IF_EQUAL, value_high, Next, no),
            Step::Plain(LOAD, low),
            Step::If(low_code, value_low, yes, no),
        ]
    };
    let equal = |yes, no| {
        vec![
            Step::Plain(LOAD, high),
            Step::If(IF_EQUAL, value_high, Next, no),
            Step::Plain(LOAD, low),
            Step::If(IF_EQUAL, value_low, yes, no),
        ]
    };
    match condition.op() {
        LinuxSeccompOperator::ScmpCmpEq => equal(Holds, Fails),
        LinuxSeccompOperator::ScmpCmpNe => equal(Fails, Holds),
        LinuxSeccompOperator::ScmpCmpGt => compare(IF_GREATER, IF_GREATER, Holds, Fails),
        LinuxSeccompOperator::ScmpCmpLe => compare(IF_GREATER, IF_GREATER, Fails, Holds),
        LinuxSeccompOperator::ScmpCmpGe => compare(IF_GREATER, IF_AT_LEAST, Holds, Fails),
        LinuxSeccompOperator::ScmpCmpLt => compare(IF_GREATER, IF_AT_LEAST, Fails, Holds),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            // The value is the mask here.
            let (wanted_low, wanted_high) = halves(condition.value_two().unwrap_or(0));
            vec![
                Step::Plain(LOAD, high),
                Step::Plain(AND, value_high),
                Step::If(IF_EQUAL, wanted_high, Next, Fails),
                Step::Plain(LOAD, low),
                Step::Plain(AND, value_low),
                Step::If(IF_EQUAL, wanted_low, Holds, Fails),
            ]
        }
    }
}
