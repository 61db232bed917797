use linux_raw_sys::general::{ECHOPRT, IUTF8, NOFLSH, XTABS};
use proptest::prelude::*;
use std::{vec, vec::Vec as StdVec};

use super::*;
use crate::signal::{SIGINT, SIGTSTP};

/// Output with a limit.
#[derive(Debug)]
struct Screen {
    bytes: StdVec<u8>,
    limit: usize,
}

impl Output for Screen {
    fn room(&self) -> usize {
        self.limit - self.bytes.len()
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.bytes.extend_from_slice(&bytes[..count]);
        count
    }

    fn flush(&mut self) {
        self.bytes.clear();
    }
}

fn screen() -> Screen {
    Screen { bytes: StdVec::new(), limit: 1 << 16 }
}

fn line(change: impl FnOnce(&mut Termios)) -> Line {
    let mut termios = Termios::COOKED;
    change(&mut termios);
    Line::new(termios).expect("memory")
}

/// What is shown and what is read when this is typed.
fn typed(change: impl FnOnce(&mut Termios), text: &[u8]) -> (StdVec<u8>, StdVec<StdVec<u8>>) {
    let (mut line, mut out) = (line(change), screen());
    assert_eq!(line.receive(text, &mut out), text.len());
    let mut lines = StdVec::new();
    while line.has_input(false) {
        let mut buffer = [0; SIZE];
        let count = line.read_line(&mut buffer);
        lines.push(buffer[..count].to_vec());
    }
    (out.bytes, lines)
}

#[test]
fn lines_are_edited_before_they_are_read() {
    let (shown, lines) = typed(|_| {}, b"ab\x7fc\n");
    assert_eq!((shown.as_slice(), lines), (&b"ab\x08 \x08c\r\n"[..], vec![b"ac\n".to_vec()]));
    assert_eq!(typed(|_| {}, b"one two\x17x\n").1, [b"one x\n"]);
    assert_eq!(typed(|_| {}, b"gone\x15kept\n").1, [b"kept\n"]);
    assert_eq!(typed(|_| {}, b"a\x16\x03b\r").1, [b"a\x03b\n"]);
    assert_eq!(typed(|_| {}, b"x\x04\x04y\n").1, [b"x".to_vec(), b"".to_vec(), b"y\n".to_vec()]);
}

#[test]
fn what_is_erased_is_shown_as_asked() {
    let shown = |change: fn(&mut Termios), text: &[u8]| typed(change, text).0;
    assert_eq!(shown(|t| t.local |= ECHOPRT, b"ab\x7f\x7fc"), b"ab\\ba/c");
    assert_eq!(shown(|_| {}, b"\x01\x7f"), b"^A\x08 \x08\x08 \x08");
    assert_eq!(shown(|_| {}, b"ab\t\x7f"), b"ab\t\x08\x08\x08\x08\x08\x08");
    assert_eq!(shown(|t| t.input |= IUTF8, "é\x7f".as_bytes()), "é\x08 \x08".as_bytes());
    assert_eq!(shown(|t| t.input |= IUTF8, "aé\x7f\n".as_bytes()).len(), 8);
    assert_eq!(shown(|_| {}, b"ab\x12"), b"ab^R\r\nab");
}

#[test]
fn signals_flush_unless_they_must_not() {
    let (mut line, mut out) = (line(|_| {}), screen());
    line.receive(b"old\x03new\n", &mut out);
    assert!(line.take_effects().signals.has(SIGINT));
    let mut buffer = [0; 16];
    assert_eq!(line.read_line(&mut buffer), 4);
    assert_eq!(out.bytes, b"^Cnew\r\n");
    let (mut line, mut out) = (self::line(|t| t.local |= NOFLSH), screen());
    line.receive(b"old\x1anew\n", &mut out);
    assert!(line.take_effects().signals.has(SIGTSTP));
    assert_eq!(line.read_line(&mut buffer), 7);
}

#[test]
fn a_long_line_is_cut_and_can_be_ended() {
    let (mut line, mut out) = (line(|t| t.local &= !ECHO), screen());
    let text = [b'x'; 5000];
    assert_eq!(line.receive(&text, &mut out), 5000);
    assert!(!line.has_input(true));
    line.receive(b"\n", &mut out);
    let mut buffer = [0; 2 * SIZE];
    assert_eq!(line.read_line(&mut buffer), SIZE);
    assert_eq!(&buffer[SIZE - 2..SIZE], b"x\n");
    assert_eq!(line.input_len(), 0);
}

#[test]
fn the_end_of_a_file_after_a_full_buffer_is_no_read_of_its_own() {
    let (mut line, mut out) = (line(|_| {}), screen());
    line.receive(b"abcd\x04next\n", &mut out);
    assert_eq!(line.input_len(), 9);
    let mut buffer = [0; 4];
    assert_eq!(line.read_line(&mut buffer), 4);
    assert_eq!(line.read_line(&mut buffer), 4);
    assert_eq!(&buffer, b"next");
}

