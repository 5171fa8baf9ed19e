//! The chunked coding (RFC 9112 section 7.1), followed and not decoded: hyper decodes what was found to be in order.

use super::extension::Extension;
use super::{Bounds, Malformed, head};

/// Digits of a size, with zeros before it.
const DIGITS_MAX: u8 = 64;

/// Bytes of all extensions of one body (RFC 9112 section 7.1.1). hyper reads no more of them.
const EXTENSIONS_MAX: u32 = (16 << 10) - 1;

/// Where a chunked body is.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    /// Of the chunk, or what is left of it.
    size: u64,
    digits: u8,
    extensions: u32,
    /// Bytes of the trailer section that were looked at in vain.
    seen: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Size,
    /// A blank after the size: an extension must follow.
    Blank,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

impl Chunks {
    /// How many of `bytes` may be passed on, and whether the body ends there.
    pub(super) fn look(
        &mut self,
        bytes: &[u8],
        bounds: &Bounds,
    ) -> Result<(usize, bool), Malformed> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.place {
                Place::Data => {
                    let left = bytes.len() - at;
                    let count = usize::try_from(self.size).unwrap_or(usize::MAX).min(left);
                    self.size -= count as u64;
                    at += count;
                    if self.size == 0 {
                        self.place = Place::DataCr;
                    }
                }
                Place::Trailers => {
                    let section = bytes.get(at..).unwrap_or_default();
                    if let Some(length) = head::trailers(section, self.seen, bounds)? {
                        return Ok((at + length, true));
                    }
                    self.seen = section.len();
                    return Ok((at, false));
                }
                Place::Size
                | Place::Blank
                | Place::Extension(_)
                | Place::SizeLf
                | Place::DataCr
                | Place::DataLf => {
                    self.place = self.next(byte, bounds)?;
                    at += 1;
                }
            }
        }
        Ok((at, false))
    }

    /// Where the body is after `byte`, outside of data and trailers.
    fn next(&mut self, byte: u8, bounds: &Bounds) -> Result<Place, Malformed> {
        let place = match (self.place, byte) {
            (Place::Size, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let size = self.size.checked_mul(16).ok_or(Malformed::ChunkSize)?;
                self.size = size + u64::from(digit);
                self.digits += 1;
                if self.digits > DIGITS_MAX {
                    return Err(Malformed::ChunkSize);
                }
                Place::Size
            }
            (Place::Size, b'\r') if self.digits > 0 => Place::SizeLf,
            (Place::Size, b' ' | b'\t') if self.digits > 0 => self.extension(Place::Blank)?,
            (Place::Size, b';') if self.digits > 0 => {
                self.extension(Place::Extension(Extension::default()))?
            }
            (Place::Blank, b' ' | b'\t') => self.extension(Place::Blank)?,
            (Place::Blank, b';') => self.extension(Place::Extension(Extension::default()))?,
            (Place::Size | Place::Blank, _) => return Err(Malformed::ChunkSize),
            (Place::Extension(extension), b'\r') if extension.may_end() => Place::SizeLf,
            (Place::Extension(extension), _) => {
                let next = extension.next(byte).ok_or(Malformed::ChunkExtension)?;
                self.extension(Place::Extension(next))?
            }
            (Place::SizeLf, b'\n') => {
                self.digits = 0;
                match self.size {
                    0 => Place::Trailers,
                    size if size > bounds.body => return Err(Malformed::ChunkTooLarge),
                    _ => Place::Data,
                }
            }
            (Place::SizeLf, _) => return Err(Malformed::LineEnd),
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::DataCr | Place::DataLf, _) => return Err(Malformed::ChunkEnd),
            (place @ (Place::Data | Place::Trailers), _) => place,
        };
        Ok(place)
    }

    /// Another byte of one.
    fn extension(&mut self, place: Place) -> Result<Place, Malformed> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS_MAX {
            return Err(Malformed::ChunkExtension);
        }
        Ok(place)
    }
}
