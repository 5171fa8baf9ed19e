//! The application of a worker, whichever interface it speaks: what destrier calls, and what runs it.

use std::future::ready;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use destrier::BoxError;
use destrier::app::StandIn;
use http::{Request, Response};
use http_body::Body;
use pyo3::prelude::*;
use tower_service::Service;

use crate::answer::{AnswerBody, Answering};
use crate::failure::LoadFailure;
use crate::{asgi, wsgi};

/// A Python application as a tower service.
#[derive(Debug, Clone)]
pub(crate) enum PythonService {
    Wsgi(wsgi::WsgiService),
    Asgi(asgi::AsgiService),
    /// There is no application.
    StandIn(Arc<StandIn>),
}

impl<B> Service<Request<B>> for PythonService
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Answering;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        match self {
            Self::Wsgi(service) => service.call(request),
            Self::Asgi(service) => service.call(request),
            Self::StandIn(stand_in) => {
                let answer = stand_in.answer(request.headers()).map(AnswerBody::Whole);
                Box::pin(ready(Ok(answer)))
            }
        }
    }
}

/// What runs the application.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    Wsgi(wsgi::Engine),
    Asgi(asgi::Engine),
}

/// An application that is about to serve.
#[derive(Debug)]
pub(crate) enum Started<'py> {
    Wsgi(wsgi::Threads<'py>),
    Asgi(asgi::Started<'py>),
}

impl Engine {
    /// What answers requests. The engine is closed when the last clone of it is gone.
    pub(crate) fn service(&self) -> PythonService {
        match self {
            Self::Wsgi(engine) => PythonService::Wsgi(engine.service()),
            Self::Asgi(engine) => PythonService::Asgi(engine.service()),
        }
    }

    /// Does what is to be done before the worker is ready. `named` is what the application is called in messages.
    ///
    /// # Errors
    /// Why it cannot be served, in one line.
    pub(crate) fn start<'py>(
        &self,
        app: &Bound<'py, PyAny>,
        named: &str,
    ) -> Result<Started<'py>, LoadFailure> {
        match self {
            Self::Wsgi(engine) => engine.start(app).map(Started::Wsgi).map_err(|error| {
                let threads = engine.threads();
                LoadFailure::from(format!(
                    "`app.threads`: the interpreter cannot start {threads} threads: {error}"
                ))
            }),
            Self::Asgi(engine) => engine.start(app, named).map(Started::Asgi),
        }
    }

    /// Serves on this thread until no request can come any more and the application has let go of it, which may be never.
    ///
    /// # Errors
    /// What an application gets cannot be made.
    pub(crate) fn run(&self, app: &Bound<'_, PyAny>, started: Started<'_>) -> PyResult<()> {
        match (self, started) {
            (Self::Wsgi(engine), Started::Wsgi(threads)) => engine.run(app, threads),
            (Self::Asgi(engine), Started::Asgi(started)) => engine.run(app, started),
            (Self::Wsgi(_), Started::Asgi(_)) | (Self::Asgi(_), Started::Wsgi(_)) => {
                Err(io::Error::other("another engine has started the application").into())
            }
        }
    }

    /// How long the application may take for its end when its worker has served.
    pub(crate) fn time_left(&self) -> Duration {
        match self {
            Self::Wsgi(_) => Duration::ZERO,
            Self::Asgi(engine) => engine.time_left(),
        }
    }

    /// Logs what the application is busy with.
    pub(crate) fn tell_who_is_busy(&self) {
        match self {
            Self::Wsgi(engine) => engine.tell_who_is_busy(),
            Self::Asgi(engine) => engine.tell_who_is_busy(),
        }
    }
}
