//! UTF-8 that arrives in pieces.

/// Text of which some has arrived.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose end has not arrived.
    begun: Vec<u8>,
}

/// What has arrived cannot be the beginning of any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid;

impl Utf8 {
    /// Takes in what comes next.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Invalid> {
        let mut rest = bytes;
        while let (false, Some((first, later))) = (self.begun.is_empty(), rest.split_first()) {
            self.begun.push(*first);
            rest = later;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_some() => return Err(Invalid),
                Err(_) => {}
            }
        }
        match std::str::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Invalid),
            Err(error) => {
                let begun = rest.get(error.valid_up_to()..).unwrap_or_default();
                self.begun.extend_from_slice(begun);
                Ok(())
            }
        }
    }

    /// The text ends here; the next one may begin.
    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        let is_whole = self.begun.is_empty();
        self.begun.clear();
        is_whole.then_some(()).ok_or(Invalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_pieces(bytes: &[u8], piece: usize) -> Result<(), Invalid> {
        let mut text = Utf8::default();
        bytes
            .chunks(piece)
            .try_for_each(|piece| text.push(piece))
            .and_then(|()| text.end())
    }

    #[test]
    fn what_can_become_no_text_is_noticed_at_once() {
        let mut text = Utf8::default();
        assert_eq!(text.push(b"\xf4"), Ok(()));
        assert_eq!(text.push(b"\x90"), Err(Invalid));
    }

    #[test]
    fn a_character_that_does_not_end_is_none() {
        let mut text = Utf8::default();
        assert_eq!(text.push("é".as_bytes().split_at(1).0), Ok(()));
        assert_eq!(text.end(), Err(Invalid));
        assert_eq!(text.push(b"e"), Ok(()));
        assert_eq!(text.end(), Ok(()));
    }

    proptest! {
        #[test]
        fn it_is_what_std_says_of_the_whole(bytes in any::<Vec<u8>>(), piece in 1_usize..5) {
            let whole = std::str::from_utf8(&bytes).map(drop).map_err(|_| Invalid);
            prop_assert_eq!(in_pieces(&bytes, piece), whole);
        }

        #[test]
        fn text_is_text_wherever_it_is_cut(text in "\\PC{0,20}", piece in 1_usize..5) {
            prop_assert_eq!(in_pieces(text.as_bytes(), piece), Ok(()));
        }
    }
}
