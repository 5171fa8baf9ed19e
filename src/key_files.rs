//! Temporary.
use crate::auth::Guard;
use crate::config::Auth;
pub fn load(_auth: &Auth) -> Result<Guard, Vec<String>> {
    Ok(Guard::open())
}
