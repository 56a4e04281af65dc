//! One immutable moment of all routing truth.

use std::sync::Arc;

use crate::model::route::Routes;
use crate::model::settings::Settings;
use crate::model::upstream::Upstream;

/// What every request decides on: it sees exactly one. Only the supervisor publishes a new one.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows by one with every publish, across restarts too.
    pub generation: u64,
    /// Which upstream serves a request.
    pub routes: Routes,
    /// The upstreams, sorted by name; a route names one by its index.
    pub upstreams: Vec<Upstream>,
    /// The settings this snapshot was built from.
    pub settings: Arc<Settings>,
}

impl Snapshot {
    /// The upstream of that name.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams
            .iter()
            .find(|upstream| &*upstream.name == name)
    }
}
