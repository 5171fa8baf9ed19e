//! `environ`: a request as the application sees it (PEP 3333, "environ Variables"; RFC 3875 section 4.1).

use std::net::IpAddr;
use std::sync::Arc;

use destrier::{Claims, Client, ClientCertificate, EarlyHints, RequestId};
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING,
};
use http::{Method, Version, request};
use percent_encoding::percent_decode_str;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::Settings;
use super::early_hints::Hints;
use super::errors::Errors;
use super::file_wrapper::FileWrapper;
use crate::claims;
use crate::text;

/// So many names of fields are kept as strings of the interpreter; clients may send any.
const NAMES_MAX: usize = 512;

/// Makes the environ of each request of a thread.
#[derive(Debug)]
pub(super) struct Environ {
    /// What is the same for all. Whatever every request has is in it too, so that a copy need not grow.
    base: Py<PyDict>,
    /// `HTTP_…` by name of field.
    names: HeaderMap<Py<PyString>>,
    /// Where the request before came from: often the next one does, too.
    last_address: Option<(IpAddr, Py<PyString>)>,
}

impl Environ {
    pub(super) fn new(py: Python<'_>, settings: &Settings) -> PyResult<Self> {
        let base = PyDict::new(py);
        for name in [
            intern!(py, "REQUEST_METHOD"),
            intern!(py, "SCRIPT_NAME"),
            intern!(py, "PATH_INFO"),
            intern!(py, "QUERY_STRING"),
            intern!(py, "RAW_URI"),
            intern!(py, "REQUEST_URI"),
            intern!(py, "REMOTE_ADDR"),
        ] {
            base.set_item(name, "")?;
        }
        base.set_item("SERVER_NAME", &settings.server_name)?;
        base.set_item("SERVER_PORT", settings.server_port.to_string())?;
        base.set_item(intern!(py, "SERVER_PROTOCOL"), "HTTP/1.1")?;
        base.set_item("SERVER_SOFTWARE", "destrier")?;
        base.set_item("wsgi.version", (1, 0))?;
        base.set_item(intern!(py, "wsgi.url_scheme"), "http")?;
        base.set_item(intern!(py, "wsgi.input"), py.None())?;
        base.set_item("wsgi.input_terminated", true)?;
        base.set_item("wsgi.errors", Py::new(py, Errors::default())?)?;
        base.set_item("wsgi.multithread", settings.threads > 1)?;
        base.set_item("wsgi.multiprocess", settings.is_multiprocess)?;
        base.set_item("wsgi.run_once", false)?;
        base.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
        base.set_item(
            intern!(py, "wsgi.early_hints"),
            Py::new(py, Hints::new(None))?,
        )?;
        Ok(Self {
            base: base.unbind(),
            names: HeaderMap::default(),
            last_address: None,
        })
    }

