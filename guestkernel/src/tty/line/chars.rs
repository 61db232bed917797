//! Classes of characters, by Latin-1 as Linux has them here.

/// Whether it is a control character.
pub(super) const fn is_control(char: u8) -> bool {
    char < 0x20 || char == 0x7f
}

const fn is_upper(char: u8) -> bool {
    char.is_ascii_uppercase() || char >= 0xc0 && char <= 0xde && char != 0xd7
}

const fn is_lower(char: u8) -> bool {
    char.is_ascii_lowercase() || char >= 0xdf && char != 0xf7
}

/// Whether it is part of a word.
pub(super) const fn is_word(char: u8) -> bool {
    is_upper(char) || is_lower(char) || char.is_ascii_digit() || char == b'_'
}

/// In lower case.
pub(super) const fn lower(char: u8) -> u8 {
    if is_upper(char) { char + 0x20 } else { char }
}

/// In upper case.
pub(super) const fn upper(char: u8) -> u8 {
    if is_lower(char) { char - 0x20 } else { char }
}
