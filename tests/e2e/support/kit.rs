//! Whom cases are held against: the demo application, and the same one in Python, as WSGI and as ASGI.

use std::path::Path;
use std::thread;

use super::python;
use super::server::Setup;

/// An application with the routes of the demo. What a client sees of HTTP is the same with each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kit {
    Demo,
    Wsgi,
    Asgi,
}

impl Kit {
    pub(crate) const ALL: [Self; 3] = [Self::Demo, Self::Wsgi, Self::Asgi];

    /// Those that have WebSockets.
    pub(crate) const WITH_WEBSOCKET: [Self; 2] = [Self::Demo, Self::Asgi];

    pub(crate) fn setup(self) -> Setup {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kit");
        let python = || python::bare().set("app.chdir", folder.to_str().unwrap());
        match self {
            Self::Demo => Setup::new(),
            Self::Wsgi => python().set("app.wsgi", "kit_wsgi"),
            Self::Asgi => python().set("app.asgi", "kit_asgi:app"),
        }
    }

    /// What `hold` says of each of these; they are held at the same time.
    pub(crate) fn each<T: Send>(kits: &[Self], hold: impl Fn(Self) -> T + Sync) -> Vec<T> {
        let hold = &hold;
        thread::scope(|scope| {
            let held: Vec<_> = kits
                .iter()
                .map(|kit| scope.spawn(move || hold(*kit)))
                .collect();
            held.into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        })
    }
}
