//! The frames of a WebSocket (RFC 6455 section 5) on their way through the server: what a client sends is judged, of what the
//! application sends only the boundaries are known.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::utf8::{Invalid, Utf8};

/// The longest header of a frame (RFC 6455 section 5.2).
const HEADER_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_MAX: u64 = 125;

/// What a client does that ends its WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    /// RFC 6455 section 5.1.
    #[error("a frame is not masked")]
    Unmasked,
    /// RFC 6455 section 5.2.
    #[error("a reserved bit is set, and no extension was agreed upon that uses it")]
    ReservedBits,
    /// RFC 6455 section 5.2.
    #[error("a frame has a reserved opcode")]
    Opcode,
    /// RFC 6455 section 5.2.
    #[error("the length of a frame is not written as short as can be, or has its highest bit set")]
    Length,
    /// RFC 6455 section 5.5.
    #[error("a control frame is fragmented or longer than 125 bytes")]
    Control,
    /// RFC 6455 section 5.4.
    #[error("the fragments of messages are out of order")]
    Fragments,
    /// RFC 6455 section 7.4.
    #[error("a Close frame has a code that may not be sent, or half a code")]
    CloseCode,
    /// RFC 6455 section 8.1.
    #[error("a text or a reason is not UTF-8")]
    Utf8,
    /// `websocket.max_message`.
    #[error("a message is longer than `websocket.max_message`")]
    TooLong,
}

impl Offence {
    /// What the client is told (RFC 6455 section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Unmasked
            | Self::ReservedBits
            | Self::Opcode
            | Self::Length
            | Self::Control
            | Self::Fragments
            | Self::CloseCode => 1002,
            Self::Utf8 => 1007,
            Self::TooLong => 1009,
        }
    }
}

/// A Close frame with this code, as a server sends it.
pub fn close_frame(code: u16) -> Vec<u8> {
    [&[0x88, 2], &code.to_be_bytes()[..]].concat()
}

/// The same as a client sends it. A mask of zeros is one, and changes nothing.
pub fn client_close_frame(code: u16) -> Vec<u8> {
    [&[0x88, 0x82, 0, 0, 0, 0], &code.to_be_bytes()[..]].concat()
}

/// The header of a frame of which some may have arrived.
#[derive(Debug, Default)]
struct Partial {
    bytes: [u8; HEADER_MAX],
    arrived: usize,
}

/// A header, the length of its payload, and how many bytes it has.
struct Whole {
    header: FrameHeader,
    payload: u64,
    length: usize,
}

impl Partial {
    /// Takes in some of `bytes`, and says how many; the header when it is whole.
    fn take(&mut self, bytes: &[u8]) -> (usize, Option<Result<Whole, Offence>>) {
        let before = self.arrived;
        for (at, byte) in self.bytes.iter_mut().skip(before).zip(bytes) {
            *at = *byte;
        }
        let arrived = HEADER_MAX.min(before + bytes.len());
        let mut cursor = Cursor::new(self.bytes.get(..arrived).unwrap_or_default());
        match FrameHeader::parse(&mut cursor) {
            Ok(None) => {
                self.arrived = arrived;
                (arrived - before, None)
            }
            Ok(Some((header, payload))) => {
                self.arrived = 0;
                // It is at most fourteen.
                let length = usize::try_from(cursor.position()).unwrap_or(HEADER_MAX);
                let whole = Whole {
                    header,
                    payload,
                    length,
                };
                (length - before, Some(Ok(whole)))
            }
            // Nothing else can be wrong with what is in memory.
            Err(_) => (0, Some(Err(Offence::Opcode))),
        }
    }
}

/// What a client sends.
#[derive(Debug)]
pub struct ClientFrames {
    max_message: u64,
    /// `permessage-deflate` was agreed upon (RFC 7692): messages may be compressed, and what they say is not known.
    may_compress: bool,
    header: Partial,
    /// Whose payload is under way.
    frame: Option<Frame>,
    /// That has begun and not ended.
    message: Option<Message>,
    text: Utf8,
    /// The payload of a Close frame.
    close: Vec<u8>,
    has_closed: bool,
}

