//! What an application is told besides the request, as extensions of it: what is the same for all requests of a worker, and room
//! for the rest.

use http::Extensions;

use crate::app::Draining;

/// The extensions that every request begins with.
#[derive(Debug)]
pub(super) struct Told(Extensions);

/// As many extensions as a request may get besides, each with a type of its own.
#[derive(Debug, Clone)]
struct Place<const NUMBER: usize>;

impl Told {
    pub(super) fn new(draining: Draining) -> Self {
        let mut extensions = Extensions::new();
        // Room stays when what took it is removed, and a copy has as much: nothing grows then with each request.
        extensions.insert(Place::<0>);
        extensions.insert(Place::<1>);
        extensions.insert(Place::<2>);
        extensions.insert(draining);
        extensions.remove::<Place<0>>();
        extensions.remove::<Place<1>>();
        extensions.remove::<Place<2>>();
        Self(extensions)
    }

    /// Of a request that has perhaps some already.
    pub(super) fn begin(&self, extensions: &mut Extensions) {
        let before = std::mem::replace(extensions, self.0.clone());
        extensions.extend(before);
    }
}

#[cfg(test)]
mod tests {
    use http::Extensions;

    use super::Told;
    use crate::app::Draining;

    #[test]
    fn a_request_keeps_what_it_has() {
        let mut extensions = Extensions::new();
        extensions.insert(7);
        Told::new(Draining::default()).begin(&mut extensions);
        assert_eq!(extensions.len(), 2);
        assert_eq!(extensions.get(), Some(&7));
        assert!(extensions.get::<Draining>().is_some());
    }
}
