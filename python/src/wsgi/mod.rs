//! Calls of a WSGI application, one after the other on the main thread.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};

use bytes::Bytes;
use destrier::RequestBody;
use http::{Request, Response};
use http_body_util::Full;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use tokio::sync::oneshot;

struct Job {
    parts: http::request::Parts,
    answer: oneshot::Sender<Response<Full<Bytes>>>,
}

/// What the worker calls.
#[derive(Clone)]
pub(crate) struct Service(mpsc::Sender<Job>);

/// What the main thread runs.
pub(crate) struct Engine {
    application: Py<PyAny>,
    jobs: mpsc::Receiver<Job>,
}

pub(crate) fn start(application: Py<PyAny>) -> (Service, Engine) {
    let (sender, jobs) = mpsc::channel();
    (Service(sender), Engine { application, jobs })
}

impl Engine {
    /// Until the last service is gone.
    pub(crate) fn run(mut self, py: Python<'_>) {
        loop {
            let jobs = &mut self.jobs;
            let Ok(job) = py.detach(move || jobs.recv()) else {
                return;
            };
            let answer = call(py, &self.application, &job.parts).unwrap_or_else(|error| {
                tracing::error!(%error, "the application failed");
                let mut answer = Response::new(Full::default());
                *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                answer
            });
            drop(job.answer.send(answer));
        }
    }
}

fn call(
    py: Python<'_>,
    application: &Py<PyAny>,
    parts: &http::request::Parts,
) -> PyResult<Response<Full<Bytes>>> {
    let environ = PyDict::new(py);
    environ.set_item("REQUEST_METHOD", parts.method.as_str())?;
    environ.set_item("SCRIPT_NAME", "")?;
    environ.set_item("PATH_INFO", parts.uri.path())?;
    environ.set_item("QUERY_STRING", parts.uri.query().unwrap_or_default())?;
    environ.set_item("SERVER_NAME", "localhost")?;
    environ.set_item("SERVER_PORT", "80")?;
    environ.set_item("SERVER_PROTOCOL", "HTTP/1.1")?;
    environ.set_item("wsgi.version", (1, 0))?;
    environ.set_item("wsgi.url_scheme", "http")?;
    environ.set_item("wsgi.input", py.import("io")?.call_method0("BytesIO")?)?;
    environ.set_item("wsgi.errors", py.import("sys")?.getattr("stderr")?)?;
    environ.set_item("wsgi.multithread", false)?;
    environ.set_item("wsgi.multiprocess", true)?;
    environ.set_item("wsgi.run_once", false)?;
    for (name, value) in &parts.headers {
        let name = format!("HTTP_{}", name.as_str().to_uppercase().replace('-', "_"));
        environ.set_item(name, value.to_str().unwrap_or_default())?;
    }
    let started = PyList::empty(py);
    let start_response = started.getattr("append")?;
    let locals = PyDict::new(py);
    locals.set_item("append", start_response)?;
    let start = py.eval(
        c"(lambda append: lambda status, headers, exc_info=None: append((status, headers)))(append)",
        Some(&locals),
        None,
    )?;
    let body = application.bind(py).call1((environ, start))?;
    let mut bytes = Vec::new();
    for chunk in body.try_iter()? {
        bytes.extend_from_slice(chunk?.extract::<&[u8]>()?);
    }
    let told = started.get_item(0)?;
    let told = told.cast::<PyTuple>()?;
    let status: String = told.get_item(0)?.extract()?;
    let headers: Vec<(String, String)> = told.get_item(1)?.extract()?;
    let mut answer = Response::builder().status(status.get(..3).unwrap_or("500"));
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    answer
        .body(Full::from(bytes))
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
}

impl tower_service::Service<Request<RequestBody>> for Service {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        let (parts, _) = request.into_parts();
        let sent = self.0.send(Job { parts, answer });
        Box::pin(async move {
            let mut gone = Response::new(Full::default());
            *gone.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            match sent {
                Ok(()) => Ok(answered.await.unwrap_or(gone)),
                Err(_) => Ok(gone),
            }
        })
    }
}
