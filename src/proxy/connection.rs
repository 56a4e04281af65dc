//! One client connection: where it stands between requests, and when its patience ends.

mod stream;

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::rc::Weak;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::fault::Fault;
use crate::model::settings::Limits;
use crate::model::settings::Timeouts;
use crate::net::certs::CertificateSet;
use crate::proxy::accept::ListenerContext;
use crate::proxy::client::Client;
use crate::proxy::clock::Watch;
use crate::proxy::clock::Watched;
pub(crate) use crate::proxy::connection::stream::ClientStream;
pub(crate) use crate::proxy::connection::stream::insisting;
use crate::proxy::share::Share;
use crate::proxy::worker::Worker;
use crate::sync::shutdown::Stage;

/// How long a connection on which nothing has been asked yet may still bring its first request
/// after the proxy began to stop: a client that just finished its handshake loses nothing.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A request head is expected: the first one, or one whose first byte has come.
    Head,
    /// At least one request is being served.
    Serving,
    /// Kept alive, with nothing in flight.
    Idle,
}

/// Whether a client that seems to take nothing takes something after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// It has time left.
    None,
    /// It has not: it is insisted on, up to the next tick.
    Asked,
    /// It took something.
    Took,
}

/// Why a connection must end before its peer ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A request head did not come in time.
    HeadTimeout,
    /// Nothing was asked for the idle time.
    Idle,
    /// The client takes nothing.
    SendTimeout,
    /// The proxy stops.
    Shutdown,
}

/// What the TLS handshake settled.
pub(crate) struct Secured {
    /// The name that the client asked for.
    pub(crate) sni: Option<String>,
    /// The certificates it was answered from, and which one it got.
    pub(crate) certificates: Arc<CertificateSet>,
}

/// One client connection.
pub(crate) struct Connection {
    /// Where it was accepted.
    pub(crate) listener: Rc<ListenerContext>,
    /// Who is at the other end.
    pub(crate) client: Client,
    /// What the TLS handshake settled; `None` on plaintext.
    pub(crate) secured: Option<Secured>,
    worker: Rc<Worker>,
    /// The requests of its address on this worker.
    of_address: Rc<Share>,
    timeouts: Timeouts,
    phase: Cell<Phase>,
    serving: Cell<usize>,
    served: Cell<bool>,
    multiplexed: bool,
    told_to_stop: Cell<bool>,
    patience: Cell<Option<Instant>>,
    send_timeout: Cell<Duration>,
    send_patience: Cell<Option<Instant>>,
    /// What is known once it is over.
    doubt: Cell<Doubt>,
    ending: Cell<Option<Ending>>,
    waker: RefCell<Option<Waker>>,
    /// The request that is being served, where there is one at a time: every tick looks at it, too.
    along: RefCell<Option<Weak<dyn Watched>>>,
    watch: Watch,
}

impl Connection {
    /// A connection from which the first request is awaited from now on. `multiplexed`: requests
    /// share it, and it carries more than requests (HTTP/2).
    pub(crate) fn open(
        worker: &Rc<Worker>,
        listener: Rc<ListenerContext>,
        client: Client,
        secured: Option<Secured>,
        multiplexed: bool,
    ) -> Rc<Self> {
        let timeouts = worker.view.load().snapshot.settings.timeouts;
        let of_address = worker.shares.of(client.address, &worker.admission);
        worker.clock.watch(|watch| Self {
            listener,
            client,
            secured,
            worker: Rc::clone(worker),
            of_address,
            timeouts,
            phase: Cell::new(Phase::Head),
            serving: Cell::new(0),
            served: Cell::new(false),
            multiplexed,
            told_to_stop: Cell::new(false),
            patience: Cell::new(Some(worker.clock.deadline(timeouts.request_header))),
            send_timeout: Cell::new(timeouts.send),
            send_patience: Cell::new(None),
            doubt: Cell::new(Doubt::None),
            ending: Cell::new(None),
            waker: RefCell::new(None),
            along: RefCell::new(None),
            watch,
        })
    }

    /// Whether the proxy stops, and no further request should be sent over it.
    pub(crate) fn is_stopping(&self) -> bool {
        self.worker.stage.get() >= Stage::Graceful
    }

