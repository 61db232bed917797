//! `fault`: does to files what it is told, line by line, and says what came of it. The first process of a container
//! whose files something happens to.
//!
//! Files and mappings have numbers. Each answer ends with a mark and status 0, as the shell of a session gives it.
#![allow(missing_docs, unsafe_code, clippy::expect_used, reason = "a program of the tests")]

mod escape;
mod sys;
mod tree;

use std::{collections::BTreeMap, ffi::CString, io::BufRead};

/// Bytes of a read or write at a time.
const PIECE: usize = 64 * 1024;

#[derive(Default)]
struct State {
    files: BTreeMap<u64, i32>,
    many: Vec<i32>,
    /// Address and length of the mapping.
    map: (usize, usize),
}

fn main() {
    let mut state = State::default();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("input");
        if let Some(mark) = line.strip_prefix("echo ") {
            println!("{}", mark.trim_matches('"').replace("$?", "0"));
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["exec", ..] => {}
            words => println!("{}", state.perform(words)),
        }
    }
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

fn path(word: &str) -> CString {
    CString::new(word).expect("a path")
}

/// What a call gave: a number or the name of an error.
fn told(result: Result<i64, i32>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(errno) => sys::name(errno),
    }
}

impl State {
    fn file(&self, word: &str) -> i32 {
        self.files.get(&number(word)).copied().unwrap_or(-1)
    }

    fn perform(&mut self, words: &[&str]) -> String {
        match *words {
            ["open", file, name, flags] => match sys::open(&path(name), sys::flags(flags)) {
                Ok(fd) => {
                    self.files.insert(number(file), fd);
                    "ok".into()
                }
                Err(errno) => sys::name(errno),
            },
            ["close", file] => told(sys::close(self.file(file))),
            ["pread", file, offset, len] => match sys::pread(self.file(file), number(offset), number(len)) {
                Ok(bytes) => format!("{} {:?}", bytes.len(), bytes.first().copied().unwrap_or(0)),
                Err(errno) => sys::name(errno),
            },
            ["pwrite", file, offset, len, value] => {
                let bytes = vec![number(value) as u8; number(len) as usize];
                told(sys::pwrite(self.file(file), number(offset), &bytes))
            }
            ["fill", file] => self.fill(self.file(file)),
            ["fsync", file] => told(sys::fsync(self.file(file))),
            ["truncate", file, len] => told(sys::truncate(self.file(file), number(len))),
            ["size", file] => told(sys::size(self.file(file))),
            ["map", file, len, how] => match sys::map(self.file(file), number(len), how == "shared") {
                Ok(address) => {
                    self.map = (address, number(len) as usize);
                    "ok".into()
                }
                Err(errno) => sys::name(errno),
            },
            ["load", offset] => sys::load(self.at(offset)).map_or_else(signal, |value| value.to_string()),
            ["store", offset, value] => {
                sys::store(self.at(offset), number(value) as u8).map_or_else(signal, |()| "ok".into())
            }
            ["send", offset, len] => told(sys::send(self.at(offset), number(len) as usize)),
            ["receive", offset, len] => told(sys::receive(self.at(offset), number(len) as usize)),
            ["msync"] => told(sys::sync_map(self.map.0, self.map.1)),
            ["unlink", name] => told(sys::unlink(&path(name))),
            ["mkdir", name] => told(sys::mkdir(&path(name))),
            ["list", name] => tree::list(name),
            ["stat", name] => told(sys::stat(&path(name))),
            ["open-many", name, count] => self.open_many(name, number(count)),
            ["close-many"] => {
                self.many.drain(..).for_each(|fd| {
                    let _ = sys::close(fd);
                });
                "ok".into()
            }
            ["make-tree", top, directories, files] => tree::make(top, number(directories), number(files)),
            ["walk-tree", top] => tree::walk(top),
            ["remove-tree", top] => tree::remove(top),
            ["read-tree", top] => tree::read(top),
            ["escape", ..] => escape::run(&words[1..]),
            _ => format!("what is {words:?}?"),
        }
    }

    fn at(&self, offset: &str) -> usize {
        self.map.0 + number(offset) as usize
    }

    /// Writes until there is an error; says how many whole KiB it was above none, and the error.
    fn fill(&self, fd: i32) -> String {
        let bytes = vec![7; PIECE];
        let mut done = 0;
        loop {
            match sys::pwrite(fd, done, &bytes) {
                Ok(count) if count > 0 => done += count as u64,
                Ok(_) => return "nothing written".into(),
                Err(errno) => {
                    return format!("{} {}", if done > 0 { "some" } else { "none" }, sys::name(errno));
                }
            }
        }
    }

    /// Opens files `name0`, `name1`…, all of them at once; says how many, and what ended it.
    fn open_many(&mut self, name: &str, count: u64) -> String {
        for index in 0..count {
            match sys::open(&path(&format!("{name}{index}")), sys::flags("create")) {
                Ok(fd) => self.many.push(fd),
                Err(errno) => return format!("{index} {}", sys::name(errno)),
            }
        }
        format!("{count} ok")
    }
}

fn signal(number: i32) -> String {
    if number == libc::SIGBUS { "SIGBUS".into() } else { format!("signal {number}") }
}
