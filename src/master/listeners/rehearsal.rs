//! What opening would do, found without listening anywhere.

use super::{Bind, ListenError, Listeners, Server, SocketPath, is_v6_only, owner_and_group};
use crate::sys::listener;

impl Listeners {
    /// Whether `bind` is open already, or could be opened as far as can be told without doing it: a TCP address is bound for a
    /// moment, a Unix socket's place is looked at, but the locks of other servers are not tried and no folder is made.
    ///
    /// # Errors
    /// What opening it would fail with.
    pub(in crate::master) fn rehearse(
        &self,
        bind: &Bind,
        server: &Server,
    ) -> Result<bool, ListenError> {
        if self.is_open(bind, server)? {
            return Ok(true);
        }
        match bind {
            Bind::Tcp(address) => {
                listener::assert_unused(*address, is_v6_only(*address, &server.bind))
                    .map_err(|error| ListenError::Open(bind.clone(), error))?;
            }
            Bind::Unix(path) => {
                owner_and_group(server).map_err(|error| ListenError::Owner(bind.clone(), error))?;
                SocketPath::assert_claimable(path)
                    .map_err(|error| ListenError::Path(bind.clone(), error))?;
            }
            Bind::Fd(_) | Bind::Systemd(_) => {
                let mut passed = self.passed_under(bind);
                passed
                    .next()
                    .ok_or_else(|| ListenError::NotPassed(bind.clone()))?;
            }
        }
        Ok(false)
    }
}
