//! The body of an answer: the application's, or one that destrier gives in its place.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::stream::StreamEnd;
use super::track::Track;
use crate::app::BoxError;

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
    }
}

impl<B> Content<B> {
    /// Nothing is left of what destrier says itself. The end of what the application says is seen when it comes.
    fn is_whole(&self) -> bool {
        matches!(self, Self::Own { bytes: None })
    }
}

impl<B: Body> Content<B> {
    /// Whether whoever sends it need not ask for more.
    fn is_end(&self, track: &Track) -> bool {
        match self {
            Self::App { body, .. } => {
                let _executing = track.executing();
                body.is_end_stream()
            }
            Self::Own { bytes } => bytes.is_none(),
        }
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
            let (is_empty, length) = (body.is_end_stream(), body.size_hint().exact());
            drop(executing);
            track.will_send(if is_empty { Some(0) } else { length });
        }
        let content = Content::App { body, end };
        Self { content, track }
    }

    pub(super) fn own(bytes: Bytes, track: Track) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        let content = Content::Own { bytes };
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
        let polled = match this.content.as_mut().project() {
            ContentProjection::App { body, end } => match end.as_mut().map(|end| end.poll(context))
            {
                Some(Poll::Ready(())) => Poll::Ready(None),
                Some(Poll::Pending) | None => {
                    let _executing = this.track.executing();
                    body.poll_frame(context).map_err(Into::into)
                }
            },
            ContentProjection::Own { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.track.sent(frame.data_ref().map_or(0, Bytes::len));
                if this.track.is_written_down() && this.content.is_end(this.track) {
                    this.track.whole();
                }
            }
            Poll::Ready(Some(Err(error))) => this.track.broke_off(error),
            Poll::Ready(None) => this.track.whole(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end(&self.track)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::App { body, .. } => {
                let _executing = self.track.executing();
                body.size_hint()
            }
            Content::Own { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
        }
    }
}
