//! Files as answers (`[[http.static]]`): which folder a path belongs to, and what a request for a file of it gets.

mod body;
mod disk;

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Empty;
use tower_http::services::ServeDir;
use tower_http::services::fs::DefaultServeDirFallback;

use super::body::ResponseBody;
use super::track::Track;
use super::{Pipeline, reply};
use crate::app::{AppService, BodyEnd};
use crate::auth;
use crate::config::{CompressionAlgorithm, StaticFolder};
use crate::scoreboard::RequestId;
use crate::sys::listener;
pub(super) use body::FileBody;
use disk::Disk;

/// What a request says of the file that it wants; nothing else of it is looked at but its range.
const LOOKED_AT: [HeaderName; 5] = [
    ACCEPT_ENCODING,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
];

/// All of a file that has something in it.
const ALL: HeaderValue = HeaderValue::from_static("bytes=0-");

/// The folders of a worker, that with the longest prefix first.
#[derive(Debug, Clone, Default)]
pub struct Folders(Vec<Folder>);

/// A folder whose files are answers.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// As the path of a request is written that was judged; it ends with `/`.
    prefix: String,
    files: ServeDir<DefaultServeDirFallback, Disk>,
    cache_control: Option<HeaderValue>,
    /// Whether a file may go out as another one that is compressed.
    varies: bool,
    falls_through: bool,
}

/// What there is in place of the application's answer.
#[derive(Debug)]
pub(super) enum Given {
    File(FileBody),
    Own(Bytes),
}

/// Why there is no file to answer with.
#[derive(Debug)]
enum Failure {
    NotFound,
    /// It is there, but may not be read, or cannot be.
    Unreadable(io::Error, StatusCode),
    TooSlow,
}

impl Folders {
    /// Of the configuration.
    pub fn new(folders: &[StaticFolder]) -> Self {
        let mut folders: Vec<_> = folders.iter().map(Folder::new).collect();
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.prefix.len()));
        Self(folders)
    }

    /// The folder that a request for a file is for, if it is for one.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<&Folder> {
        let mut folders = self.0.iter();
        let folder = folders.find(|folder| path.starts_with(&folder.prefix))?;
        // What is sent to an application stays the application's.
        (!folder.falls_through || is_read(method)).then_some(folder)
    }
}

impl Folder {
    fn new(settings: &StaticFolder) -> Self {
        let StaticFolder {
            path,
            folder,
            cache_control,
            index,
            precompressed,
            fallthrough,
        } = settings;
        let prefix = auth::canonical_path(path).unwrap_or_else(|| path.clone());
        let mut files = ServeDir::with_backend(folder, Disk)
            .append_index_html_on_directories(*index)
            .ignore_multi_range_requests(true)
            .redirect_path_prefix(prefix.strip_suffix('/').unwrap_or_default());
        for algorithm in precompressed {
            files = match algorithm {
                CompressionAlgorithm::Zstd => files.precompressed_zstd(),
                CompressionAlgorithm::Br => files.precompressed_br(),
                CompressionAlgorithm::Gzip => files.precompressed_gzip(),
            };
        }
        Self {
            prefix,
            files,
            cache_control: cache_control.clone(),
            varies: !precompressed.is_empty(),
            falls_through: *fallthrough,
        }
    }