    /// Whether requests share it (HTTP/2).
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed
    }

    /// A request begins. It ends with [`end_request`](Self::end_request).
    pub(crate) fn begin_request(&self) {
        self.worker.shares.all.begin();
        self.of_address.begin();
        self.watch.rouse();
        self.serving.set(self.serving.get() + 1);
        self.served.set(true);
        self.phase.set(Phase::Serving);
        self.patience.set(None);
    }

    /// Watches the request that has begun as well, until it ends: a place in the clock less for each.
    ///
    /// # Errors
    ///
    /// Requests share this connection: it is given back.
    pub(crate) fn watch_along(&self, request: Weak<dyn Watched>) -> Result<(), Weak<dyn Watched>> {
        if self.multiplexed {
            return Err(request);
        }
        self.along.replace(Some(request));
        Ok(())
    }

    /// Whether a request that has begun may be served beside all others.
    ///
    /// # Errors
    ///
    /// The limit that it is over.
    pub(crate) fn has_room(&self, limits: &Limits) -> Result<(), Fault> {
        if !self.of_address.fits(limits.requests_per_address) {
            return Err(Fault::AddressRequestsLimit);
        }
        if !self.worker.shares.all_fit(limits.requests) {
            return Err(Fault::RequestsLimit);
        }
        Ok(())
    }

    /// A request does not count any more: one that is shed must not take the room of others for as long
    /// as its client takes to read why.
    pub(crate) fn give_room_back(&self) {
        self.worker.shares.all.end();
        self.of_address.end();
    }

    /// A request has ended, with its last byte handed to the connection.
    /// `has_room`: it has not [given its room back](Self::give_room_back).
    pub(crate) fn end_request(&self, has_room: bool) {
        if has_room {
            self.give_room_back();
        }
        self.serving.set(self.serving.get().saturating_sub(1));
        if self.serving.get() == 0 {
            self.along.replace(None);
            self.phase.set(Phase::Idle);
            self.patience
                .set(Some(self.worker.clock.deadline(self.timeouts.idle)));
        }
    }

    /// Ends as idle again after `grace`, whatever the idle time is.
    pub(crate) fn idle_until(&self, grace: Duration) {
        self.patience.set(Some(self.worker.clock.deadline(grace)));
        self.watch.rouse();
    }

    /// How long the client may take nothing: by the route of the request that came last, if any.
    pub(crate) fn send_timeout(&self) -> Duration {
        self.send_timeout.get()
    }

    /// How long the client may take nothing, from the route of the request now being answered.
    pub(crate) fn set_send_timeout(&self, timeout: Duration) {
        self.send_timeout.set(timeout);
    }

    /// Ready once the connection must end, and each time the reason changes.
    pub(crate) fn poll_ending(&self, cx: &Context<'_>) -> Poll<Ending> {
        if let Some(ending) = self.ending.take() {
            return Poll::Ready(ending);
        }
        self.keep_waker(cx);
        Poll::Pending
    }

    /// Whoever works on it is to be woken as this says.
    #[inline]
    pub(crate) fn keep_waker(&self, cx: &Context<'_>) {
        keep_waker(&self.waker, cx);
    }

    fn end(&self, why: Ending) {
        self.ending.set(Some(why));
        self.wake();
    }

    /// Wakes whoever works on it.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// The client has sent something.
    pub(crate) fn has_read(&self) {
        // Over HTTP/2 the first byte may as well be that of a ping or of a window's update.
        if self.phase.get() == Phase::Idle && !self.multiplexed {
            self.phase.set(Phase::Head);
            self.patience
                .set(Some(self.worker.clock.deadline(self.timeouts.request_header)));
            self.watch.rouse();
        }
    }

    /// The client has taken something.
    pub(crate) fn has_written(&self) {
        match self.doubt.get() {
            Doubt::None => self.send_patience.set(None),
            Doubt::Asked | Doubt::Took => self.doubt.set(Doubt::Took),
        }
    }

    /// The client takes nothing at the moment, or nothing more.
    pub(crate) fn waits_to_write(&self) {
        let took = self.doubt.get() == Doubt::Took;
        if took || self.send_patience.get().is_none() {
            self.send_patience
                .set(Some(self.worker.clock.deadline(self.send_timeout.get())));
            self.doubt.set(Doubt::None);
            self.watch.rouse();
        }
    }

    /// Whether the client is to be insisted on, until it takes nothing more.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt.get() != Doubt::None
    }

    /// The client has taken nothing that showed for as long as it may.
    fn doubts(&self) {
        match self.doubt.get() {
            Doubt::None => {
                self.doubt.set(Doubt::Asked);
                self.wake();
            }
            Doubt::Asked => {
                self.send_patience.set(None);
                self.end(Ending::SendTimeout);
            }
            // And goes on taking.
            Doubt::Took => {
                self.send_patience.set(None);
                self.doubt.set(Doubt::None);
            }
        }
    }
}

/// Keeps the waker at hand, unless the one that is kept wakes the same.
#[inline]
pub(crate) fn keep_waker(kept: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let same = |kept: &Waker| kept.will_wake(cx.waker());
    if !kept.borrow().as_ref().is_some_and(same) {
        kept.replace(Some(cx.waker().clone()));
    }
}

impl Watched for Connection {
    fn tick(&self, now: Instant) -> Option<Instant> {
        if self.send_patience.get().is_some_and(|at| at <= now) {
            self.doubts();
        } else if self.patience.get().is_some_and(|at| at <= now) {
            self.patience.set(None);
            let idle = self.phase.get() == Phase::Idle;
            self.end(if idle { Ending::Idle } else { Ending::HeadTimeout });
        } else if self.worker.stage.get() >= Stage::Graceful && !self.told_to_stop.get() {
            let fresh = !self.served.get();
            let grace_over = self
                .worker
                .stopping_since
                .get()
                .is_some_and(|at| at + FIRST_REQUEST_GRACE <= now);
            if !fresh || grace_over {
                self.told_to_stop.set(true);
                self.end(Ending::Shutdown);
            }
        }
        let along = self.along.borrow().as_ref().and_then(Weak::upgrade);
        if let Some(request) = along {
            request.tick(now);
        }
        let at_rest = self.serving.get() == 0 && self.send_patience.get().is_none();
        self.patience.get().filter(|_| at_rest)
    }
}
