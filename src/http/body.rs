//! The body of an answer: the application's, one that destrier gives in its place, or a file.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::compression::Compressor;
use super::files::FileBody;
use super::stream::StreamEnd;
use super::track::Track;
use crate::app::BoxError;
use crate::config::CompressionAlgorithm;

pin_project_lite::pin_project! {
    /// The body of an answer. The request counts as in flight until it is dropped, and what the application's body does is done
    /// for the request.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        content: Content<B>,
        track: Track,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.content.is_whole() {
                this.track.whole();
            }
            let _executing = this.track.executing();
            this.content.set(Content::Own { bytes: None });
        }
    }
}

pin_project_lite::pin_project! {
    #[project = ContentProjection]
    #[derive(Debug)]
    enum Content<B> {
        App { #[pin] body: B, end: Option<StreamEnd> },
        Own { bytes: Option<Bytes> },
        File { #[pin] body: FileBody },
        Compressed { body: Pin<Box<Compressor<Content<B>>>>, is_of_app: bool },
    }
}

impl<B> Content<B> {
    /// Nothing is left of what destrier says itself. The end of what the application says is seen when it comes.
    fn is_whole(&self) -> bool {
        matches!(self, Self::Own { bytes: None })
    }
}

impl<B> ResponseBody<B> {
    /// The application's; the answer is complete at `end`, whatever the application would still say.
    pub(super) fn of_app(body: B, end: Option<StreamEnd>, mut track: Track) -> Self
    where
        B: Body,
    {
        if track.is_written_down() {
            let executing = track.executing();
            let length = length(&body);
            drop(executing);
            track.will_send(length);
        }
        let content = Content::App { body, end };
        Self { content, track }
    }

    pub(super) fn own(bytes: Bytes, track: Track) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        let content = Content::Own { bytes };
        Self { content, track }
    }

    pub(super) fn of_file(body: FileBody, mut track: Track) -> Self {
        // Nobody asks for the content of one that has none, such as a redirection.
        track.will_send(length(&body));
        let content = Content::File { body };
        Self { content, track }
    }

    /// Without what it would say; the application's body is dropped at once.
    pub(super) fn emptied(mut self) -> Self {
        {
            let _executing = self.track.executing();
            self.content = Content::Own { bytes: None };
        }
        self
    }

    /// The same content, compressed while it goes out.
    pub(super) fn compressed(mut self, algorithm: CompressionAlgorithm) -> Self {
        let content = std::mem::replace(&mut self.content, Content::Own { bytes: None });
        let is_of_app = content.is_of_app();
        self.track.compresses();
        let body = if is_of_app {
            Compressor::of_stream(content, algorithm)
        } else {
            Compressor::of_file(content, algorithm)
        };
        self.content = Content::Compressed {
            body: Box::pin(body),
            is_of_app,
        };
        self
    }

    /// Whether it is a file.
    pub(super) fn is_of_file(&self) -> bool {
        matches!(self.content, Content::File { .. })
    }
}

impl<B> Content<B> {
    /// Whether code of the application runs when it is asked for something.
    fn is_of_app(&self) -> bool {
        match self {
            Self::App { .. } => true,
            Self::Own { .. } | Self::File { .. } => false,
            Self::Compressed { is_of_app, .. } => *is_of_app,
        }
    }
}

/// How many bytes there will be, where that is known.
fn length(body: &impl Body) -> Option<u64> {
    if body.is_end_stream() {
        return Some(0);
    }
    body.size_hint().exact()
}

impl<B> Body for Content<B>
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
        match self.project() {
            ContentProjection::App { body, end } => match end.as_mut().map(|end| end.poll(context))
            {
                Some(Poll::Ready(())) => Poll::Ready(None),
                Some(Poll::Pending) | None => body.poll_frame(context).map_err(Into::into),
            },
            ContentProjection::Own { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            ContentProjection::File { body } => body.poll_frame(context).map_err(Into::into),
            ContentProjection::Compressed { body, .. } => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::App { body, .. } => body.is_end_stream(),
            Self::Own { bytes } => bytes.is_none(),
            Self::File { body } => body.is_end_stream(),
            Self::Compressed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::App { body, .. } => body.size_hint(),
            Self::Own { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::File { body } => body.size_hint(),
            Self::Compressed { body, .. } => body.size_hint(),
        }
    }
}

impl<B> Body for ResponseBody<B>
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
        let is_of_app = this.content.is_of_app();
        let (polled, is_end) = {
            let _executing = is_of_app.then(|| this.track.executing());
            let polled = this.content.as_mut().poll_frame(context);
            let is_end = this.track.is_written_down() && this.content.is_end_stream();
            (polled, is_end)
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.track.sent(frame.data_ref().map_or(0, Bytes::len));
                if is_end {
                    this.track.whole();
                }
            }
            Poll::Ready(Some(Err(error))) if !is_of_app => this.track.file_broke_off(error),
            Poll::Ready(Some(Err(error))) => this.track.broke_off(error),
            Poll::Ready(None) => this.track.whole(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let _executing = self.content.is_of_app().then(|| self.track.executing());
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let _executing = self.content.is_of_app().then(|| self.track.executing());
        self.content.size_hint()
    }
}
