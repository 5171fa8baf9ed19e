//! The frames that a client sends, as far as the codec does not judge them: what comes first, how many carry nothing, and whether
//! one is in the middle.

use std::time::Duration;

use h2::Reason;

use super::first_field::FirstField;
use super::preface::PREFACE;
use super::setting::Setting;

/// So many frames a second may carry no part of a request. Who sends more wants work done for nothing: each PING and SETTINGS is
/// answered.
const EMPTY_MAX: u32 = 1_000;

/// So many frames a second may give room for an answer. A client that takes a gigabyte a second needs a tenth of them.
const UPDATES_MAX: u32 = 200_000;

/// The header of a frame (RFC 9113 section 4.1).
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY_FRAME: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// What a client does that ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    /// RFC 9113 section 3.4.
    #[error("the first frame is not SETTINGS")]
    FirstFrame,
    /// RFC 9113 section 10.5.
    #[error("too many frames that carry nothing")]
    Flood,
    /// RFC 9113 section 8.1.
    #[error("a pseudo-field behind the body of a request")]
    PseudoTrailer,
    /// RFC 9113 section 4.2.
    #[error("a frame of a length that its type does not have")]
    FrameSize,
    /// RFC 9113 section 6.5.2.
    #[error("a setting for more room than a window may have")]
    Window,
}

impl Offence {
    /// What the client is told of it (RFC 9113 section 7).
    pub fn reason(self) -> Reason {
        match self {
            Self::FirstFrame | Self::PseudoTrailer => Reason::PROTOCOL_ERROR,
            Self::Flood => Reason::ENHANCE_YOUR_CALM,
            Self::FrameSize => Reason::FRAME_SIZE_ERROR,
            Self::Window => Reason::FLOW_CONTROL_ERROR,
        }
    }
}

/// The frames of one client.
#[derive(Debug, Default)]
pub struct Frames {
    /// How much of the preface has passed.
    preface: usize,
    header: [u8; HEADER],
    /// How much of `header` has arrived.
    arrived: usize,
    /// How much of the frame is still to come after its header.
    payload_left: usize,
    is_first_seen: bool,
    /// Between the frames of one field block.
    in_field_block: bool,
    /// The highest number of a stream on which a request has begun.
    last_stream: u32,
    /// In a trailer section whose first field is not known yet: what of it is.
    trailers: Option<FirstField>,
    /// So much of the payload comes before the field block; the first byte of it may say how much padding comes after that.
    before_block: usize,
    padding_comes: bool,
    padding: usize,
    setting: Setting,
    /// Frames that carried nothing, and those that gave room, in the second that began then.
    empty: u32,
    updates: u32,
    second: Duration,
}

impl Frames {
    /// Takes note of what has arrived, at `now` (monotonic). In an offence what came before stands.
    ///
    /// # Errors
    /// The offence, and how many of the bytes came before it. Of what is wrong with a frame by its header none of these belong to it.
    pub fn pass(&mut self, bytes: &[u8], now: Duration) -> Result<(), (Offence, usize)> {
        let mut rest = bytes;
        let preface = rest.len().min(PREFACE.len() - self.preface);
        self.preface += preface;
        rest = rest.get(preface..).unwrap_or_default();
        while !rest.is_empty() {
            if self.payload_left > 0 {
                let passing = rest.len().min(self.payload_left);
                let payload = rest.get(..passing).unwrap_or_default();
                let pseudo = self.find_pseudo_trailer(payload);
                let window = self.find_window(payload);
                let pseudo = pseudo.map(|at| (Offence::PseudoTrailer, at));
                let window = window.map(|at| (Offence::Window, at));
                if let Some((offence, at)) = pseudo.or(window) {
                    self.payload_left -= at;
                    return Err((offence, bytes.len() - rest.len() + at));
                }
                self.payload_left -= passing;
                rest = rest.get(passing..).unwrap_or_default();
                continue;
            }
            for (at, byte) in self.header.iter_mut().skip(self.arrived).zip(rest) {
                *at = *byte;
            }
            let arriving = rest.len().min(HEADER - self.arrived);
            self.arrived += arriving;
            rest = rest.get(arriving..).unwrap_or_default();
            if self.arrived == HEADER {
                self.arrived = 0;
                self.begin(now)
                    .map_err(|offence| (offence, bytes.len() - rest.len() - arriving))?;
            }
        }
        Ok(())
    }