    /// The path within the folder, with its query; none where it names something that is hidden.
    fn inner<'a>(&self, head: &'a Parts) -> Option<&'a str> {
        let target = head.uri.path_and_query()?.as_str();
        let inner = target.get(self.prefix.len() - 1..)?;
        let path = inner.split('?').next().unwrap_or(inner);
        let is_hidden = path.split('/').any(|name| name.starts_with('.'));
        (!is_hidden).then_some(inner)
    }

    /// The answer, with the head of what was found. Of several ranges all of the file is the answer.
    async fn look(&self, head: &Parts) -> Result<Response<FileBody>, Failure> {
        let inner = self.inner(head).ok_or(Failure::NotFound)?;
        let mut fields = HeaderMap::new();
        for name in LOOKED_AT {
            if let Some(value) = whole(&head.headers, &name) {
                fields.insert(name, value);
            }
        }
        let range = range(head);
        if let Some(range) = &range {
            fields.insert(RANGE, range.clone());
        }
        let mut response = self.call(head, inner, &fields).await?;
        // The last bytes of a file that has fewer are all of it (RFC 9110 section 14.1.2).
        let is_refused = response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
        if is_refused && range.as_ref().is_some_and(is_suffix) {
            fields.insert(RANGE, ALL);
            response = self.call(head, inner, &fields).await?;
        }
        // Nothing is a part of an empty file, which has no range to name.
        let is_empty = response
            .headers()
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length == "0");
        let is_still = is_still(head.headers.get(IF_RANGE), response.headers());
        if range.is_some() && (!is_still || is_empty) {
            fields.remove(RANGE);
            return self.call(head, inner, &fields).await;
        }
        Ok(response)
    }

    async fn call(
        &self,
        head: &Parts,
        inner: &str,
        fields: &HeaderMap,
    ) -> Result<Response<FileBody>, Failure> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = inner.parse().map_err(|_| Failure::NotFound)?;
        *request.headers_mut() = fields.clone();
        let response = self.files.clone().try_call(request).await;
        match response {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => Err(Failure::NotFound),
            Ok(response) => Ok(response.map(FileBody)),
            Err(error) => Err(failure(error)),
        }
    }

    /// Adds what is said of what was found.
    fn dress(&self, response: &mut Response<FileBody>) {
        let is_answered =
            response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        if let Some(kind) = headers.get(CONTENT_TYPE).and_then(with_charset) {
            headers.insert(CONTENT_TYPE, kind);
        }
        if !is_answered {
            return;
        }
        if let Some(value) = &self.cache_control {
            headers.insert(CACHE_CONTROL, value.clone());
        }
        if self.varies {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
    }
}

impl<S: AppService> Pipeline<S> {
    /// The answer to a request for a file; none where it is the application's to answer.
    pub(super) async fn file(
        &self,
        head: &Parts,
        limit: Option<Duration>,
        id: &RequestId,
    ) -> Option<Response<Given>> {
        let folder = self.settings.folders.find(&head.method, head.uri.path())?;
        let mut response = if is_read(&head.method) {
            self.found(folder, head, limit, id).await?
        } else {
            reply::only_read().map(Given::Own)
        };
        let nosniff = HeaderValue::from_static("nosniff");
        response
            .headers_mut()
            .insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        Some(response)
    }

    /// What there is in this folder; none where the application is asked then.
    async fn found(
        &self,
        folder: &Folder,
        head: &Parts,
        limit: Option<Duration>,
        id: &RequestId,
    ) -> Option<Response<Given>> {
        // Boxed: the memory of every connection would else have room for it.
        let looking = Box::pin(folder.look(head));
        let looked = match limit {
            Some(limit) => tokio::time::timeout(limit, looking)
                .await
                .unwrap_or(Err(Failure::TooSlow)),
            None => looking.await,
        };
        let own = match looked {
            Ok(mut response) => {
                folder.dress(&mut response);
                return Some(response.map(Given::File));
            }
            Err(Failure::NotFound) if folder.falls_through => return None,
            Err(Failure::NotFound) => reply::not_found(),
            Err(Failure::Unreadable(error, status)) => {
                self.unserved.unreadable(head.uri.path(), &error, id);
                reply::unreadable(status)
            }
            Err(Failure::TooSlow) => reply::file_timed_out(),
        };
        Some(own.map(Given::Own))
    }

