//! A body that is compressed while it goes out: never more of it is read than its client takes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level;
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::flate::params::FlateEncoderParams;
use compression_codecs::zstd::params::CParameter;
use compression_codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder};
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::app::BoxError;
use crate::config::CompressionAlgorithm;

/// So much compressed content is handed on at once.
const OUTPUT: usize = 16 << 10;
/// So much content is compressed at once, and so much in a row before others have their turn.
const STEP: usize = 32 << 10;
const TURN: usize = 128 << 10;

/// Levels at which a megabyte takes a few milliseconds, and windows with which a stream takes about a megabyte of memory at most.
const GZIP_LEVEL: i32 = 5;
const BROTLI_LEVEL: i32 = 4;
const BROTLI_WINDOW: i32 = 18;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW: u32 = 18;

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Read,
    Flush,
    Finish,
    Trailers,
    End,
}

pin_project_lite::pin_project! {
    /// A body that is compressed while it goes out.
    pub(in crate::http) struct Compressor<B> {
        #[pin]
        body: B,
        encoder: Encoder,
        // Read, but not compressed.
        input: Bytes,
        output: Box<[u8]>,
        // So much of `output` waits to be handed on.
        filled: usize,
        // Something was compressed that its client cannot have yet.
        is_held: bool,
        // Whether what there is goes out when there is nothing to read.
        flushes: bool,
        step: Step,
        trailers: Option<HeaderMap>,
    }
}

/// One of the algorithms at work.
enum Encoder {
    Zstd(ZstdEncoder),
    Br(Box<BrotliEncoder>),
    Gzip(Box<GzipEncoder>),
}

impl<B> Compressor<B> {
    /// Of a body that is made piece by piece: what there is of it goes out when it pauses.
    pub(in crate::http) fn of_stream(body: B, algorithm: CompressionAlgorithm) -> Self {
        Self::new(body, algorithm, true)
    }

    /// Of a body that only waits for the disk.
    pub(in crate::http) fn of_file(body: B, algorithm: CompressionAlgorithm) -> Self {
        Self::new(body, algorithm, false)
    }

    fn new(body: B, algorithm: CompressionAlgorithm, flushes: bool) -> Self {
        Self {
            body,
            encoder: Encoder::new(algorithm),
            input: Bytes::new(),
            output: vec![0; OUTPUT].into(),
            filled: 0,
            is_held: false,
            flushes,
            step: Step::Read,
            trailers: None,
        }
    }
}

impl<B> fmt::Debug for Compressor<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Compressor")
    }
}

