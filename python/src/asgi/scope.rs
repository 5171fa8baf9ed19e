//! `scope`: a request as the application sees it (ASGI 3, "HTTP Connection Scope" and "WebSocket Connection Scope").

use std::sync::Arc;

use destrier::{
    Claims, Client, ClientCertificate, EarlyHints, Encryption, RequestId, Subprotocols,
};
use http::header::{COOKIE, HOST, HeaderMap, HeaderName};
use http::{Method, Version, request};
use percent_encoding::percent_decode_str;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::Settings;
use crate::claims;
use crate::text;

/// So many names of fields are kept as bytes of the interpreter; clients may send any.
const NAMES_MAX: usize = 512;

/// What the messages are, of those that this server knows.
const SPEC_VERSION: &str = "2.5";

/// Makes the scope of each request of a worker.
#[derive(Debug)]
pub(super) struct Scopes {
    /// What is the same for all requests, and for all WebSockets. Whatever each of them has is in it too, so that a copy need not grow.
    http: Py<PyDict>,
    websocket: Py<PyDict>,
    asgi: Py<PyDict>,
    extensions: Py<PyDict>,
    /// Of the lifespan.
    state: Py<PyDict>,
    /// Names of fields.
    names: HeaderMap<Py<PyBytes>>,
}

impl Scopes {
    pub(super) fn new(
        py: Python<'_>,
        settings: &Settings,
        state: Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let asgi = PyDict::new(py);
        asgi.set_item("version", "3.0")?;
        asgi.set_item("spec_version", SPEC_VERSION)?;
        let extensions = PyDict::new(py);
        extensions.set_item("http.response.pathsend", PyDict::new(py))?;
        let http = base(py, "http", "http", settings)?;
        http.set_item(intern!(py, "method"), "GET")?;
        let websocket = base(py, "websocket", "ws", settings)?;
        websocket.set_item(intern!(py, "subprotocols"), py.None())?;
        Ok(Self {
            http: http.unbind(),
            websocket: websocket.unbind(),
            asgi: asgi.unbind(),
            extensions: extensions.unbind(),
            state: state.unbind(),
            names: HeaderMap::default(),
        })
    }

    /// Of a request.
    pub(super) fn http<'py>(
        &mut self,
        py: Python<'py>,
        head: &request::Parts,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.http.bind(py).copy()?;
        if head.method != Method::GET {
            scope.set_item(intern!(py, "method"), head.method.as_str())?;
        }
        let extensions = self.extensions.bind(py).copy()?;
        if head.extensions.get::<EarlyHints>().is_some() {
            let hints = PyDict::new(py);
            extensions.set_item(intern!(py, "http.response.early_hint"), hints)?;
        }
        self.complete(&scope, head, extensions, intern!(py, "https"))?;
        Ok(scope)
    }

    /// Of a request that asks for a WebSocket.
    pub(super) fn websocket<'py>(
        &mut self,
        py: Python<'py>,
        head: &request::Parts,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.websocket.bind(py).copy()?;
        let offered = head.extensions.get::<Subprotocols>();
        let offered = offered.map(|offered| offered.0.as_slice());
        scope.set_item(
            intern!(py, "subprotocols"),
            PyList::new(py, offered.unwrap_or_default())?,
        )?;
        let extensions = PyDict::new(py);
        extensions.set_item(intern!(py, "websocket.http.response"), PyDict::new(py))?;
        self.complete(&scope, head, extensions, intern!(py, "wss"))?;
        Ok(scope)
    }

    /// Adds what every scope has; `secure` is the scheme over TLS.
    fn complete(
        &mut self,
        scope: &Bound<'_, PyDict>,
        head: &request::Parts,
        extensions: Bound<'_, PyDict>,
        secure: &Bound<'_, PyString>,
    ) -> PyResult<()> {
        let py = scope.py();
        scope.set_item(intern!(py, "asgi"), self.asgi.bind(py).copy()?)?;
        match head.version {
            Version::HTTP_10 => scope.set_item(intern!(py, "http_version"), intern!(py, "1.0"))?,
            Version::HTTP_2 => scope.set_item(intern!(py, "http_version"), intern!(py, "2"))?,
            _ => {}
        }
        let path = head.uri.path();
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        scope.set_item(intern!(py, "path"), &*decoded)?;
        scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, path.as_bytes()))?;
        if let Some(query) = head.uri.query() {
            let query = PyBytes::new(py, query.as_bytes());
            scope.set_item(intern!(py, "query_string"), query)?;
        }
        scope.set_item(intern!(py, "headers"), self.fields(py, head)?)?;
        let state = self.state.bind(py).copy()?;
        if let Some(client) = head.extensions.get::<Client>() {
            if let Some(address) = client.address {
                let address = (address.to_string(), client.port.unwrap_or_default());
                scope.set_item(intern!(py, "client"), address)?;
            }
            if client.is_https {
                scope.set_item(intern!(py, "scheme"), secure)?;
            }
        }
        let certificate = head.extensions.get::<ClientCertificate>();
        if let Some(certificate) = certificate {
            let names = PyList::new(py, certificate.names())?;
            scope.set_item(intern!(py, "destrier.client_names"), names)?;
        }
        if let Some(encryption) = head.extensions.get::<Encryption>() {
            extensions.set_item(intern!(py, "tls"), tls(py, *encryption, certificate)?)?;
        }
        scope.set_item(intern!(py, "extensions"), extensions)?;
        if let Some(id) = head.extensions.get::<RequestId>() {
            let id = id.written(|id| text::of_bytes(py, id));
            scope.set_item(intern!(py, "destrier.request_id"), id)?;
        }
        if let Some(verified) = head.extensions.get::<Arc<Claims>>() {
            // Each a dictionary of its own: what is done to the one the other does not have.
            let state_claims = claims::to_dict(py, verified)?;
            state.set_item(intern!(py, "claims"), state_claims)?;
            let scope_claims = claims::to_dict(py, verified)?;
            scope.set_item(intern!(py, "destrier.claims"), scope_claims)?;
            scope.set_item(intern!(py, "destrier.issuer"), verified.issuer_name())?;
        }
        scope.set_item(intern!(py, "state"), state)
    }

    fn fields<'py>(
        &mut self,
        py: Python<'py>,
        head: &request::Parts,
    ) -> PyResult<Bound<'py, PyList>> {
        let fields = PyList::empty(py);
        // HTTP/2 has no field for it (RFC 9113 section 8.3.1); it comes first.
        if let Some(authority) = head.uri.authority()
            && !head.headers.contains_key(HOST)
        {
            let host = PyBytes::new(py, authority.as_str().as_bytes());
            fields.append((self.name(py, &HOST), host))?;
        }
        let mut cookies = head.headers.get_all(COOKIE).iter();
        let has_cookies = cookies.next().is_some() && cookies.next().is_some();
        for (name, value) in &head.headers {
            if !is_shown(name) || (has_cookies && *name == COOKIE) {
                continue;
            }
            let value = PyBytes::new(py, value.as_bytes());
            fields.append((self.name(py, name), value))?;
        }
        // RFC 9113 section 8.2.3: what HTTP/2 may send apart is one field again.
        if has_cookies {
            let cookies = head.headers.get_all(COOKIE).iter();
            let cookies: Vec<_> = cookies.map(http::HeaderValue::as_bytes).collect();
            let cookies = PyBytes::new(py, &cookies.join(b"; ".as_slice()));
            fields.append((self.name(py, &COOKIE), cookies))?;
        }
        Ok(fields)
    }

    /// The name of a field.
    fn name<'py>(&mut self, py: Python<'py>, name: &HeaderName) -> Bound<'py, PyBytes> {
        if let Some(known) = self.names.get(name) {
            return known.bind(py).clone();
        }
        let bytes = PyBytes::new(py, name.as_str().as_bytes());
        if self.names.len() < NAMES_MAX {
            self.names.insert(name.clone(), bytes.clone().unbind());
        }
        bytes
    }
}

