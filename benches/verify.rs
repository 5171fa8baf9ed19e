//! What it costs to verify the token of a request: HS256, RS256, ES256 and `EdDSA`, with tokens that come for the first time and with
//! tokens that come again, by the guard of a worker, and by jsonwebtoken alone.
//!
//! `cargo bench --bench verify` measures the CPU time of its one thread. All measurements take turns in each round, for the machine
//! has moods; medians of rounds are told, and how they relate to those of HS256 in the same round.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking and prints its figures"
)]

use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use comfy_table::{CellAlignment, Table, presets};
use destrier::auth::{Guard, IssuerKeys, RequestView, UnixTime, Verdict};
use destrier::config::{self, Sources, Text};
use destrier::sys::clock;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use nix::time::{ClockId, clock_gettime};
use pem::Pem;
use serde_json::{Map, Value, json};

/// More than a worker remembers, so that one that comes again has been forgotten.
const DISTINCT: usize = 1500;
/// So many clients show theirs again and again.
const REPEATING: usize = 100;
const ROUNDS: usize = 41;

/// One algorithm, with everything that is measured of it.
struct Subject {
    name: String,
    algorithm: Algorithm,
    verifies: DecodingKey,
    guard: Guard,
    /// The fields of a request for each token.
    requests: Vec<HeaderMap>,
    tokens: Vec<String>,
    next: usize,
}

