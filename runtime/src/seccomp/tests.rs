use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What a program says of a call.
fn run(program: &[u64], number: u32, arguments: [u64; 6]) -> u32 {
    let mut facts = vec![number, ARCH, 0, 0];
    facts.extend(arguments.iter().flat_map(|long| [*long as u32, (long >> 32) as u32]));
    let (mut at, mut a) = (0, 0);
    loop {
        let word = program[at];
        let (code, yes, no, k) = (word as u16, (word >> 16) as u8, (word >> 24) as u8, (word >> 32) as u32);
        at += 1;
        let holds = match code {
            LOAD => {
                a = facts[k as usize / 4];
                continue;
            }
            AND => {
                a &= k;
                continue;
            }
            JUMP => {
                at += k as usize;
                continue;
            }
            RETURN => return k,
            IF_EQUAL => a == k,
            IF_GREATER => a > k,
            IF_AT_LEAST => a >= k,
            other => panic!("{other:#x}"),
        };
        at += usize::from(if holds { yes } else { no });
    }
}

fn compiled(profile: Value) -> Result<Vec<u64>> {
    compile(&serde_json::from_value(profile).unwrap()).map(|filter| filter.program)
}

const EPERM: u32 = ERRNO | 1;
const ENOSYS: u32 = ERRNO | 38;

#[test]
fn a_profile_decides_by_number() {
    let program = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            { "names": ["read", "write", "openat", "no_such_call", "clone3"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
            { "names": ["kexec_load"], "action": "SCMP_ACT_KILL_PROCESS" },
            { "names": ["acct"], "action": "SCMP_ACT_TRAP" },
        ],
    }))
    .unwrap();
    let says = |number: i64| run(&program, number as u32, [0; 6]);
    assert_eq!([says(libc::SYS_read), says(libc::SYS_openat), says(libc::SYS_clone3)], [ALLOW; 3]);
    assert_eq!([says(libc::SYS_close), says(libc::SYS_mount), says(libc::SYS_pidfd_open)], [EPERM; 3]);
    assert_eq!(says(libc::SYS_ptrace), ENOSYS);
    assert_eq!([says(libc::SYS_kexec_load), says(libc::SYS_acct)], [KILL_PROCESS, TRAP]);
    // Newer than all that is named.
    assert_eq!([says(libc::SYS_clone3 + 1), says(1 << 30)], [ENOSYS; 2]);
}

#[test]
fn what_permits_by_default_permits_new_calls() {
    let program = compiled(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 }],
    }))
    .unwrap();
    assert_eq!(run(&program, libc::SYS_mkdir as u32, [0; 6]), ERRNO | 13);
    assert_eq!(run(&program, 400, [0; 6]), ALLOW);
}

#[test]
fn several_conditions_on_an_argument_are_alternatives() {
    let condition = |value: u64| json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" });
    let program = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [condition(0), condition(8)] }],
    }))
    .unwrap();
    let says = |value| run(&program, libc::SYS_personality as u32, [value, 0, 0, 0, 0, 0]);
    assert_eq!([says(0), says(8), says(1), says(8 << 32)], [ALLOW, ALLOW, EPERM, EPERM]);
}

#[test]
fn what_cannot_be_had_is_refused() {
    let notify = json!({ "defaultAction": "SCMP_ACT_NOTIFY" });
    let listener = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x" });
    let index = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["read"], "action": "SCMP_ACT_LOG", "args": [{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }] },
    ]});
    for profile in [notify, listener, index] {
        assert!(compiled(profile).is_err());
    }
}

fn holds(op: &str, argument: u64, value: u64, second: u64) -> bool {
    match op {
        "SCMP_CMP_NE" => argument != value,
        "SCMP_CMP_LT" => argument < value,
        "SCMP_CMP_LE" => argument <= value,
        "SCMP_CMP_EQ" => argument == value,
        "SCMP_CMP_GE" => argument >= value,
        "SCMP_CMP_GT" => argument > value,
        _ => argument & value == second,
    }
}

proptest! {
    #[test]
    fn conditions_mean_what_they_say(
        conditions in proptest::collection::vec(
            (
                proptest::sample::select(vec![
                    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
                    "SCMP_CMP_MASKED_EQ",
                ]),
                proptest::sample::select(vec![0, 1, 2, 1 << 32, (1 << 32) + 1, u64::MAX]),
                0u64..3,
            ),
            1..6,
        ),
        arguments in proptest::array::uniform6(
            proptest::sample::select(vec![0, 1, 2, 1 << 32, (1 << 32) + 1, u64::MAX])
        ),
    ) {
        let args: Vec<_> = conditions.iter().enumerate().map(|(index, (op, value, second))| {
            json!({ "index": index, "value": value, "valueTwo": second, "op": op })
        }).collect();
        let program = compiled(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": args }],
        })).unwrap();
        let all = conditions.iter().enumerate().all(|(index, (op, value, second))| {
            holds(op, arguments[index], *value, *second)
        });
        let said = run(&program, libc::SYS_ioctl as u32, arguments);
        prop_assert_eq!(said, if all { ALLOW } else { EPERM });
    }
}
