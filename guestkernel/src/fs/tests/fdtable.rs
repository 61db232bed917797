use proptest::prelude::*;
use std::collections::BTreeMap;

use super::{super::fdtable::FdTable, *};
use crate::errno::Errno;

#[test]
fn exec_closes_what_is_marked() {
    let (_ns, walk) = world();
    let file = put(&walk, "f", b"").expect("file");
    let table = FdTable::new();
    for fd in 0..130 {
        assert_eq!(table.install(file.clone(), fd % 3 == 0, 0, 1024), Ok(fd));
    }
    let copy = table.fork();
    table.close_on_exec();
    assert_eq!(table.list(), (0..130).filter(|fd| fd % 3 != 0).collect::<Vec<_>>());
    assert_eq!(copy.list().len(), 130);
    copy.close_range(2, u32::MAX, false);
    assert_eq!(copy.list(), [0, 1]);
}

proptest! {
    #[test]
    fn numbers_are_the_lowest_free(steps in prop::collection::vec((0u8..4, 0i32..90), 1..200)) {
        let (_ns, walk) = world();
        let file = put(&walk, "f", b"").expect("file");
        let table = FdTable::new();
        let mut model: BTreeMap<i32, bool> = BTreeMap::new();
        for (step, n) in steps {
            match step {
                0 | 1 => {
                    let min = if step == 0 { 0 } else { n };
                    let expected = (min..).find(|fd| !model.contains_key(fd)).filter(|&fd| fd < 80);
                    let got = table.install(file.clone(), n % 2 == 0, min as u32, 80);
                    match expected {
                        Some(fd) => {
                            prop_assert_eq!(got, Ok(fd));
                            model.insert(fd, n % 2 == 0);
                        }
                        None => prop_assert!(matches!(got, Err(Errno::EMFILE | Errno::EINVAL))),
                    }
                }
                2 => prop_assert_eq!(table.close(n).is_ok(), model.remove(&n).is_some()),
                _ => {
                    let got = table.install_at(n, file.clone(), false, 80);
                    prop_assert_eq!(got.is_ok(), n < 80);
                    if n < 80 {
                        model.insert(n, false);
                    }
                }
            }
            prop_assert_eq!(table.list(), model.keys().copied().collect::<Vec<_>>());
            for (&fd, &cloexec) in &model {
                prop_assert_eq!(table.cloexec(fd), Ok(cloexec));
            }
        }
    }
}
