//! What an application has made of claims, kept with them: a token that comes again is not made into it anew.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Nothing yet, or the first thing that was made. It is no part of the claims: those of a copy are made anew, and all are alike.
#[derive(Default)]
pub(super) struct Derived(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Derived {
    /// What was made, or what `make` makes now. Where the first thing that was made is of another type, it is made each time.
    pub(super) fn of<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(kept) = self.0.get() {
            let kept = Arc::clone(kept).downcast();
            return kept.unwrap_or_else(|_another_type| Arc::new(make()));
        }
        let made = Arc::new(make());
        // Whoever was faster has made the same.
        let _first = self.0.set(Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
        made
    }
}

impl Clone for Derived {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Derived {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Derived")
    }
}

#[cfg(test)]
mod tests {
    use super::Derived;

    #[test]
    fn what_is_made_is_made_once_and_another_type_each_time() {
        let derived = Derived::default();
        assert_eq!(*derived.of(|| 1_u32), 1);
        assert_eq!(*derived.of(|| -> u32 { unreachable!("made again") }), 1);
        assert_eq!(*derived.of(|| "a"), "a");
        assert_eq!(*derived.of(|| "b"), "b");
        assert_eq!(*derived.of(|| 2_u32), 1);
        let copy = derived.clone();
        assert_eq!((*copy.of(|| 3_u32), *derived.of(|| 3_u32)), (3, 1));
    }
}