#[derive(Debug)]
struct Frame {
    kind: Kind,
    is_final: bool,
    mask: [u8; 4],
    /// Where in the mask the next byte is.
    turn: usize,
    left: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Of which nothing is known.
    Data,
    Close,
    /// Ping and Pong.
    Control,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    kind: Kind,
    length: u64,
}

/// How many bytes may go on to the application, and what was wrong after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// From the first one on.
    pub bytes: usize,
    /// None while all is well.
    pub offence: Option<Offence>,
}

impl ClientFrames {
    /// Of a client whose messages have at most `max_message` bytes.
    pub fn new(max_message: u64, may_compress: bool) -> Self {
        Self {
            max_message,
            may_compress,
            header: Partial::default(),
            frame: None,
            message: None,
            text: Utf8::default(),
            close: Vec::new(),
            has_closed: false,
        }
    }

    /// Judges what has arrived. After an offence, and after a Close frame, nothing more goes on.
    pub fn pass(&mut self, bytes: &[u8]) -> Passed {
        let mut passed = 0;
        while !self.has_closed {
            let rest = bytes.get(passed..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match self.step(rest) {
                Ok(count) => passed += count,
                Err(offence) => {
                    return Passed {
                        bytes: passed,
                        offence: Some(offence),
                    };
                }
            }
        }
        Passed {
            bytes: passed,
            offence: None,
        }
    }

    /// Whether its Close frame has gone on.
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Whether what has gone on ends with a whole frame.
    pub fn is_between(&self) -> bool {
        self.frame.is_none() && self.header.arrived == 0
    }

    /// Up to the end of a header or of what there is of a payload.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Offence> {
        if let Some(mut frame) = self.frame.take() {
            // What does not fit is more than there is.
            let left = usize::try_from(frame.left).unwrap_or(usize::MAX);
            let count = left.min(bytes.len());
            self.payload(&mut frame, bytes.get(..count).unwrap_or_default())?;
            frame.left -= count as u64;
            self.go_on(frame)?;
            return Ok(count);
        }
        let (count, whole) = self.header.take(bytes);
        if let Some(whole) = whole {
            let frame = self.begin(&whole?)?;
            self.go_on(frame)?;
        }
        Ok(count)
    }

    fn begin(&mut self, whole: &Whole) -> Result<Frame, Offence> {
        let Whole {
            header,
            payload,
            length,
        } = whole;
        let Some(mask) = header.mask else {
            return Err(Offence::Unmasked);
        };
        if *length != header.len(*payload) || *payload > u64::MAX >> 1 {
            return Err(Offence::Length);
        }
        let begins = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        let is_compressed = header.rsv1 && self.may_compress && begins;
        if header.rsv2 || header.rsv3 || (header.rsv1 && !is_compressed) {
            return Err(Offence::ReservedBits);
        }
        let kind = match header.opcode {
            OpCode::Control(control) => {
                if !header.is_final || *payload > CONTROL_MAX {
                    return Err(Offence::Control);
                }
                match control {
                    Control::Close => Kind::Close,
                    Control::Ping | Control::Pong => Kind::Control,
                    Control::Reserved(_) => return Err(Offence::Opcode),
                }
            }
            OpCode::Data(data) => {
                let message = match (data, self.message) {
                    (Data::Continue, Some(message)) => message,
                    (Data::Continue, None) => return Err(Offence::Fragments),
                    (Data::Text | Data::Binary, Some(_)) => return Err(Offence::Fragments),
                    (Data::Reserved(_), _) => return Err(Offence::Opcode),
                    (Data::Text | Data::Binary, None) => Message {
                        kind: if data == Data::Text && !is_compressed {
                            Kind::Text
                        } else {
                            Kind::Data
                        },
                        length: 0,
                    },
                };
                let length = message.length.saturating_add(*payload);
                if length > self.max_message {
                    return Err(Offence::TooLong);
                }
                self.message = Some(Message { length, ..message });
                message.kind
            }
        };
        Ok(Frame {
            kind,
            is_final: header.is_final,
            mask,
            turn: 0,
            left: *payload,
        })
    }