    /// Whether a frame, or the fields of a request, have begun and not ended.
    pub fn is_midway(&self) -> bool {
        self.preface < PREFACE.len()
            || !self.is_first_seen
            || self.arrived > 0
            || self.payload_left > 0
            || self.in_field_block
    }

    /// Where in `payload`, of which nothing was seen yet, it is certain that a trailer section begins with a pseudo-field.
    fn find_pseudo_trailer(&mut self, payload: &[u8]) -> Option<usize> {
        let [.., kind, _, _, _, _, _] = self.header;
        let first = self.trailers.as_mut()?;
        if kind != HEADERS && kind != CONTINUATION {
            return None;
        }
        for (at, byte) in payload.iter().enumerate() {
            if self.before_block > 0 {
                self.before_block -= 1;
                if std::mem::take(&mut self.padding_comes) {
                    self.padding = usize::from(*byte);
                }
                continue;
            }
            if self.payload_left - at <= self.padding {
                return None;
            }
            if let Some(is_pseudo) = first.step(*byte) {
                self.trailers = None;
                return is_pseudo.then_some(at);
            }
        }
        None
    }

    /// Where in `payload`, of which nothing was seen yet, a setting is complete that no window can have.
    fn find_window(&mut self, payload: &[u8]) -> Option<usize> {
        let [.., kind, _, _, _, _, _] = self.header;
        let mut payload = payload.iter();
        (kind == SETTINGS)
            .then(|| payload.position(|byte| self.setting.step(*byte)))
            .flatten()
    }

    /// The header of a frame is complete.
    fn begin(&mut self, now: Duration) -> Result<(), Offence> {
        let [high, middle, low, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        // Three bytes fit.
        self.payload_left = usize::try_from(length).unwrap_or(usize::MAX);
        // The highest bit is reserved.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        if !self.is_first_seen {
            self.is_first_seen = true;
            if kind != SETTINGS || flags & ACK != 0 || stream != 0 {
                return Err(Offence::FirstFrame);
            }
        }
        if !has_fitting_length(kind, flags, self.payload_left) {
            return Err(Offence::FrameSize);
        }
        self.setting = Setting::default();
        if kind == HEADERS || kind == CONTINUATION {
            self.in_field_block = flags & END_HEADERS == 0;
        }
        (self.padding_comes, self.padding) = (kind == HEADERS && flags & PADDED != 0, 0);
        if kind == HEADERS {
            // On a stream that has one already it is a trailer section, or a mistake that the codec knows.
            self.trailers = (stream <= self.last_stream).then(FirstField::default);
            self.last_stream = self.last_stream.max(stream);
            self.before_block = before_block(flags);
        }
        let carries = match kind {
            HEADERS => true,
            DATA => length > 0 || flags & END_STREAM != 0,
            CONTINUATION => length > 0,
            _ => false,
        };
        if carries {
            return Ok(());
        }
        if now.saturating_sub(self.second) >= Duration::from_secs(1) {
            self.second = now;
            (self.empty, self.updates) = (0, 0);
        }
        // One for each few kilobytes that it was sent.
        let (count, most) = if kind == WINDOW_UPDATE {
            (&mut self.updates, UPDATES_MAX)
        } else {
            (&mut self.empty, EMPTY_MAX)
        };
        *count += 1;
        if *count > most {
            Err(Offence::Flood)
        } else {
            Ok(())
        }
    }
}

/// How much of the payload of HEADERS comes before its field block (RFC 9113 section 6.2).
fn before_block(flags: u8) -> usize {
    usize::from(flags & PADDED != 0) + if flags & PRIORITY == 0 { 0 } else { 5 }
}