    /// That answer as it goes out.
    pub(super) fn answer_with_file(
        &self,
        response: Response<Given>,
        mut track: Track,
        id: &RequestId,
        body_end: &BodyEnd,
    ) -> Response<ResponseBody<S::Body>> {
        let (closes, asked) = (self.closes(&track, body_end), track.asked);
        track.answered(&response);
        let response = response.map(|given| match given {
            Given::File(body) => ResponseBody::of_file(body, track),
            Given::Own(bytes) => ResponseBody::own(bytes, track),
        });
        self.finish(response, id, closes, asked)
    }
}

fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

/// The part that is asked for, in a unit that is known and has its name in lower case; ranges are for GET only (RFC 9110 sections 14.1
/// and 14.2).
fn range(head: &Parts) -> Option<HeaderValue> {
    let written = head
        .headers
        .get(RANGE)
        .filter(|_| head.method == Method::GET)?;
    let (unit, ranges) = written.to_str().ok()?.split_once('=')?;
    let is_known = unit.eq_ignore_ascii_case("bytes");
    // Empty elements of a list are nothing (RFC 9110 section 5.6.1.2).
    let elements = ranges
        .split(',')
        .map(|range| range.trim_matches([' ', '\t']));
    let ranges =
        elements
            .filter(|range| !range.is_empty())
            .map(|range| match range.split_once('-') {
                Some((first, last)) => format!("{}-{}", number(first), number(last)),
                None => range.to_owned(),
            });
    let ranges = ranges.collect::<Vec<_>>().join(",");
    is_known.then(|| HeaderValue::try_from(format!("bytes={ranges}")).ok())?
}

/// A number as `ServeDir` reads it: without zeros before it, and none that is beyond every length.
fn number(written: &str) -> Cow<'_, str> {
    let is_number = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        let number = written.parse().unwrap_or(u64::MAX);
        number.to_string().into()
    } else {
        written.into()
    }
}

/// Whether so many bytes from the end are asked for, at least one.
fn is_suffix(range: &HeaderValue) -> bool {
    let length = range.as_bytes().strip_prefix(b"bytes=-");
    length.is_some_and(|length| {
        length.iter().all(u8::is_ascii_digit) && length.iter().any(|digit| *digit != b'0')
    })
}

/// The value of a field, over all its lines: a list goes on in each, and of several dates none counts (RFC 9110 sections 5.3, 13.1.3 and
/// 13.1.4).
fn whole(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    if lines.next().is_none() {
        return Some(first.clone());
    }
    let is_date = [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE].contains(name);
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let list = lines.collect::<Vec<_>>().join(&b", "[..]);
    (!is_date).then(|| HeaderValue::from_bytes(&list).ok())?
}

/// Whether the file is the one that the client has a part of already (RFC 9110 section 13.1.5): by a strong validator, which a date is
/// where it is the very one that was sent.
fn is_still(validator: Option<&HeaderValue>, headers: &HeaderMap) -> bool {
    let Some(validator) = validator else {
        return true;
    };
    let is = |name| headers.get(name) == Some(validator);
    is(ETAG) || is(LAST_MODIFIED)
}

/// Texts are in UTF-8; a browser that is not told so guesses.
fn with_charset(kind: &HeaderValue) -> Option<HeaderValue> {
    let text = kind.to_str().ok()?;
    let is_bare = text.starts_with("text/") && !text.contains(';');
    is_bare.then(|| HeaderValue::try_from(format!("{text}; charset=utf-8")).ok())?
}

fn failure(error: io::Error) -> Failure {
    use io::ErrorKind::{InvalidFilename, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    let kind = error.kind();
    if [NotFound, NotADirectory, InvalidFilename, IsADirectory].contains(&kind) {
        Failure::NotFound
    } else if kind == PermissionDenied {
        // Whether it is there is nobody's business.
        Failure::Unreadable(error, StatusCode::NOT_FOUND)
    } else if listener::is_exhausted(&error) {
        Failure::Unreadable(error, StatusCode::SERVICE_UNAVAILABLE)
    } else {
        Failure::Unreadable(error, StatusCode::INTERNAL_SERVER_ERROR)
    }
}
