//! The control socket: HTTP/1.1 with JSON over a Unix socket. Who may open it may promote; who did
//! is logged with every change.

mod bind;
mod query;
mod recorded;
mod routes;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::task::JoinSet;

use crate::control::serve;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::Handle;
use crate::model::settings::ControlSettings;
use crate::sync::shutdown::Stage;
use crate::sync::shutdown::Stopping;

pub use crate::control::socket::bind::SocketError;

use crate::control::socket::bind::SocketFile;

/// Connections at once: far more than people and scripts need, far fewer than descriptors.
const CONNECTIONS_MAX: usize = 256;

/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket, bound and private to those who may open it. Removed from the disk when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

impl ControlSocket {
    /// Binds the socket: its folder is made (0750) if missing, a stale one is replaced. Must run
    /// inside a runtime.
    ///
    /// # Errors
    ///
    /// Another daemon answers on it, or the path cannot be had.
    pub fn bind(settings: &ControlSettings) -> Result<Self, SocketError> {
        let (listener, file) = bind::bind(&settings.socket, settings.mode)?;
        Ok(Self { listener, file })
    }

    /// Answers until the stop; then takes no more connections, and what is under way may end.
    pub async fn serve(self, handle: Handle, stopping: Stopping) {
        let Self { listener, file } = self;
        let (mut graceful, mut now) = (stopping.clone(), stopping.clone());
        let mut connections = JoinSet::new();
        let mut guests = Vec::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = graceful.reached(Stage::Graceful) => break,
                Some(_ended) = connections.join_next(), if !connections.is_empty() => {
                    forget_ended(&mut guests);
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(_) if connections.len() >= CONNECTIONS_MAX && !make_room(&mut guests) => {
                    tracing::warn!(CONNECTIONS_MAX, "control socket: too many connections");
                }
                Ok((stream, _)) => {
                    let here = Arc::new(());
                    let asking = Arc::downgrade(&here);
                    let task = connection(stream, handle.clone(), stopping.clone(), here);
                    guests.push(Guest { asking, task: connections.spawn(task) });
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket: accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        drop(file);
        tokio::select! {
            () = now.reached(Stage::Now) => {}
            () = async { while connections.join_next().await.is_some() {} } => {}
        }
    }
}

/// A connection, as the door sees it.
struct Guest {
    /// Held once by the connection, and once more by each request until its answer is sent.
    asking: Weak<()>,
    task: AbortHandle,
}

/// A handle keeps its task's memory even when that has ended.
fn forget_ended(guests: &mut Vec<Guest>) {
    guests.retain(|guest| !guest.task.is_finished());
}

/// Ends the oldest connection that asks nothing, if there is one: whoever only sits here must not
/// keep an operator out.
fn make_room(guests: &mut Vec<Guest>) -> bool {
    forget_ended(guests);
    let idle = guests
        .iter()
        .position(|guest| guest.asking.strong_count() <= 1);
    let Some(idle) = idle else { return false };
    guests.remove(idle).task.abort();
    true
}

async fn connection(stream: UnixStream, handle: Handle, stopping: Stopping, here: Arc<()>) {
    let caller = match caller(&stream) {
        Ok(caller) => caller,
        // A change that nobody can be named for is not made.
        Err(error) => return tracing::warn!(%error, "control socket: no peer credentials"),
    };
    let shared = Arc::new((handle, stopping.clone()));
    let respond = |request| {
        let (shared, asking) = (Arc::clone(&shared), Arc::clone(&here));
        async move {
            let answer = routes::respond(request, &shared.0, caller, shared.1.clone()).await;
            // The closure is dropped with the body: once the answer is sent, or nobody wants it.
            let until_sent = move |never: Infallible| {
                let _asking = &asking;
                never
            };
            answer.map(|body| body.map_err(until_sent).boxed_unsync())
        }
    };
    serve::connection(stream, stopping, Stage::Graceful, respond).await;
}

fn caller(stream: &UnixStream) -> io::Result<Caller> {
    let credentials = stream.peer_cred()?;
    Ok(Caller { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
}

#[cfg(test)]
mod tests;