fn base<'py>(
    py: Python<'py>,
    kind: &str,
    scheme: &str,
    settings: &Settings,
) -> PyResult<Bound<'py, PyDict>> {
    let scope = PyDict::new(py);
    scope.set_item(intern!(py, "type"), kind)?;
    scope.set_item(intern!(py, "asgi"), py.None())?;
    scope.set_item(intern!(py, "http_version"), intern!(py, "1.1"))?;
    scope.set_item(intern!(py, "scheme"), PyString::intern(py, scheme))?;
    scope.set_item(intern!(py, "path"), "")?;
    scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, b""))?;
    scope.set_item(intern!(py, "query_string"), PyBytes::new(py, b""))?;
    scope.set_item(intern!(py, "root_path"), "")?;
    scope.set_item(intern!(py, "headers"), py.None())?;
    scope.set_item(intern!(py, "client"), py.None())?;
    let server = (settings.server_name.as_str(), settings.server_port);
    scope.set_item(intern!(py, "server"), server)?;
    scope.set_item(intern!(py, "state"), py.None())?;
    scope.set_item(intern!(py, "extensions"), py.None())?;
    scope.set_item(intern!(py, "destrier.request_id"), py.None())?;
    Ok(scope)
}

/// Whether an application is shown a field: as with WSGI, for frameworks make the same variables of them. `a_b` and `a-b` would be the
/// same one, and in `Proxy` libraries would see a proxy.
fn is_shown(name: &HeaderName) -> bool {
    name.as_str() != "proxy" && !name.as_str().contains('_')
}

/// The TLS extension of ASGI: how the connection is encrypted, and who the client is by its certificate. Which of its own the server has shown
/// is not known.
fn tls<'py>(
    py: Python<'py>,
    encryption: Encryption,
    certificate: Option<&ClientCertificate>,
) -> PyResult<Bound<'py, PyDict>> {
    let chain = certificate.into_iter();
    let chain = chain.flat_map(ClientCertificate::pem_chain);
    let tls = PyDict::new(py);
    tls.set_item("server_cert", py.None())?;
    tls.set_item(
        "client_cert_chain",
        PyList::new(py, chain.collect::<Vec<_>>())?,
    )?;
    tls.set_item(
        "client_cert_name",
        certificate.map(ClientCertificate::subject),
    )?;
    tls.set_item("client_cert_error", py.None())?;
    tls.set_item("tls_version", encryption.version_number())?;
    tls.set_item("cipher_suite", encryption.cipher_suite())?;
    Ok(tls)
}
