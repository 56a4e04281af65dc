//! What an exchange adds to its answer, whoever gives it.

use crate::model::extras::Extras;
use crate::proxy::exchange::Exchange;

impl Exchange {
    /// Orders what is added to the answer, once, before there is one.
    pub(crate) fn adorn(&self, extras: Box<Extras>) {
        self.extras.get_or_init(|| extras);
    }

    /// What is added to the answer, if anything is.
    pub(crate) fn extras(&self) -> Option<&Extras> {
        self.extras.get().map(|extras| &**extras)
    }
}