/// Whether frames of this type can be so long, beyond what the codec sees to (RFC 9113 sections 6.1 to 6.5 and 6.7 to 6.9).
fn has_fitting_length(kind: u8, flags: u8, length: usize) -> bool {
    match kind {
        DATA => length > 0 || flags & PADDED == 0,
        HEADERS => length >= before_block(flags),
        GOAWAY => length >= 8,
        PRIORITY_FRAME => length == 5,
        RST_STREAM | WINDOW_UPDATE => length == 4,
        SETTINGS if flags & ACK != 0 => length == 0,
        SETTINGS => length.is_multiple_of(6),
        PING => length == 8,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn begun() -> Frames {
        let mut frames = Frames::default();
        frames.pass(PREFACE, NOW).unwrap();
        frames.pass(&frame(SETTINGS, 0, 0, &[]), NOW).unwrap();
        assert!(!frames.is_midway());
        frames
    }

    #[test]
    fn the_first_frame_is_settings() {
        let first = |frame: &[u8]| Frames::default().pass(&[PREFACE, frame].concat(), NOW);
        assert_eq!(first(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])), Ok(()));
        let offence = Err((Offence::FirstFrame, PREFACE.len()));
        assert_eq!(first(&frame(SETTINGS, ACK, 0, &[])), offence);
        assert_eq!(first(&frame(SETTINGS, 0, 1, &[])), offence);
        assert_eq!(first(&frame(PING, 0, 0, &[0; 8])), offence);
        assert_eq!(first(&frame(HEADERS, 5, 1, b"abc")), offence);
    }

    #[test]
    fn frames_that_carry_nothing_are_few() {
        for (kind, payload) in [
            (PING, &[0; 8][..]),
            (SETTINGS, &[]),
            (PRIORITY_FRAME, &[0; 5]),
            (RST_STREAM, &[0; 4]),
            (DATA, &[]),
            (99, &[]),
            (CONTINUATION, &[]),
        ] {
            let mut frames = begun();
            let one = frame(kind, 0, 0, payload);
            for _ in 1..EMPTY_MAX {
                assert_eq!(frames.pass(&one, NOW), Ok(()));
            }
            assert_eq!(frames.pass(&one, NOW), Err((Offence::Flood, 0)));
            let later = NOW + Duration::from_secs(1);
            assert_eq!(frames.pass(&one, later), Ok(()));
        }
    }

    #[test]
    fn frames_that_give_room_are_more_than_any_client_needs_and_not_without_end() {
        let mut frames = begun();
        let one = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        for _ in 0..UPDATES_MAX {
            frames.pass(&one, NOW).unwrap();
        }
        assert_eq!(frames.pass(&one, NOW), Err((Offence::Flood, 0)));
        assert_eq!(frames.pass(&one, NOW + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn frames_that_carry_something_may_be_many() {
        let mut frames = begun();
        for _ in 0..10 * EMPTY_MAX {
            frames.pass(&frame(DATA, 0, 1, b"a"), NOW).unwrap();
            frames
                .pass(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), NOW)
                .unwrap();
            frames.pass(&frame(HEADERS, 4, 1, b"a"), NOW).unwrap();
        }
    }

    #[test]
    fn frames_of_a_length_that_their_type_does_not_have_end_the_connection() {
        for (kind, flags, length, others) in [
            (PRIORITY_FRAME, 0, 5, &[0, 4, 6][..]),
            (RST_STREAM, 0, 4, &[0, 3, 5]),
            (SETTINGS, 0, 12, &[1, 5, 7]),
            (SETTINGS, ACK, 0, &[6]),
            (PING, 0, 8, &[0, 7, 9]),
            (PING, ACK, 8, &[0]),
            (WINDOW_UPDATE, 0, 4, &[0, 3, 8]),
        ] {
            let of = |length| begun().pass(&frame(kind, flags, 0, &vec![0; length]), NOW);
            assert_eq!(of(length), Ok(()), "{kind}");
            for other in others {
                assert_eq!(of(*other), Err((Offence::FrameSize, 0)), "{kind}");
            }
        }
    }

    #[test]
    fn frames_are_as_long_as_what_must_be_in_them() {
        for (kind, flags, least) in [
            (DATA, PADDED, 1),
            (DATA, 0, 0),
            (HEADERS, PADDED, 1),
            (HEADERS, PRIORITY, 5),
            (HEADERS, PADDED | PRIORITY, 6),
            (GOAWAY, 0, 8),
        ] {
            let of = |length| begun().pass(&frame(kind, flags, 1, &vec![0; length]), NOW);
            assert_eq!(of(least), Ok(()), "{kind}");
            if least > 0 {
                let short = Err((Offence::FrameSize, 0));
                assert_eq!(of(least - 1), short, "{kind}");
            }
        }
    }

    #[test]
    fn a_setting_for_more_room_than_a_window_may_have_ends_the_connection() {
        let of = |payload: &[u8]| begun().pass(&frame(SETTINGS, 0, 0, payload), NOW);
        assert_eq!(of(&[0, 4, 0x7f, 0xff, 0xff, 0xff]), Ok(()));
        assert_eq!(
            of(&[0, 4, 0x80, 0, 0, 0]),
            Err((Offence::Window, HEADER + 5))
        );
    }

    #[test]
    fn a_trailer_section_has_no_pseudo_fields() {
        let begun = || {
            let mut frames = begun();
            frames
                .pass(&frame(HEADERS, 4, 3, &[0x83, 0x86]), NOW)
                .unwrap();
            frames.pass(&frame(DATA, 0, 3, b"a"), NOW).unwrap();
            frames
        };
        let offence = |at| Err((Offence::PseudoTrailer, HEADER + at));
        let (ended, both) = (END_HEADERS | END_STREAM, PADDED | PRIORITY);
        for (flags, payload, at) in [
            (ended, &[0x83][..], 0),
            (ended | PADDED, &[1, 0x83, 0], 1),
            (ended | PRIORITY, &[0x83, 0x83, 0x83, 0x83, 0, 0x83], 5),
            (ended | both, &[1, 0, 0, 0, 0, 0, 0x83, 0], 6),
            (ended, b"\x00\x05:path\x01/", 2),
        ] {
            let sent = frame(HEADERS, flags, 3, payload);
            let mut frames = begun();
            assert_eq!(frames.pass(&sent, NOW), offence(at), "{payload:x?}");
        }
        // The first field comes in the second frame.
        let mut frames = begun();
        let padded = frame(HEADERS, END_STREAM | PADDED, 3, &[2, 0, 0]);
        frames.pass(&padded, NOW).unwrap();
        let rest = frame(CONTINUATION, END_HEADERS, 3, &[0x83]);
        assert_eq!(frames.pass(&rest, NOW), offence(0));
        // Another request, and a trailer section as it should be.
        let mut frames = begun();
        let request = frame(HEADERS, ended, 5, &[0x83]);
        assert_eq!(frames.pass(&request, NOW), Ok(()));
        let trailers = frame(HEADERS, ended, 3, b"\x00\x01x\x01\x83");
        assert_eq!(frames.pass(&trailers, NOW), Ok(()));
    }

    #[test]
    fn a_block_of_fields_is_in_the_middle_until_its_end() {
        let mut frames = begun();
        frames.pass(&frame(HEADERS, 0, 1, b"a"), NOW).unwrap();
        assert!(frames.is_midway());
        frames.pass(&frame(CONTINUATION, 0, 1, b"a"), NOW).unwrap();
        assert!(frames.is_midway());
        frames
            .pass(&frame(CONTINUATION, END_HEADERS, 1, b"a"), NOW)
            .unwrap();
        assert!(!frames.is_midway());
        frames.pass(&[0, 0], NOW).unwrap();
        assert!(frames.is_midway());
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            sent in prop::collection::vec((0_u8..12, any::<u8>(), 0_u8..3, prop::collection::vec(any::<u8>(), 0..20)), 0..20),
            cut in 1_usize..30,
        ) {
            let mut bytes = PREFACE.to_vec();
            for (kind, flags, stream, payload) in &sent {
                bytes.extend(frame(*kind, *flags, *stream, payload));
            }
            let mut whole = Frames::default();
            let at_once = whole.pass(&bytes, NOW);
            let mut parts = Frames::default();
            let mut passed = 0;
            let mut piecewise = Ok(());
            for part in bytes.chunks(cut) {
                if let Err((offence, at)) = parts.pass(part, NOW) {
                    piecewise = Err((offence, passed + at));
                    break;
                }
                passed += part.len();
            }
            match (at_once, piecewise) {
                // Some of the header may have passed before the rest of it came.
                (Err((offence, at)), Err((again, later))) => {
                    prop_assert_eq!(offence, again);
                    prop_assert!((at..at + HEADER).contains(&later), "{} {}", at, later);
                }
                (at_once, piecewise) => prop_assert_eq!(at_once, piecewise),
            }
            prop_assert_eq!(whole.is_midway(), parts.is_midway());
        }
    }
}
