//! The open listeners of the process: prepared beside the running ones, then published to the
//! workers at once. What did not change keeps its very sockets, tickets and sessions.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

use tokio::sync::watch;

use crate::net::certs::CertificateError;
use crate::net::certs::CertificatePaths;
use crate::net::certs::CertificateSet;
use crate::net::certs::Part;
use crate::net::sockets;
use crate::net::sockets::Sockets;
use crate::net::tls::Tls;

/// A listener as the configuration wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Where to listen. Port 0 takes a free one; `[::]` takes both families.
    pub bind: SocketAddr,
    /// Absent: plain text. The first is the one for clients that name no host of ours.
    pub certificates: Option<Vec<CertificatePaths>>,
    /// Carried along for whoever answers requests.
    pub redirect_to_https: bool,
}

/// An open listener. Its sockets close when it and every duplicate of them are gone.
#[derive(Debug)]
pub struct Listener {
    /// As configured.
    pub bind: SocketAddr,
    /// Where it listens: port 0 resolved.
    pub address: SocketAddr,
    /// Whether its requests are to be sent to HTTPS.
    pub redirect_to_https: bool,
    /// Absent: plain text.
    pub tls: Option<Arc<Tls>>,
    sockets: Arc<Sockets>,
}

impl Listener {
    /// A duplicate of the socket that belongs to `worker` (from 0): non-blocking, with the accept
    /// queue of its own that the kernel fills. Connections accepted from it have TCP_NODELAY and
    /// keepalive set already. Keep the listener for as long as the duplicate: a reload that brings
    /// this address back while it closes then finds it.
    ///
    /// # Errors
    /// No file descriptor is left, or there is no such worker.
    pub fn accept_socket(&self, worker: usize) -> io::Result<TcpListener> {
        self.sockets.duplicate(worker)
    }
}

/// What is wrong with one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenError {
    /// Its place in the list, from 0.
    pub listener: usize,
    /// Which part of it.
    pub place: Place,
    /// What and why, beginning with the address or the file.
    pub what: String,
    /// The way out, where one is known.
    pub hint: Option<String>,
}

/// A part of a listener's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The address.
    Bind,
    /// TLS as a whole.
    Tls,
    /// The chain of the certificate with this index, from 0.
    Cert(usize),
    /// Its private key.
    Key(usize),
}

impl ListenError {
    /// The key's path in the configuration: `listeners[1].tls.certificates[0].key`.
    #[must_use]
    pub fn path(&self) -> String {
        key_path(self.listener, self.place)
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path(), self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ListenError {}

fn key_path(listener: usize, place: Place) -> String {
    match place {
        Place::Bind => format!("listeners[{listener}].bind"),
        Place::Tls => format!("listeners[{listener}].tls"),
        Place::Cert(index) => format!("listeners[{listener}].tls.certificates[{index}].cert"),
        Place::Key(index) => format!("listeners[{listener}].tls.certificates[{index}].key"),
    }
}

/// The set of open listeners. One hand prepares and commits, one change at a time.
#[derive(Debug)]
pub struct Listeners {
    workers: usize,
    open: watch::Sender<Arc<Vec<Arc<Listener>>>>,
    /// Gone from the list, perhaps still open: workers empty its accept queue.
    closing: Mutex<Vec<Weak<Listener>>>,
}

/// A set of listeners that is open and checked, and waits to be committed. Dropped, it closes what
/// it opened and nothing has changed.
#[derive(Debug)]
pub struct Prepared {
    listeners: Vec<Arc<Listener>>,
    swaps: Vec<(Arc<Tls>, Arc<CertificateSet>)>,
    warnings: Vec<String>,
}

impl Prepared {
    /// What works but deserves a word, each beginning with its key's path.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The listeners as they will be.
    #[must_use]
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }
}

impl Listeners {
    /// No listener yet; each will have one socket for each of `workers`.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let open = watch::channel(Arc::default()).0;
        Self { workers: workers.max(1), open, closing: Mutex::default() }
    }

    /// Reads the certificates and binds the addresses of `specs` that are not open yet. New sockets
    /// listen from here on: the kernel holds their first connections until the commit. Reads files,
    /// so it may take some milliseconds.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first. Nothing has changed then.
    pub fn prepare(&self, specs: &[ListenerSpec]) -> Result<Prepared, Vec<ListenError>> {
        let mut attempt = Attempt {
            workers: self.workers,
            current: self.current(),
            candidates: self.still_open(),
            prepared: Prepared {
                listeners: Vec::with_capacity(specs.len()),
                swaps: Vec::new(),
                warnings: Vec::new(),
            },
            errors: Vec::new(),
        };
        for (index, spec) in specs.iter().enumerate() {
            let first = specs.iter().position(|other| other.bind == spec.bind);
            match first {
                Some(first) if first < index && spec.bind.port() != 0 => {
                    let what = format!("{}: listeners[{first}] has this address", spec.bind);
                    let hint = "one listener takes any number of certificates and hosts";
                    attempt.refuse(index, Place::Bind, what, Some(hint.to_owned()));
                }
                _ => attempt.add(index, spec),
            }
        }
        if attempt.errors.is_empty() { Ok(attempt.prepared) } else { Err(attempt.errors) }
    }