impl<B> Body for Compressor<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let mut compressed = 0;
        loop {
            if !this.input.is_empty() {
                if compressed >= TURN {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let step = this.input.get(..STEP).unwrap_or(this.input);
                let (taken, written) =
                    this.encoder.encode(step, free(this.output, *this.filled))?;
                this.input.advance(taken);
                compressed += taken.max(1);
                *this.filled += written;
                *this.is_held = true;
            } else {
                let is_done = match this.step {
                    Step::Read => {
                        match this.body.as_mut().poll_frame(context) {
                            Poll::Pending if *this.is_held && *this.flushes => {
                                *this.step = Step::Flush;
                            }
                            Poll::Pending => return Poll::Pending,
                            Poll::Ready(None) => *this.step = Step::Finish,
                            Poll::Ready(Some(Err(error))) => {
                                *this.step = Step::End;
                                return Poll::Ready(Some(Err(error.into())));
                            }
                            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                                Ok(data) => *this.input = data,
                                Err(frame) => {
                                    *this.trailers = frame.into_trailers().ok();
                                    *this.step = Step::Finish;
                                }
                            },
                        }
                        false
                    }
                    Step::Flush | Step::Finish => {
                        let free = free(this.output, *this.filled);
                        let (is_done, written) = if *this.step == Step::Flush {
                            this.encoder.flush(free)?
                        } else {
                            this.encoder.finish(free)?
                        };
                        *this.filled += written;
                        is_done
                    }
                    Step::Trailers => {
                        *this.step = Step::End;
                        let trailers = this.trailers.take();
                        return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                    }
                    Step::End => return Poll::Ready(None),
                };
                if is_done {
                    let is_end = *this.step == Step::Finish;
                    *this.is_held = false;
                    *this.step = if is_end { Step::Trailers } else { Step::Read };
                }
                let goes_out = is_done && *this.filled > 0;
                if goes_out {
                    return Poll::Ready(Some(Ok(hand_on(this.output, this.filled))));
                }
            }
            if *this.filled == this.output.len() {
                return Poll::Ready(Some(Ok(hand_on(this.output, this.filled))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.step == Step::End
    }
}

fn free(output: &mut [u8], filled: usize) -> &mut [u8] {
    output.get_mut(filled..).unwrap_or_default()
}

fn hand_on(output: &[u8], filled: &mut usize) -> Frame<Bytes> {
    let length = std::mem::take(filled);
    Frame::data(Bytes::copy_from_slice(
        output.get(..length).unwrap_or_default(),
    ))
}

impl Encoder {
    fn new(algorithm: CompressionAlgorithm) -> Self {
        match algorithm {
            CompressionAlgorithm::Zstd => {
                let window = [CParameter::window_log(ZSTD_WINDOW)];
                Self::Zstd(ZstdEncoder::new_with_params(ZSTD_LEVEL, &window))
            }
            CompressionAlgorithm::Br => {
                let level = Level::Precise(BROTLI_LEVEL);
                let settings = EncoderParams::default()
                    .quality(level)
                    .window_size(BROTLI_WINDOW);
                Self::Br(Box::new(BrotliEncoder::new(settings)))
            }
            CompressionAlgorithm::Gzip => {
                let level = FlateEncoderParams::from(Level::Precise(GZIP_LEVEL));
                Self::Gzip(Box::new(GzipEncoder::new(level)))
            }
        }
    }

    fn with(&mut self) -> &mut dyn EncodeV2 {
        match self {
            Self::Zstd(encoder) => encoder,
            Self::Br(encoder) => &mut **encoder,
            Self::Gzip(encoder) => &mut **encoder,
        }
    }

    /// Compresses some of `input`; how many bytes it took, and how many it wrote.
    fn encode(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<(usize, usize)> {
        let mut input = PartialBuffer::new(input);
        let mut output = WriteBuffer::new_initialized(output);
        self.with().encode(&mut input, &mut output)?;
        Ok((input.written_len(), output.written_len()))
    }

    /// Whether everything that was taken is written, and how many bytes were written now.
    fn flush(&mut self, output: &mut [u8]) -> io::Result<(bool, usize)> {
        let mut output = WriteBuffer::new_initialized(output);
        let is_done = self.with().flush(&mut output)?;
        Ok((is_done, output.written_len()))
    }

    /// As [`Self::flush`], with the end.
    fn finish(&mut self, output: &mut [u8]) -> io::Result<(bool, usize)> {
        let mut output = WriteBuffer::new_initialized(output);
        let is_done = self.with().finish(&mut output)?;
        Ok((is_done, output.written_len()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::Waker;

    use compression_codecs::{BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder};
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const ALL: [CompressionAlgorithm; 3] = [
        CompressionAlgorithm::Zstd,
        CompressionAlgorithm::Br,
        CompressionAlgorithm::Gzip,
    ];

    /// A body of these pieces; `None` is a pause.
    struct Pieces(VecDeque<Option<Frame<Bytes>>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
                Some(None) => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn pieces(texts: &[Option<Vec<u8>>]) -> Pieces {
        let texts = texts.iter().cloned();
        Pieces(
            texts
                .map(|text| text.map(|text| Frame::data(text.into())))
                .collect(),
        )
    }

    /// What comes until the body pauses or ends.
    fn next(body: &mut Pin<&mut Compressor<Pieces>>) -> (Vec<u8>, Option<HeaderMap>, bool) {
        let mut context = Context::from_waker(Waker::noop());
        let (mut bytes, mut trailers) = (Vec::new(), None);
        loop {
            match body.as_mut().poll_frame(&mut context) {
                Poll::Pending => return (bytes, trailers, false),
                Poll::Ready(None) => return (bytes, trailers, true),
                Poll::Ready(Some(frame)) => match frame.unwrap().into_data() {
                    Ok(data) => {
                        assert!(!data.is_empty() && data.len() <= OUTPUT);
                        bytes.extend(data);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    fn decoder(algorithm: CompressionAlgorithm) -> Box<dyn DecodeV2> {
        match algorithm {
            CompressionAlgorithm::Zstd => Box::new(ZstdDecoder::new()),
            CompressionAlgorithm::Br => Box::new(BrotliDecoder::new()),
            CompressionAlgorithm::Gzip => Box::new(GzipDecoder::new()),
        }
    }

    /// What a client has of what it got so far.
    fn decode(decoder: &mut dyn DecodeV2, bytes: &[u8]) -> Vec<u8> {
        let mut input = PartialBuffer::new(bytes);
        let (mut decoded, mut room) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let mut output = WriteBuffer::new_initialized(&mut room);
            let is_end = decoder.decode(&mut input, &mut output).unwrap();
            let written = output.written_len();
            decoded.extend(&room[..written]);
            let has_all = input.unwritten().is_empty() && written < 64 << 10;
            if is_end || has_all {
                return decoded;
            }
        }
    }

    #[test]
    fn what_was_said_before_a_pause_can_be_read_and_the_trailers_come_last() {
        for algorithm in ALL {
            let mut body = pieces(&[
                Some(b"first".to_vec()),
                None,
                None,
                None,
                Some(b"second".to_vec()),
            ]);
            let trailers = HeaderMap::from_iter([(http::header::AGE, HeaderValue::from(1))]);
            body.0.push_back(Some(Frame::trailers(trailers.clone())));
            let mut body = std::pin::pin!(Compressor::of_stream(body, algorithm));
            let mut decoder = decoder(algorithm);
            let (bytes, _, is_end) = next(&mut body);
            assert!(!is_end);
            assert_eq!(decode(&mut *decoder, &bytes), b"first", "{algorithm:?}");
            // Nothing new was said.
            assert_eq!(next(&mut body).0, b"");
            let (bytes, last, is_end) = next(&mut body);
            assert_eq!(decode(&mut *decoder, &bytes), b"second", "{algorithm:?}");
            assert_eq!((last, is_end), (Some(trailers), true));
        }
    }

    #[test]
    fn a_large_piece_is_compressed_in_turns() {
        for algorithm in ALL {
            let large = vec![b'x'; 10 * TURN];
            let mut body = std::pin::pin!(Compressor::of_file(
                pieces(&[Some(large.clone())]),
                algorithm
            ));
            let (mut turns, mut bytes) = (0, Vec::new());
            loop {
                let (more, _, is_end) = next(&mut body);
                bytes.extend(more);
                if is_end {
                    break;
                }
                turns += 1;
            }
            assert!(turns >= 9, "{turns}");
            assert_eq!(decode(&mut *decoder(algorithm), &bytes), large);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn however_a_body_comes_it_is_the_same_in_the_end(
            texts in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..70_000)), 0..6),
            flushes in any::<bool>(),
        ) {
            for algorithm in ALL {
                let body = Compressor::new(pieces(&texts), algorithm, flushes);
                let mut body = std::pin::pin!(body);
                let mut bytes = Vec::new();
                loop {
                    let (more, _, is_end) = next(&mut body);
                    bytes.extend(more);
                    if is_end {
                        break;
                    }
                }
                let whole: Vec<u8> = texts.iter().flatten().flatten().copied().collect();
                prop_assert_eq!(decode(&mut *decoder(algorithm), &bytes), whole);
            }
        }
    }
}