    fn payload(&mut self, frame: &mut Frame, masked: &[u8]) -> Result<(), Offence> {
        if matches!(frame.kind, Kind::Data | Kind::Control) {
            return Ok(());
        }
        let mut clear = [0; 1024];
        for masked in masked.chunks(clear.len()) {
            let mask = frame.mask.iter().cycle().skip(frame.turn);
            for ((clear, masked), mask) in clear.iter_mut().zip(masked).zip(mask) {
                *clear = masked ^ mask;
            }
            frame.turn = (frame.turn + masked.len()) % frame.mask.len();
            let clear = clear.get(..masked.len()).unwrap_or_default();
            if frame.kind == Kind::Close {
                self.close.extend_from_slice(clear);
            } else {
                self.text.push(clear).map_err(|Invalid| Offence::Utf8)?;
            }
        }
        Ok(())
    }

    /// Keeps the frame, or ends it.
    fn go_on(&mut self, frame: Frame) -> Result<(), Offence> {
        if frame.left > 0 {
            self.frame = Some(frame);
            return Ok(());
        }
        match frame.kind {
            Kind::Control => {}
            Kind::Close => {
                judge_close(&self.close)?;
                self.has_closed = true;
            }
            Kind::Text | Kind::Data => {
                if frame.is_final {
                    self.message = None;
                    if frame.kind == Kind::Text {
                        self.text.end().map_err(|Invalid| Offence::Utf8)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The payload of a Close frame is nothing, or a code and a reason (RFC 6455 section 5.5.1).
fn judge_close(payload: &[u8]) -> Result<(), Offence> {
    match payload {
        [] => Ok(()),
        [_] => Err(Offence::CloseCode),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            // The registry has it since 2012, as "bad gateway".
            if !CloseCode::from(code).is_allowed() && code != 1014 {
                return Err(Offence::CloseCode);
            }
            let reason = std::str::from_utf8(reason);
            reason.map(drop).map_err(|_| Offence::Utf8)
        }
    }
}

/// What the application sends.
#[derive(Debug, Default)]
pub struct AppFrames {
    header: Partial,
    /// Of the frame under way.
    left: u64,
    is_close: bool,
    has_closed: bool,
    /// It sends what are no frames; nothing is known of boundaries any more.
    is_broken: bool,
}

impl AppFrames {
    /// Takes note of what was sent.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = self.step(rest);
            rest = rest.get(count..).unwrap_or_default();
        }
    }

    /// How many of `bytes` belong to the frame under way.
    pub fn room(&self, bytes: &[u8]) -> usize {
        let mut ahead = Self {
            header: Partial {
                bytes: self.header.bytes,
                arrived: self.header.arrived,
            },
            ..*self
        };
        let mut count = 0;
        while !ahead.is_between() && count < bytes.len() {
            count += ahead.step(bytes.get(count..).unwrap_or_default());
        }
        count
    }

    /// Whether a frame of another may be put in.
    pub fn is_between(&self) -> bool {
        self.left == 0 && self.header.arrived == 0 && !self.is_broken
    }

    /// Whether it has sent its Close frame.
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.is_broken {
            return bytes.len();
        }
        if self.left > 0 {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let count = left.min(bytes.len());
            self.left -= count as u64;
            self.has_closed |= self.is_close && self.left == 0;
            return count;
        }
        match self.header.take(bytes) {
            (count, None) => count,
            (count, Some(Ok(whole))) => {
                self.left = whole.payload;
                self.is_close = whole.header.opcode == OpCode::Control(Control::Close);
                self.has_closed |= self.is_close && self.left == 0;
                count
            }
            (_, Some(Err(_))) => {
                self.is_broken = true;
                bytes.len()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame of a client.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = vec![first];
        match payload.len() {
            length @ ..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
            length @ ..65536 => {
                frame.push(0x80 | 0x7e);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                frame.push(0x80 | 0x7f);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        frame
    }

    fn sent(frames: &[Vec<u8>]) -> Option<Offence> {
        let mut client = ClientFrames::new(1000, false);
        client.pass(&frames.concat()).offence
    }

    #[test]
    fn messages_whole_and_in_fragments_pass_with_control_frames_between() {
        let all = [
            frame(0x81, "hé".as_bytes()),
            frame(0x82, b"\xff"),
            frame(0x81, b""),
            frame(0x01, b"\xc3"),
            frame(0x89, &[0xff; 125]),
            frame(0x00, b"\xa9"),
            frame(0x8a, b""),
            frame(0x80, b""),
            frame(0x02, &[0; 500]),
            frame(0x80, &[0; 500]),
        ];
        let mut client = ClientFrames::new(1000, false);
        let bytes = all.concat();
        assert_eq!(
            client.pass(&bytes),
            Passed {
                bytes: bytes.len(),
                offence: None
            }
        );
        assert!(client.is_between());
    }

    #[test]
    fn each_offence_has_its_code() {
        let unmasked = vec![0x81, 1, b'a'];
        let long_length = vec![0x82, 0x80 | 0x7e, 0, 1, 0, 0, 0, 0, 1];
        let longer_length = [&[0x82, 0x80 | 0x7f][..], &[0; 6], &[1, 0, 0, 0, 0, 0]].concat();
        let highest_bit = [&[0x82, 0x80 | 0x7f, 0x80][..], &[0; 11]].concat();
        for (frames, offence, code) in [
            (vec![unmasked], Offence::Unmasked, 1002),
            (vec![frame(0xc1, b"a")], Offence::ReservedBits, 1002),
            (vec![frame(0xa1, b"a")], Offence::ReservedBits, 1002),
            (vec![frame(0x99, b"a")], Offence::ReservedBits, 1002),
            (vec![frame(0x83, b"a")], Offence::Opcode, 1002),
            (vec![frame(0x8b, b"a")], Offence::Opcode, 1002),
            (vec![long_length], Offence::Length, 1002),
            (vec![longer_length], Offence::Length, 1002),
            (vec![highest_bit], Offence::Length, 1002),
            (vec![frame(0x09, b"a")], Offence::Control, 1002),
            (vec![frame(0x89, &[0; 126])], Offence::Control, 1002),
            (vec![frame(0x80, b"a")], Offence::Fragments, 1002),
            (
                vec![frame(0x01, b"a"), frame(0x81, b"a")],
                Offence::Fragments,
                1002,
            ),
            (
                vec![frame(0x81, b"a"), frame(0x00, b"a")],
                Offence::Fragments,
                1002,
            ),
            (vec![frame(0x88, b"\x03")], Offence::CloseCode, 1002),
            (vec![frame(0x88, &[3, 237])], Offence::CloseCode, 1002),
            (vec![frame(0x88, &[0, 0])], Offence::CloseCode, 1002),
            (vec![frame(0x88, b"\x03\xe8\xff")], Offence::Utf8, 1007),
            (vec![frame(0x81, b"\xff")], Offence::Utf8, 1007),
            (vec![frame(0x81, b"\xc3")], Offence::Utf8, 1007),
            (
                vec![frame(0x01, b"\xc3"), frame(0x80, b"a")],
                Offence::Utf8,
                1007,
            ),
            (vec![frame(0x82, &[0; 1001])], Offence::TooLong, 1009),
            (
                vec![frame(0x02, &[0; 501]), frame(0x80, &[0; 500])],
                Offence::TooLong,
                1009,
            ),
        ] {
            assert_eq!(sent(&frames), Some(offence), "{frames:?}");
            assert_eq!(offence.close_code(), code);
        }
    }

    #[test]
    fn codes_that_may_be_sent_are_those_of_the_registry_and_of_applications() {
        let closes = |code: u16| sent(&[frame(0x88, &code.to_be_bytes())]);
        for code in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
            4000, 4999,
        ] {
            assert_eq!(closes(code), None, "{code}");
        }
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            assert_eq!(closes(code), Some(Offence::CloseCode), "{code}");
        }
    }

    #[test]
    fn after_a_close_frame_nothing_goes_on() {
        let mut client = ClientFrames::new(1000, false);
        let close = frame(0x88, b"\x03\xe8bye");
        let bytes = [close.clone(), vec![0xff; 3]].concat();
        let passed = Passed {
            bytes: close.len(),
            offence: None,
        };
        assert_eq!(client.pass(&bytes), passed);
        assert!(client.has_closed());
        assert_eq!(client.pass(b"more").bytes, 0);
    }

    #[test]
    fn a_message_too_long_is_known_by_its_header() {
        let mut client = ClientFrames::new(1000, false);
        let header = [&[0x82, 0x80 | 0x7f][..], &u64::from(u32::MAX).to_be_bytes()].concat();
        assert_eq!(client.pass(&header).offence, None);
        assert_eq!(client.pass(&[0; 4]).offence, Some(Offence::TooLong));
    }

    #[test]
    fn what_is_compressed_is_not_read() {
        let mut client = ClientFrames::new(1000, true);
        let frames = [frame(0x41, b"\xff"), frame(0x80, b"\xff")].concat();
        assert_eq!(client.pass(&frames).offence, None);
        let offence = client.pass(&frame(0xc9, b"")).offence;
        assert_eq!(offence, Some(Offence::ReservedBits));
    }

    #[test]
    fn a_frame_may_be_put_in_between_two_of_the_application() {
        let mut app = AppFrames::default();
        let message = [0x82, 3, 1, 2, 3];
        app.pass(&message);
        assert!(app.is_between());
        app.pass(&message[..1]);
        assert!(!app.is_between());
        let rest = [&message[1..], &message[..]].concat();
        assert_eq!(app.room(&rest), 4);
        assert_eq!(app.room(&rest[..2]), 2);
        app.pass(&message[1..3]);
        assert_eq!(app.room(&[2, 3, 4]), 2);
        app.pass(&[2, 3]);
        assert!(app.is_between() && !app.has_closed());
        app.pass(&close_frame(1000)[..3]);
        assert!(!app.has_closed());
        app.pass(&[0xe8]);
        assert!(app.has_closed());
    }

    #[test]
    fn our_close_frames_are_frames() {
        let mut app = AppFrames::default();
        app.pass(&close_frame(1001));
        assert!(app.has_closed() && app.is_between());
        let mut client = ClientFrames::new(0, false);
        assert_eq!(client.pass(&client_close_frame(1001)).offence, None);
        assert!(client.has_closed());
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            frames in prop::collection::vec(
                (prop::sample::select(vec![0x81_u8, 0x01, 0x82, 0x02, 0x80, 0x00, 0x88, 0x89, 0xc1, 0x83]),
                 prop_oneof![Just("é€𝄞".as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..200)]),
                0..12),
            tail in prop::collection::vec(any::<u8>(), 0..20),
            cut in 1_usize..40,
            compressed in any::<bool>(),
        ) {
            let mut bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
            bytes.extend(tail);
            let mut whole = ClientFrames::new(300, compressed);
            let at_once = whole.pass(&bytes);
            let mut parts = ClientFrames::new(300, compressed);
            let mut piecewise = None;
            let mut passed = 0;
            for part in bytes.chunks(cut) {
                let one = parts.pass(part);
                passed += one.bytes;
                piecewise = one.offence;
                if piecewise.is_some() {
                    break;
                }
            }
            prop_assert_eq!(at_once.offence, piecewise);
            prop_assert!(passed >= at_once.bytes);
            if piecewise.is_none() {
                prop_assert_eq!(passed, at_once.bytes);
                prop_assert_eq!(whole.is_between(), parts.is_between());
                prop_assert_eq!(whole.has_closed(), parts.has_closed());
            }
            let mut app = AppFrames::default();
            app.pass(&bytes);
            let mut app_in_parts = AppFrames::default();
            bytes.chunks(cut).for_each(|part| app_in_parts.pass(part));
            prop_assert_eq!(app.is_between(), app_in_parts.is_between());
            prop_assert_eq!(app.has_closed(), app_in_parts.has_closed());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            ClientFrames::new(100, true).pass(&bytes);
            AppFrames::default().pass(&bytes);
            AppFrames::default().room(&bytes);
        }
    }
}