    /// Publishes: new handshakes get the new certificates, workers the new list. A listener that is
    /// no longer in it is closed by the workers, once they have emptied its accept queue.
    pub fn commit(&self, prepared: Prepared) {
        for (tls, certificates) in prepared.swaps {
            tls.swap(certificates);
        }
        let next = Arc::new(prepared.listeners);
        let previous = self.open.send_replace(Arc::clone(&next));
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        closing.retain(|listener| listener.strong_count() > 0);
        let gone = previous
            .iter()
            .filter(|old| !next.iter().any(|new| Arc::ptr_eq(old, new)));
        closing.extend(gone.map(Arc::downgrade));
    }

    /// The list, and a wake-up whenever it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Vec<Arc<Listener>>>> {
        self.open.subscribe()
    }

    /// The list of the moment.
    #[must_use]
    pub fn current(&self) -> Arc<Vec<Arc<Listener>>> {
        Arc::clone(&self.open.borrow())
    }

    fn still_open(&self) -> Vec<Arc<Listener>> {
        let closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open: Vec<_> = self.current().iter().map(Arc::clone).collect();
        open.extend(closing.iter().filter_map(Weak::upgrade));
        open
    }
}

/// One `prepare` under way.
struct Attempt {
    workers: usize,
    current: Arc<Vec<Arc<Listener>>>,
    /// Listeners of ours that are open and not taken over yet; the current ones come first.
    candidates: Vec<Arc<Listener>>,
    prepared: Prepared,
    errors: Vec<ListenError>,
}

impl Attempt {
    fn refuse(&mut self, listener: usize, place: Place, what: String, hint: Option<String>) {
        self.errors
            .push(ListenError { listener, place, what, hint });
    }

    /// Both halves are tried even if one fails, so that all problems are told at once.
    fn add(&mut self, index: usize, spec: &ListenerSpec) {
        let certificates = match &spec.certificates {
            Some(paths) => self.certificates(index, paths).map(Some),
            None => Some(None),
        };
        let old = self
            .candidates
            .iter()
            .position(|open| open.bind == spec.bind);
        let old = old.map(|at| self.candidates.remove(at));
        let sockets = match &old {
            Some(old) => Some(Arc::clone(&old.sockets)),
            None => self.open(index, spec.bind),
        };
        let (Some(certificates), Some(sockets)) = (certificates, sockets) else { return };
        let Some(tls) = self.tls(index, old.as_deref(), certificates) else { return };
        let listener = match old {
            // One that the workers are closing comes back as a new listener on the same sockets.
            Some(old) if self.runs(&old) && unchanged(&old, spec, tls.as_ref()) => old,
            _ => Arc::new(Listener {
                bind: spec.bind,
                address: sockets.address(),
                redirect_to_https: spec.redirect_to_https,
                tls,
                sockets,
            }),
        };
        self.prepared.listeners.push(listener);
    }

    fn runs(&self, listener: &Arc<Listener>) -> bool {
        self.current
            .iter()
            .any(|current| Arc::ptr_eq(current, listener))
    }

    fn certificates(
        &mut self,
        index: usize,
        paths: &[CertificatePaths],
    ) -> Option<Arc<CertificateSet>> {
        match CertificateSet::load(paths) {
            Ok(set) => {
                for (certificate, warning) in set.warnings() {
                    let path = key_path(index, Place::Cert(certificate));
                    self.prepared.warnings.push(format!("{path}: {warning}"));
                }
                Some(Arc::new(set))
            }
            Err(errors) => {
                for CertificateError { index: certificate, part, what, hint } in errors {
                    let place = match part {
                        Part::Cert => Place::Cert(certificate),
                        Part::Key => Place::Key(certificate),
                    };
                    self.refuse(index, place, what, hint);
                }
                None
            }
        }
    }

    fn open(&mut self, index: usize, bind: SocketAddr) -> Option<Arc<Sockets>> {
        let mut ours = self.candidates.iter().chain(&self.prepared.listeners);
        let ours = ours.any(|open| overlap(open.address, bind));
        match Sockets::open(bind, self.workers, ours) {
            Ok(sockets) => Some(Arc::new(sockets)),
            Err(error) => {
                let (what, hint) = sockets::explain(bind, &error);
                self.refuse(index, Place::Bind, what, hint);
                None
            }
        }
    }

    /// The TLS side: the one that is there, with a swap noted for the commit, or a new one. The
    /// outer `None` is a refusal.
    fn tls(
        &mut self,
        index: usize,
        old: Option<&Listener>,
        certificates: Option<Arc<CertificateSet>>,
    ) -> Option<Option<Arc<Tls>>> {
        let Some(certificates) = certificates else { return Some(None) };
        if let Some(tls) = old.and_then(|old| old.tls.as_ref()) {
            self.prepared.swaps.push((Arc::clone(tls), certificates));
            return Some(Some(Arc::clone(tls)));
        }
        match Tls::new(certificates) {
            Ok(tls) => Some(Some(Arc::new(tls))),
            Err(error) => {
                self.refuse(index, Place::Tls, format!("cannot be set up: {error}"), None);
                None
            }
        }
    }
}

fn unchanged(old: &Listener, spec: &ListenerSpec, tls: Option<&Arc<Tls>>) -> bool {
    let same_tls = match (&old.tls, tls) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    same_tls && old.redirect_to_https == spec.redirect_to_https
}

/// Whether the kernel would take `bind` for a rival of `open`: the same port, and one of the two
/// means every address.
fn overlap(open: SocketAddr, bind: SocketAddr) -> bool {
    let wide = open.ip().is_unspecified() || bind.ip().is_unspecified();
    open.port() == bind.port() && (wide || open.ip() == bind.ip())
}

#[cfg(test)]
mod tests;
