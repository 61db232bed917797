//! `struct termios` and its relatives, termios(3) and ioctl_tty(2).

use linux_raw_sys::general::{
    B38400, BOTHER, CBAUD, CBAUDEX, CREAD, CS8, CSIZE, ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, IBSHIFT, ICANON,
    ICRNL, IEXTEN, ISIG, IXON, ONLCR, OPOST, PARENB,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the `struct termios` of the kernel's interface: what comes before the speeds.
pub const PLAIN: usize = 36;
/// Bytes of a `struct termio`, the oldest form.
pub const OLD: usize = 18;

/// Settings of a terminal, laid out as `struct termios2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termios {
    /// `c_iflag`
    pub input: u32,
    /// `c_oflag`
    pub output: u32,
    /// `c_cflag`
    pub control: u32,
    /// `c_lflag`
    pub local: u32,
    /// `c_line`
    pub line: u8,
    /// `c_cc`
    pub chars: [u8; 19],
    /// `c_ispeed`, bits per second.
    pub input_speed: u32,
    /// `c_ospeed`, bits per second.
    pub output_speed: u32,
}

/// The control characters that a terminal begins with.
const CHARS: [u8; 19] =
    [0x03, 0x1c, 0x7f, 0x15, 0x04, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0x0f, 0x17, 0x16, 0, 0, 0];

/// Bits per second by the number in `c_cflag`.
const RATES: [u32; 31] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200,
    230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000,
    3_000_000, 3_500_000, 4_000_000,
];

impl Termios {
    /// What the program's end of a new pseudo-terminal has.
    pub const COOKED: Self = Self {
        input: ICRNL | IXON,
        output: OPOST | ONLCR,
        control: B38400 | CS8 | CREAD,
        local: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        line: 0,
        chars: CHARS,
        input_speed: 38_400,
        output_speed: 38_400,
    };

    /// What the controlling end has, for good.
    pub const RAW: Self = Self { input: 0, output: 0, local: 0, ..Self::COOKED };

    /// A control character, `V*`.
    #[must_use]
    pub const fn char(&self, index: u32) -> u8 {
        self.chars[index as usize]
    }

    /// What becomes of it in a pseudo-terminal, once a program has set it: its speeds follow from the flags, and
    /// characters have eight bits.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        let output = rate(self.control, self.output_speed);
        let input = match self.control >> IBSHIFT & CBAUD {
            0 => output,
            bits => rate(bits, self.input_speed),
        };
        (self.input_speed, self.output_speed) = (input, output);
        self.control = self.control & !(CSIZE | PARENB) | CS8 | CREAD;
        self
    }

    /// As a `struct termio`.
    #[must_use]
    pub fn to_old(&self) -> [u8; OLD] {
        let mut bytes = [0; OLD];
        let flags = [self.input, self.output, self.control, self.local];
        for (place, flag) in bytes.chunks_exact_mut(2).zip(flags) {
            place.copy_from_slice(&(flag as u16).to_ne_bytes());
        }
        bytes[8] = self.line;
        bytes[9..17].copy_from_slice(&self.chars[..8]);
        bytes
    }

    /// With what a `struct termio` says, which knows half of the flags.
    #[must_use]
    pub fn with_old(mut self, bytes: &[u8; OLD]) -> Self {
        let flags = [&mut self.input, &mut self.output, &mut self.control, &mut self.local];
        for (pair, flag) in bytes.chunks_exact(2).zip(flags) {
            *flag = *flag & !0xffff | u32::from(u16::from_ne_bytes([pair[0], pair[1]]));
        }
        self.line = bytes[8];
        self.chars[..8].copy_from_slice(&bytes[9..17]);
        self
    }
}

/// Bits per second that the bits of `c_cflag` stand for; `other` when they say that it is elsewhere.
fn rate(control: u32, other: u32) -> u32 {
    let bits = control & CBAUD;
    if bits == BOTHER {
        return other;
    }
    let index = if bits & CBAUDEX != 0 { (bits & !CBAUDEX) + 15 } else { bits };
    // Numbers beyond the table mean what they would without the bit that extends it.
    let beyond = (bits & !CBAUDEX) as usize;
    RATES.get(index as usize).or_else(|| RATES.get(beyond)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general::{B9600, B115200, CS7};

    #[test]
    fn speeds_follow_from_the_flags() {
        let set = |control| Termios { control, ..Termios::COOKED }.normalized();
        assert_eq!(set(B9600 | CS7).output_speed, 9600);
        assert_eq!(set(B9600 | CS7).control, B9600 | CS8 | CREAD);
        assert_eq!(set(B115200).input_speed, 115_200);
        assert_eq!(set(B9600 | B115200 << IBSHIFT).input_speed, 115_200);
        let own = Termios { control: BOTHER, output_speed: 12_345, ..Termios::COOKED }.normalized();
        assert_eq!((own.output_speed, own.input_speed), (12_345, 12_345));
    }

    #[test]
    fn the_oldest_form_keeps_what_it_does_not_know() {
        let high = Termios { input: 0x1_0500, ..Termios::COOKED };
        let mut bytes = high.to_old();
        assert_eq!(Termios::COOKED.with_old(&high.to_old()), Termios::COOKED);
        bytes[9] = 7;
        assert_eq!(high.with_old(&bytes).char(0), 7);
        assert_eq!(high.with_old(&bytes).input, 0x1_0500);
    }
}
