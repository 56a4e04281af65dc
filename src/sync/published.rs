//! A value that one owner replaces and every thread reads without waiting. The only door to
//! `arc_swap`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

/// The one hand that may replace the value: not cloneable, so that a value has one writer.
#[derive(Debug)]
pub struct Publisher<T> {
    current: Arc<ArcSwap<T>>,
}

/// The readers' side: the current value, always whole.
#[derive(Debug)]
pub struct Published<T> {
    current: Arc<ArcSwap<T>>,
}

/// One thread's view of a [`Published`] value: a load is one atomic read while nothing changed.
#[derive(Debug)]
pub struct Reader<T> {
    cache: Cache<Arc<ArcSwap<T>>, Arc<T>>,
}

impl<T> Publisher<T> {
    /// Publishes the first value.
    #[must_use]
    pub fn new(value: Arc<T>) -> Self {
        Self { current: Arc::new(ArcSwap::new(value)) }
    }

    /// Makes `value` the one that every later load returns: one atomic store.
    pub fn publish(&self, value: Arc<T>) {
        self.current.store(value);
    }

    /// The current value.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// A handle for readers.
    #[must_use]
    pub fn published(&self) -> Published<T> {
        Published { current: Arc::clone(&self.current) }
    }
}

impl<T> Published<T> {
    /// The current value.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// A view for one thread.
    #[must_use]
    pub fn reader(&self) -> Reader<T> {
        Reader { cache: Cache::new(Arc::clone(&self.current)) }
    }
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current) }
    }
}

impl<T> Reader<T> {
    /// The current value.
    pub fn load(&mut self) -> &Arc<T> {
        self.cache.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_the_value_published_last() {
        let publisher = Publisher::new(Arc::new(1));
        let mut reader = publisher.published().reader();
        assert_eq!(**reader.load(), 1);
        publisher.publish(Arc::new(2));
        assert_eq!(**reader.load(), 2);
        assert_eq!(*publisher.load(), 2);
    }
}
