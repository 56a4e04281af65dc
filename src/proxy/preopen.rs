//! Connections to a colour that is about to be live, opened before the switch: its first requests
//! find them.

use std::rc::Rc;

use tokio::time::Instant;

use crate::proxy::forward;
use crate::proxy::idle::TargetConnection;
use crate::proxy::view::Seen;
use crate::proxy::view::WorkerPool;
use crate::proxy::worker::Worker;

/// Opens them, once for each time that a pool is awaited; on each tick of the worker.
pub(crate) fn look(worker: &Rc<Worker>, seen: &Seen) {
    for pool in seen.pools().filter(|pool| pool.is_special.get()) {
        let special = pool.special();
        let Some(warmup) = special.as_ref().and_then(|special| special.warmup.as_ref()) else {
            continue;
        };
        let call = warmup.call_for(pool.id);
        if call.is_some() && pool.opened_for.replace(call) != call {
            let (worker, pool) = (Rc::clone(worker), Rc::clone(pool));
            let connections = warmup.settings.connections;
            tokio::task::spawn_local(async move { open(&worker, &pool, connections).await });
        }
    }
}

/// So many to each target, one after the other: nobody waits for them, and a target that has just
/// started is not to be flooded.
async fn open(worker: &Worker, pool: &WorkerPool, connections: usize) {
    let patience = worker.view.load().snapshot.settings.timeouts.connect;
    for target in pool.targets.iter().filter(|target| !target.is_draining()) {
        for _ in 0..connections {
            let filed_under = target.filed_under();
            // The gate says whether it can be connected to.
            let Ok(stream) = forward::connect(target, patience).await else { break };
            let connection = TargetConnection { stream, used: false, filed_under };
            worker.idle.put(connection, Instant::now());
        }
    }
}
