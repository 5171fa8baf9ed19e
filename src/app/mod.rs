//! What is served: any tower service, built in each worker after the fork.

mod arriving;
mod client;
pub mod demo;
mod draining;
mod early_hints;
mod in_hand;
mod interim;
mod loan;
mod overloaded;
mod pace;
mod request_body;
mod stand_in;
mod trailers;
mod wait;
mod witness;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};

use crate::config::Config;
pub use arriving::{Arriving, Http2Body};
pub use client::Client;
pub use draining::Draining;
pub(crate) use early_hints::Ahead;
pub use early_hints::{EarlyHints, EarlyHintsError};
pub use in_hand::InHand;
pub(crate) use interim::Interim;
pub use loan::{CallPace, Density, Left, Loan, ReadyTasks, spawn_counted};
pub use overloaded::Overloaded;
pub use pace::Pace as BodyPace;
pub use request_body::RequestBody;
pub(crate) use request_body::{Awaited, BodyEnd, Fault};
pub use stand_in::StandIn;
pub(crate) use trailers::{has_blanks, is_of_the_head};
pub use witness::{Asking, Sighting, ThreadSight, Threads, Witness};

/// Any error of an application.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What an application may know when it boots.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The configuration of its generation.
    pub config: Arc<Config>,
    /// The worker it boots in.
    pub worker: u64,
    /// The generation it belongs to.
    pub generation: u64,
}

/// An application: boots once in each worker process, then answers requests.
///
/// Every function from [`Boot`] to a future of a tower service is one; an axum `Router` is such a service.
pub trait App: 'static {
    /// What answers the requests.
    type Service: AppService;

    /// Loads the application. The worker serves when this is done, and the generation is given up when it fails.
    ///
    /// # Errors
    /// Why it cannot boot, for the operator.
    fn boot(&self, boot: Boot) -> impl Future<Output = Result<Self::Service, BoxError>>;

    /// Who knows what its threads do, where it runs on threads of its own. Asked once, before the boot.
    fn witness(&self) -> Option<Arc<dyn Witness>> {
        None
    }

    /// Where a thread of the application may turn the event loop of its worker; none: it never does.
    fn loan(&self) -> Option<Loan> {
        None
    }

    /// Why what has booted is not the application but stands in for it, which is for development only. Asked once, after the boot.
    fn stands_in(&self) -> Option<String> {
        None
    }

    /// Where in its own code the application failed, in many lines, for whoever waits for the outcome. Asked once, after a boot that has
    /// failed.
    fn traceback(&self) -> Option<String> {
        None
    }
}

impl<F, Booting, S, E> App for F
where
    F: Fn(Boot) -> Booting + 'static,
    Booting: Future<Output = Result<S, E>>,
    S: AppService,
    E: Into<BoxError>,
{
    type Service = S;

    async fn boot(&self, boot: Boot) -> Result<S, BoxError> {
        self(boot).await.map_err(Into::into)
    }
}

/// A tower service that answers HTTP requests; implemented for all of them.
pub trait AppService: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
    /// Its way to fail; becomes 500.
    type Error: Into<BoxError>;
    /// An answer on its way.
    type Future: Future<Output = Result<Response<Self::Body>, Self::Error>> + Send + 'static;

    /// Whether it can take a request; see `tower_service::Service::poll_ready`.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;

    /// Answers one.
    fn call(&mut self, request: Request<RequestBody>) -> Self::Future;
}

impl<S, B> AppService for S
where
    S: tower_service::Service<
            Request<RequestBody>,
            Response = Response<B>,
            Error: Into<BoxError>,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower_service::Service::poll_ready(self, context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        tower_service::Service::call(self, request)
    }
}
