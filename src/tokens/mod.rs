//! The token service: login, refresh, verify and blacklist, as `SimpleJWT` under Django REST Framework answers them. What is
//! decided is decided in `rotation`, `claims` and `fields`; `service` acts, and `store` has the only SQL.

mod answer;
mod claims;
mod deny_table;
mod endpoint;
mod failure;
mod fields;
mod flush;
mod json_error;
mod negotiation;
mod passwords;
mod rotation;
mod service;
mod signer;
mod store;
mod throttle;
mod users;

pub use deny_table::DenyTable;
pub use endpoint::Endpoint;
pub use flush::Flush;
pub use service::{BODY_MAX, Call, Service};
pub use signer::Signer;
pub use store::{Listed, Password};
pub use users::Users;