fn main() {
    let mut subjects = subjects();
    let mut rounds: Vec<Vec<[f64; 3]>> = Vec::new();
    // The first round warms up.
    for round in 0..=ROUNDS {
        let measured = subjects.iter_mut().map(Subject::measure).collect();
        if round > 0 {
            rounds.push(measured);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "",
        "token",
        "jsonwebtoken",
        "first time",
        "again",
        "again / HS256",
    ]);
    for (index, subject) in subjects.iter().enumerate() {
        let of = |what: usize| median(rounds.iter().map(|round| round[index][what]));
        let ratio = median(rounds.iter().map(|round| round[index][2] / round[0][2]));
        table.add_row([
            subject.name.clone(),
            format!("{} bytes", subject.tokens[0].len()),
            format!("{:.2} µs", of(0)),
            format!("{:.2} µs", of(1)),
            format!("{:.3} µs", of(2)),
            format!("{ratio:.3}"),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("CPU time of one verdict, median of {ROUNDS} rounds:\n{table}");
}

fn subjects() -> Vec<Subject> {
    let secret = [7; 32];
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let private = |der: &[u8]| armour("PRIVATE KEY", der);
    let public = |der: &[u8]| armour("PUBLIC KEY", der);
    let rsa_private = private(rsa.as_der().unwrap().as_ref());
    let rsa_public = public(rsa.public_key().as_der().unwrap().as_ref());
    let p256_private = private(p256.to_pkcs8v1().unwrap().as_ref());
    let p256_public = public(p256.public_key().as_der().unwrap().as_ref());
    let ed_private = private(ed25519.to_pkcs8v1().unwrap().as_ref());
    let ed_public = public(ed25519.public_key().as_der().unwrap().as_ref());
    let pem = |public: &str| IssuerKeys::from_pem(public.as_bytes(), &[]).unwrap();
    vec![
        Subject::new(
            Algorithm::HS256,
            IssuerKeys::from_secret(&secret, &[]).unwrap(),
            &EncodingKey::from_secret(&secret).unwrap(),
            DecodingKey::from_secret(&secret).unwrap(),
        ),
        Subject::new(
            Algorithm::RS256,
            pem(&rsa_public),
            &EncodingKey::from_rsa_pem(rsa_private.as_bytes()).unwrap(),
            DecodingKey::from_rsa_pem(rsa_public.as_bytes()).unwrap(),
        ),
        Subject::new(
            Algorithm::ES256,
            pem(&p256_public),
            &EncodingKey::from_ec_pem(p256_private.as_bytes()).unwrap(),
            DecodingKey::from_ec_pem(p256_public.as_bytes()).unwrap(),
        ),
        Subject::new(
            Algorithm::EdDSA,
            pem(&ed_public),
            &EncodingKey::from_ed_pem(ed_private.as_bytes()).unwrap(),
            DecodingKey::from_ed_pem(ed_public.as_bytes()).unwrap(),
        ),
    ]
}

fn armour(label: &str, der: &[u8]) -> String {
    pem::encode(&Pem::new(label, der))
}

impl Subject {
    fn new(
        algorithm: Algorithm,
        keys: IssuerKeys,
        signs: &EncodingKey,
        verifies: DecodingKey,
    ) -> Self {
        let now = clock::unix().as_secs();
        let token = |number: usize| {
            let claims = json!({
                "iss": "https://login.example", "sub": format!("user-{number}"), "aud": "api",
                "iat": now, "exp": now + 3600, "jti": format!("{number:032x}"), "scope": "orders:read orders:write",
            });
            jsonwebtoken::encode(&Header::new(algorithm), &claims, signs).unwrap()
        };
        let tokens: Vec<String> = (0..DISTINCT).map(token).collect();
        let request = |token: &String| {
            HeaderMap::from_iter([
                (HOST, HeaderValue::from_static("api.example")),
                (USER_AGENT, HeaderValue::from_static("bench/1.0")),
                (ACCEPT, HeaderValue::from_static("*/*")),
                (AUTHORIZATION, format!("Bearer {token}").parse().unwrap()),
            ])
        };
        Self {
            name: format!("{algorithm:?}"),
            algorithm,
            verifies,
            guard: guard(keys),
            requests: tokens.iter().map(request).collect(),
            tokens,
            next: 0,
        }
    }

    /// The CPU time of one verdict in microseconds: by jsonwebtoken, by the guard for the first time and again.
    fn measure(&mut self) -> [f64; 3] {
        let mut validation = Validation::new(self.algorithm);
        validation.set_audience(&["api"]);
        validation.set_issuer(&["https://login.example"]);
        let theirs = each(self.tokens.iter().take(300), |token| {
            let decoded =
                jsonwebtoken::decode::<Map<String, Value>>(token, &self.verifies, &validation);
            black_box(decoded.unwrap());
        });
        let mut distinct = Vec::new();
        for _ in 0..300 {
            self.next = (self.next + 1) % DISTINCT;
            distinct.push(&self.requests[self.next]);
        }
        let first = each(distinct.into_iter(), |headers| self.judge(headers));
        let repeating = &self.requests[..REPEATING];
        for headers in repeating {
            self.judge(headers);
        }
        let times = 200;
        let again = each(0..times, |_| {
            for headers in repeating {
                self.judge(headers);
            }
        });
        #[expect(clippy::cast_precision_loss, reason = "a hundred")]
        let again = again / REPEATING as f64;
        [theirs, first, again]
    }

    fn judge(&self, headers: &HeaderMap) {
        let request = RequestView {
            method: "GET",
            path: "/orders/7",
            query: None,
            headers,
            client_certificate: None,
            client_names: &[],
            is_https: false,
        };
        let now = UnixTime(clock::unix().as_secs());
        let verdict = black_box(self.guard.judge(&request, now));
        assert!(matches!(verdict, Verdict::Pass(_)), "{verdict:?}");
    }
}

fn guard(keys: IssuerKeys) -> Guard {
    let text = Text {
        file: "bench.toml".into(),
        text: "[[auth.issuer]]\njwks_file = 'unused'\nissuer = 'https://login.example'\naudience = 'api'\n\
            [[auth.rule]]\npath = '/orders/{id}'\nscopes = 'orders:read'\n"
            .to_owned(),
    };
    let config = config::read_again(text, &Sources::default())
        .unwrap()
        .config;
    Guard::new(&config.auth, vec![keys]).unwrap()
}

/// The CPU time of this thread for each item, in microseconds.
fn each<T>(items: impl ExactSizeIterator<Item = T>, work: impl FnMut(T)) -> f64 {
    let count = items.len();
    let before = spent();
    items.for_each(work);
    let spent = spent().saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let each = spent.as_secs_f64() * 1e6 / count as f64;
    each
}

fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
