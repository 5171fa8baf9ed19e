//! Extensions of a chunk: names, each with or without a value (RFC 9112 section 7.1.1).

use super::head::is_in_token;

/// Where in one the bytes are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// Before its name, in it, and behind a blank after it.
    #[default]
    Begin,
    Name,
    NameEnd,
    /// Before its value, and in it.
    Value,
    Token,
    Quoted,
    QuotedPair,
    QuotedEnd,
    /// Behind a blank after it.
    ValueEnd,
}

impl Extension {
    /// Whether the line may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::QuotedEnd)
    }

    /// Where `byte` leads; none where there can be no such byte.
    pub(super) fn next(self, byte: u8) -> Option<Self> {
        let is_blank = matches!(byte, b' ' | b'\t');
        // `qdtext`, but for the quote and the backslash, and what a backslash may stand before (RFC 9110 section 5.6.4).
        let is_text = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        Some(match (self, byte) {
            (Self::Begin, _) if is_blank => Self::Begin,
            (Self::Begin | Self::Name, _) if is_in_token(byte) => Self::Name,
            (Self::Name | Self::NameEnd, _) if is_blank => Self::NameEnd,
            (Self::Name | Self::NameEnd, b'=') => Self::Value,
            (Self::Value, _) if is_blank => Self::Value,
            (Self::Value | Self::Token, _) if is_in_token(byte) => Self::Token,
            (Self::Value, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::QuotedEnd,
            (Self::Quoted, b'\\') => Self::QuotedPair,
            (Self::Quoted | Self::QuotedPair, _) if is_text => Self::Quoted,
            (Self::Token | Self::QuotedEnd | Self::ValueEnd, _) if is_blank => Self::ValueEnd,
            (Self::Name | Self::NameEnd | Self::Token | Self::QuotedEnd | Self::ValueEnd, b';') => {
                Self::Begin
            }
            _ => return None,
        })
    }
}