#[test]
fn output_is_processed_with_columns() {
    let printed = |change: fn(&mut Termios), text: &[u8]| {
        let (mut line, mut out) = (line(change), screen());
        assert_eq!(line.write(text, &mut out), text.len());
        out.bytes
    };
    assert_eq!(printed(|_| {}, b"a\tb\n"), b"a\tb\r\n");
    assert_eq!(printed(|t| t.output |= XTABS, b"a\tb"), b"a       b");
    assert_eq!(printed(|t| t.output |= linux_raw_sys::general::OLCUC, b"aB1\n"), b"AB1\r\n");
    assert_eq!(printed(|t| t.output |= linux_raw_sys::general::ONOCR, b"\ra\r"), b"a\r");
    assert_eq!(printed(|t| t.output |= linux_raw_sys::general::OCRNL, b"a\r"), b"a\n");
}

#[test]
fn flow_control_stops_output_and_the_echo() {
    let (mut line, mut out) = (line(|_| {}), screen());
    line.receive(b"\x13ab", &mut out);
    assert_eq!((line.write(b"text", &mut out), out.bytes.len()), (0, 0));
    line.receive(b"\x11", &mut out);
    assert!(line.take_effects().writable);
    assert_eq!(line.write(b"text", &mut out), 4);
    assert_eq!(out.bytes, b"abtext");
}

#[test]
fn a_change_to_lines_makes_what_was_typed_one() {
    let (mut line, mut out) = (line(|t| t.local &= !ICANON), screen());
    line.receive(b"ab", &mut out);
    line.set_termios(Termios::COOKED, &mut out);
    let mut buffer = [0; 8];
    assert_eq!(line.read_line(&mut buffer), 2);
    line.receive(b"cd", &mut out);
    line.set_termios(Termios { local: 0, ..Termios::COOKED }, &mut out);
    assert_eq!(line.read_bytes(&mut buffer), (2, false));
}

/// A step of a random session.
#[derive(Clone, Debug)]
enum Action {
    Type(StdVec<u8>),
    Print(StdVec<u8>),
    Read(usize),
    Settings(u32, u32, u32),
    Drain,
    Stop(bool),
}

fn action() -> impl Strategy<Value = Action> {
    let bytes = prop::collection::vec(prop_oneof![any::<u8>(), 0u8..32], 0..600);
    prop_oneof![
        bytes.clone().prop_map(Action::Type),
        bytes.prop_map(Action::Print),
        (0usize..5000).prop_map(Action::Read),
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(i, o, l)| Action::Settings(i, o, l)),
        Just(Action::Drain),
        any::<bool>().prop_map(Action::Stop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// No byte is lost, added or moved in raw mode, whatever sizes are read and written.
    #[test]
    fn raw_bytes_come_out_as_they_went_in(
        steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..3000), 0usize..3000), 1..40),
    ) {
        let mut line = Line::new(Termios::RAW).expect("memory");
        let mut out = screen();
        let (mut expected, mut got) = (StdVec::new(), StdVec::new());
        for (bytes, len) in steps {
            let taken = line.receive(&bytes, &mut out);
            prop_assert!(taken == bytes.len() || line.input_len() == SIZE - 1);
            expected.extend_from_slice(&bytes[..taken]);
            let mut buffer = vec![0; len];
            let (count, more) = line.read_bytes(&mut buffer);
            got.extend_from_slice(&buffer[..count]);
            prop_assert_eq!(more, got.len() < expected.len());
        }
        let mut buffer = [0; SIZE];
        let (count, _) = line.read_bytes(&mut buffer);
        got.extend_from_slice(&buffer[..count]);
        prop_assert_eq!(got, expected);
        prop_assert!(out.bytes.is_empty());
    }

    /// Whatever is typed, printed and set: bounded memory, no panic, and reads that end.
    #[test]
    fn nothing_takes_more_than_its_share(steps in prop::collection::vec(action(), 1..60)) {
        let mut line = Line::new(Termios::COOKED).expect("memory");
        let mut out = Screen { bytes: StdVec::new(), limit: 8192 };
        for step in steps {
            match step {
                Action::Type(bytes) => prop_assert!(line.receive(&bytes, &mut out) <= bytes.len()),
                Action::Print(bytes) => prop_assert!(line.write(&bytes, &mut out) <= bytes.len()),
                Action::Read(len) => {
                    let mut buffer = vec![0; len];
                    let canonical = line.is_canonical();
                    let got = if canonical { line.read_line(&mut buffer) } else { line.read_bytes(&mut buffer).0 };
                    prop_assert!(got <= len);
                }
                Action::Settings(input, output, local) => {
                    let mut termios = Termios { input, output, local, ..*line.termios() };
                    termios.chars[(input % 17) as usize] = output as u8;
                    line.set_termios(termios.normalized(), &mut out);
                }
                Action::Drain => out.bytes.clear(),
                Action::Stop(stop) => line.stop_by_program(stop),
            }
            prop_assert!(line.input_len() <= SIZE);
            prop_assert!(line.echo.len() <= SIZE);
            prop_assert_eq!(line.bytes.capacity(), SIZE);
        }
    }
}
