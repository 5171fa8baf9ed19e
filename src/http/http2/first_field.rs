//! Whether a block of fields begins with a pseudo-field, as far as its bytes alone tell (RFC 7541 section 6).
//!
//! The codec drops pseudo-fields of a trailer section, which makes a request malformed (RFC 9113 section 8.1). It sees to it that they
//! come first wherever they are, so the first field is enough. One that was said before may be named by its place in the table
//! of the connection, which only the codec has: such a one is left to it.

/// In the static table pseudo-fields come first (RFC 7541 appendix A).
const PSEUDO: std::ops::RangeInclusive<u8> = 1..=14;

/// Looks at the bytes of a block one after the other, until it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum FirstField {
    #[default]
    Begins,
    /// In a new size of the table, which may stand before it and goes on.
    Resizes,
    /// Its name is written out; its length comes.
    Named,
    /// Its name comes, with a code for each character or without.
    Name { is_coded: bool },
}

impl FirstField {
    /// Goes on by one byte: whether it is a pseudo-field, when that is known.
    pub(super) fn step(&mut self, byte: u8) -> Option<bool> {
        let is_long = |prefix: u8| byte & prefix == prefix;
        let next = match *self {
            Self::Begins => match byte {
                // Indexed.
                0x80.. => return Some(PSEUDO.contains(&(byte & 0x7f))),
                // Added to the table, not added, never added.
                0x40 | 0x00 | 0x10 => Self::Named,
                0x41.. => return Some(PSEUDO.contains(&(byte & 0x3f))),
                0x20.. if is_long(0x1f) => Self::Resizes,
                0x20.. => Self::Begins,
                _ => return Some(PSEUDO.contains(&(byte & 0x0f))),
            },
            Self::Resizes if byte & 0x80 == 0 => Self::Begins,
            Self::Resizes => Self::Resizes,
            // The longest is `:authority`.
            Self::Named if [0, 0x7f].contains(&(byte & 0x7f)) => return Some(false),
            Self::Named => Self::Name {
                is_coded: byte & 0x80 != 0,
            },
            Self::Name { is_coded: false } => return Some(byte == b':'),
            // Seven bits (RFC 7541 appendix B).
            Self::Name { is_coded: true } => return Some(byte & 0xfe == 0b1011_1000),
        };
        *self = next;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_pseudo(block: &[u8]) -> Option<bool> {
        let mut first = FirstField::default();
        block.iter().find_map(|byte| first.step(*byte))
    }

    #[test]
    fn pseudo_fields_are_known_however_they_are_written() {
        for (block, what) in [
            (&[0x83][..], "indexed"),
            (&[0x8e], "indexed, the last one"),
            (&[0x44, 2, b'/', b'x'], "with a name of the table, added"),
            (&[0x04, 2, b'/', b'x'], "not added"),
            (&[0x14, 2, b'/', b'x'], "never added"),
            (b"\x40\x05:path\x01/", "written out"),
            (b"\x00\x05:path\x01/", "written out, not added"),
            (&[0x10, 0x84, 0xb9, 0x58, 0xd3, 0x3f], "written out in code"),
            (&[0x20, 0x83], "behind a new size"),
            (&[0x3f, 0xe1, 0x1f, 0x83], "behind a large new size"),
        ] {
            assert_eq!(is_pseudo(block), Some(true), "{what}");
        }
    }

    #[test]
    fn other_fields_are_none() {
        for block in [
            &[0x8f][..],
            &[0xbe],
            &[0xff, 0x03],
            &[0x4f, 1, b'x'],
            &[0x7f, 0x01, 1, b'x'],
            &[0x0f, 0x00, 1, b'x'],
            &[0x1f, 0x01, 1, b'x'],
            b"\x40\x01x\x01y",
            b"\x00\x01x\x01y",
            &[0x40, 0x81, 0xf3, 1, b'y'],
            &[0x40, 0x00],
            &[0x40, 0x7f, 0x10, b':'],
        ] {
            assert_eq!(is_pseudo(block), Some(false), "{block:x?}");
        }
        assert_eq!(is_pseudo(&[0x20, 0x20]), None);
    }
}
