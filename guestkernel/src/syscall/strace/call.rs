//! The text of one call, and what is put into it: numbers, addresses, strings.

use alloc::{string::String, vec::Vec};
use core::fmt::{self, Write};
use zerocopy::{FromBytes, IntoBytes};

use super::{names::Names, out};
use crate::{arch::uaccess, fs::walk::PATH_MAX};

/// Bytes of a string that are shown.
pub(super) const STRING_MAX: usize = 32;
/// Elements of an array that are shown.
pub(super) const ARRAY_MAX: usize = 32;
/// Longest text of a call.
const TEXT_MAX: usize = 3500;

/// How bytes are quoted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    /// Printable characters as they are, the others escaped.
    Text,
    /// Every byte in hexadecimal.
    Hex,
}

/// A call and the text made of it so far.
pub(super) struct Call {
    pub(super) nr: usize,
    pub(super) args: [u64; 6],
    /// The result, once there is one.
    pub(super) ret: Option<i64>,
    /// What follows the result in parentheses.
    pub(super) note: String,
    text: String,
}

impl Call {
    pub(super) const fn new(nr: usize, args: [u64; 6]) -> Self {
        Self { nr, args, ret: None, note: String::new(), text: String::new() }
    }

    /// The call has ended with this result.
    pub(super) const fn finish(&mut self, ret: i64) {
        self.ret = Some(ret);
    }

    /// Whether it failed, or will be made again.
    pub(super) fn failed(&self) -> bool {
        self.ret.is_some_and(|ret| (-4095..0).contains(&ret))
    }

    /// Takes the text out.
    pub(super) fn take(&mut self) -> String {
        core::mem::take(&mut self.text)
    }

    pub(super) fn put(&mut self, text: fmt::Arguments<'_>) {
        if self.text.len() < TEXT_MAX {
            // Writing to a string does not fail.
            let _ = self.text.write_fmt(text);
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.put(format_args!("{text}"));
    }

    pub(super) fn addr(&mut self, value: u64) {
        if value == 0 { self.push("NULL") } else { out!(self, "{value:#x}") }
    }

    pub(super) fn hex(&mut self, value: u64) {
        if value == 0 { self.push("0") } else { out!(self, "{value:#x}") }
    }

    /// One of several values.
    pub(super) fn one_of(&mut self, value: u64, names: &Names) {
        match names.known.iter().find(|(known, _)| *known == value) {
            Some((_, name)) => self.push(name),
            None => out!(self, "{value:#x} /* {} */", names.unknown),
        }
    }

    /// Any of several bits.
    pub(super) fn bits(&mut self, value: u64, names: &Names) {
        let mut rest = value;
        let mut shown = false;
        for &(bits, name) in names.known {
            if (bits != 0 && rest & bits == bits) || (bits == 0 && value == 0) {
                out!(self, "{}{name}", if shown { "|" } else { "" });
                rest &= !bits;
                shown = true;
            }
        }
        match (rest, shown) {
            (0, true) => {}
            (0, false) => self.push("0"),
            (_, true) => out!(self, "|{rest:#x}"),
            (_, false) => out!(self, "{rest:#x} /* {} */", names.unknown),
        }
    }

    /// A value of user memory that `show` prints; its address when it cannot be read.
    pub(super) fn value<T: FromBytes + IntoBytes>(&mut self, addr: u64, show: impl FnOnce(&mut Self, &T)) {
        match uaccess::get::<T>(addr) {
            Ok(value) if addr != 0 => show(self, &value),
            _ => self.addr(addr),
        }
    }

    /// The same for a value that the call stores: the address when it failed.
    pub(super) fn stored<T: FromBytes + IntoBytes>(&mut self, addr: u64, show: impl FnOnce(&mut Self, &T)) {
        if self.failed() { self.addr(addr) } else { self.value(addr, show) }
    }

    /// An array of user memory, of which the first elements are shown.
    pub(super) fn array<T: FromBytes + IntoBytes>(
        &mut self,
        addr: u64,
        count: u64,
        mut show: impl FnMut(&mut Self, &T),
    ) {
        if addr == 0 || (count != 0 && uaccess::get::<T>(addr).is_err()) {
            return self.addr(addr);
        }
        self.push("[");
        for index in 0..count {
            if index != 0 {
                self.push(", ");
            }
            if index >= ARRAY_MAX as u64 {
                self.push("...");
                break;
            }
            let at = addr.wrapping_add(index * size_of::<T>() as u64);
            match uaccess::get::<T>(at) {
                Ok(value) => show(self, &value),
                Err(_) => {
                    out!(self, "... /* {at:#x} */");
                    break;
                }
            }
        }
        self.push("]");
    }

    /// Bytes in quotes.
    pub(super) fn quoted(&mut self, bytes: &[u8], how: Quote, cut: bool) {
        self.push("\"");
        for (index, &byte) in bytes.iter().enumerate() {
            let digit_follows = bytes.get(index + 1).is_some_and(u8::is_ascii_digit);
            match byte {
                _ if how == Quote::Hex => out!(self, "\\x{byte:02x}"),
                b'"' => self.push("\\\""),
                b'\\' => self.push("\\\\"),
                b'\n' => self.push("\\n"),
                b'\t' => self.push("\\t"),
                b'\r' => self.push("\\r"),
                0x0b => self.push("\\v"),
                0x0c => self.push("\\f"),
                0x20..0x7f => out!(self, "{}", char::from(byte)),
                _ if digit_follows => out!(self, "\\{byte:03o}"),
                _ => out!(self, "\\{byte:o}"),
            }
        }
        self.push(if cut { "\"..." } else { "\"" });
    }

    /// Bytes of user memory.
    pub(super) fn bytes(&mut self, addr: u64, length: u64, how: Quote) {
        let mut buffer = [0; STRING_MAX];
        let count = usize::try_from(length).unwrap_or(STRING_MAX).min(STRING_MAX);
        match uaccess::copy_from_user(&mut buffer[..count], addr) {
            Ok(()) if addr != 0 => self.quoted(&buffer[..count], how, length > STRING_MAX as u64),
            _ => self.addr(addr),
        }
    }

    /// A string of user memory that ends with a zero byte.
    pub(super) fn string(&mut self, addr: u64, most: usize) {
        let mut buffer: Vec<u8> = alloc::vec![0; most.min(PATH_MAX)];
        match uaccess::strncpy_from_user(&mut buffer, addr) {
            Ok(length) if addr != 0 => self.quoted(&buffer[..length], Quote::Text, length == buffer.len()),
            _ => self.addr(addr),
        }
    }

    pub(super) fn path(&mut self, addr: u64) {
        self.string(addr, PATH_MAX);
    }
}
