//! A body of the token service: whatever it is, the answer is one of Django REST Framework's, never a failure of ours.
//!
//! The first line of the input is the Content-Type, the rest is the body.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use destrier::auth::SigningKey;
use destrier::tokens::{Call, Endpoint, Service, Signer};
use destrier_fuzz::{NOW, SECRET, configuration, guard};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};

struct World {
    runtime: Runtime,
    service: Service,
    _folder: TempDir,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let auth = configuration(&format!(
        "[auth.tokens]\ndatabase = 'sqlite:{}/tokens.db'\n[[auth.issuer]]\nsecret_file = 'unused'\n",
        folder.path().display()
    ));
    let (tokens, issuer) = (auth.tokens.as_ref(), auth.token_issuer());
    let (tokens, issuer) = tokens.zip(issuer).expect("a token service");
    let guard = guard(&auth);
    let key = SigningKey::from_secret(SECRET).expect("a good secret");
    let signer = Signer::new(tokens, issuer, key, &guard, NOW).expect("a signer");
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let service = Service::start(&auth, Some(Arc::new(signer)), None, Arc::new(guard), 1);
    let service = runtime.block_on(service).expect("a database");
    World {
        runtime,
        service: service.expect("a service"),
        _folder: folder,
    }
});

fuzz_target!(|input: &[u8]| -> Corpus {
    let end = input.iter().position(|byte| *byte == b'\n');
    let Some((content_type, body)) = end.and_then(|end| input.split_at_checked(end)) else {
        return Corpus::Reject;
    };
    let Ok(content_type) = HeaderValue::from_bytes(content_type) else {
        return Corpus::Reject;
    };
    let request = Request::post("/")
        .header(CONTENT_TYPE, content_type)
        .body(());
    let (head, ()) = request.expect("a request").into_parts();
    let call = Call {
        endpoint: Endpoint::Verify,
        head: &head,
        body: Some(Bytes::copy_from_slice(&body[1..])),
        request: String::new(),
        trace_id: None,
        client: None,
    };
    let World {
        runtime, service, ..
    } = &*WORLD;
    let answer = runtime.block_on(service.answer(call));
    let status = answer.status().as_u16();
    assert!(matches!(status, 200 | 400 | 401 | 415), "{status}");
    serde_json::from_slice::<Value>(answer.body()).expect("an answer in JSON");
    Corpus::Keep
});