    /// Of a request whose content is `length` bytes long, where that is known.
    pub(super) fn of<'py>(
        &mut self,
        py: Python<'py>,
        head: &request::Parts,
        length: Option<usize>,
        input: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.base.bind(py).copy()?;
        environ.set_item(intern!(py, "REQUEST_METHOD"), method(py, &head.method))?;
        let path = head.uri.path();
        let decoded: std::borrow::Cow<'_, [u8]> = percent_decode_str(path).into();
        environ.set_item(intern!(py, "PATH_INFO"), text::of_bytes(py, &decoded))?;
        let query = head.uri.query();
        if let Some(query) = query {
            environ.set_item(
                intern!(py, "QUERY_STRING"),
                text::of_bytes(py, query.as_bytes()),
            )?;
        }
        let target = head.uri.path_and_query();
        let target = text::of_bytes(py, target.map_or(path, |target| target.as_str()).as_bytes());
        environ.set_item(intern!(py, "RAW_URI"), &target)?;
        environ.set_item(intern!(py, "REQUEST_URI"), target)?;
        let protocol = match head.version {
            Version::HTTP_10 => Some(intern!(py, "HTTP/1.0")),
            Version::HTTP_2 => Some(intern!(py, "HTTP/2.0")),
            _ => None,
        };
        if let Some(protocol) = protocol {
            environ.set_item(intern!(py, "SERVER_PROTOCOL"), protocol)?;
        }
        environ.set_item(intern!(py, "wsgi.input"), input)?;
        if let Some(hints) = head.extensions.get::<EarlyHints>() {
            let hints = Bound::new(py, Hints::new(Some(hints.clone())))?;
            environ.set_item(intern!(py, "wsgi.early_hints"), hints)?;
        }
        self.add_fields(py, &environ, head, length)?;
        self.add_client(py, &environ, head)?;
        add_identity(py, &environ, head)?;
        Ok(environ)
    }

    fn add_fields(
        &mut self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        head: &request::Parts,
        length: Option<usize>,
    ) -> PyResult<()> {
        let mut fields = head.headers.iter().peekable();
        let mut joined = Vec::new();
        while let Some((name, value)) = fields.next() {
            let mut value = value.as_bytes();
            // Fields of one name come one after the other.
            if fields
                .next_if(|(next, _)| *next == name)
                .is_some_and(|(_, next)| {
                    joined.clear();
                    joined.extend_from_slice(value);
                    join(&mut joined, name, next.as_bytes());
                    true
                })
            {
                while let Some((_, next)) = fields.next_if(|(next, _)| *next == name) {
                    join(&mut joined, name, next.as_bytes());
                }
                value = &joined;
            }
            if *name == CONTENT_TYPE {
                environ.set_item(intern!(py, "CONTENT_TYPE"), text::of_bytes(py, value))?;
            } else if *name == CONTENT_LENGTH {
                environ.set_item(intern!(py, "CONTENT_LENGTH"), text::of_bytes(py, value))?;
            } else if is_shown(name, length) {
                let value = text::of_bytes(py, value);
                match self.names.get(name) {
                    Some(key) => environ.set_item(key, value)?,
                    None => environ.set_item(self.keep(py, name), value)?,
                }
            }
        }
        // Sent in chunks, but all here: applications that read by length get one.
        if let Some(length) = length.filter(|length| *length > 0)
            && !head.headers.contains_key(CONTENT_LENGTH)
        {
            environ.set_item(intern!(py, "CONTENT_LENGTH"), length.to_string())?;
        }
        // HTTP/2 has no field for it (RFC 9113 section 8.3.1).
        if let Some(authority) = head.uri.authority()
            && !head.headers.contains_key(HOST)
        {
            let host = text::of_bytes(py, authority.as_str().as_bytes());
            environ.set_item(intern!(py, "HTTP_HOST"), host)?;
        }
        Ok(())
    }

    /// The key of a field that was not seen before.
    fn keep<'py>(&mut self, py: Python<'py>, name: &HeaderName) -> Bound<'py, PyString> {
        let mut key = name.as_str().replace('-', "_");
        key.make_ascii_uppercase();
        let key = PyString::intern(py, &format!("HTTP_{key}"));
        if self.names.len() < NAMES_MAX {
            self.names.insert(name.clone(), key.clone().unbind());
        }
        key
    }

    /// Who asks, and how.
    fn add_client(
        &mut self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        head: &request::Parts,
    ) -> PyResult<()> {
        if let Some(client) = head.extensions.get::<Client>() {
            if let Some(address) = client.address {
                environ.set_item(intern!(py, "REMOTE_ADDR"), self.address(py, address))?;
            }
            if let Some(port) = client.port {
                environ.set_item(intern!(py, "REMOTE_PORT"), port.to_string())?;
            }
            if client.is_https {
                environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
                environ.set_item(intern!(py, "HTTPS"), intern!(py, "on"))?;
            }
        }
        if let Some(certificate) = head.extensions.get::<ClientCertificate>() {
            environ.set_item(intern!(py, "SSL_CLIENT_VERIFY"), "SUCCESS")?;
            let subject = text::of_bytes(py, certificate.subject().as_bytes());
            environ.set_item(intern!(py, "SSL_CLIENT_S_DN"), subject)?;
            let pem = certificate.pem_chain().next();
            environ.set_item(intern!(py, "SSL_CLIENT_CERT"), pem)?;
            let names = PyList::new(py, certificate.names())?;
            environ.set_item(intern!(py, "destrier.client_names"), names)?;
        }
        Ok(())
    }

    fn address<'py>(&mut self, py: Python<'py>, address: IpAddr) -> Bound<'py, PyString> {
        if let Some((last, text)) = &self.last_address
            && *last == address
        {
            return text.bind(py).clone();
        }
        let text = PyString::new(py, &address.to_string());
        self.last_address = Some((address, text.clone().unbind()));
        text
    }
}

/// Whether an application is shown a field.
fn is_shown(name: &HeaderName, length: Option<usize>) -> bool {
    if *name == TRANSFER_ENCODING {
        // It was taken off already.
        return length.is_none();
    }
    // `a_b` and `a-b` would be the same variable, so that a client could forge the one with the other; and `HTTP_PROXY` is
    // where libraries look for a proxy, for requests of their own.
    name.as_str() != "proxy" && !name.as_str().contains('_')
}

/// Several fields of one name are one list (RFC 9110 section 5.3); cookies are separated in another way (RFC 6265 section 4.2.1).
fn join(joined: &mut Vec<u8>, name: &HeaderName, next: &[u8]) {
    let separator: &[u8] = if *name == COOKIE { b"; " } else { b"," };
    joined.extend_from_slice(separator);
    joined.extend_from_slice(next);
}

fn method<'py>(py: Python<'py>, method: &Method) -> Bound<'py, PyString> {
    match *method {
        Method::GET => intern!(py, "GET").clone(),
        Method::POST => intern!(py, "POST").clone(),
        Method::HEAD => intern!(py, "HEAD").clone(),
        _ => PyString::new(py, method.as_str()),
    }
}

/// What destrier knows of the request: no field of a client can say any of it.
fn add_identity(
    py: Python<'_>,
    environ: &Bound<'_, PyDict>,
    head: &request::Parts,
) -> PyResult<()> {
    if let Some(id) = head.extensions.get::<RequestId>() {
        let id = id.written(|text| text::of_bytes(py, text));
        environ.set_item(intern!(py, "destrier.request_id"), id)?;
    }
    if let Some(verified) = head.extensions.get::<Arc<Claims>>() {
        let members = claims::to_dict(py, verified)?;
        environ.set_item(intern!(py, "destrier.claims"), members)?;
        environ.set_item(intern!(py, "destrier.issuer"), verified.issuer_name())?;
        if let Some(subject) = verified.subject() {
            let subject = text::of_bytes(py, subject.as_bytes());
            environ.set_item(intern!(py, "REMOTE_USER"), subject)?;
        }
    }
    Ok(())
}
