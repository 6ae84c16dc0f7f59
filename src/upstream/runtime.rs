//! The runtime that upstream work runs on.
//!
//! An actix worker is a single-threaded runtime: a page of a thousand images parsed there would
//! stall every other request of that worker, and a pooled connection would live and die with the
//! worker that opened it. So fetching, parsing and rendering happen here, on a multi-thread
//! runtime of their own, and a worker only awaits the outcome.

use std::future::Future;
use std::io;
use thiserror::Error;
use tokio::runtime::{Builder, Handle, Runtime};

/// The task that was to produce an answer is gone: it panicked, or the process is stopping.
#[derive(Debug, Clone, Copy, Error)]
#[error("the task that was to answer ended early")]
pub struct TaskAborted;

/// A handle to the upstream runtime; clones are cheap.
#[derive(Debug, Clone)]
pub struct Spawner(Handle);

impl Spawner {
    /// A handle to the runtime this is called on.
    #[cfg(test)]
    #[must_use]
    pub fn current() -> Self {
        Self(Handle::current())
    }

    /// Starts `work` in a task of its own.
    pub fn spawn<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.spawn(work);
    }

    /// Runs `work` in a task of its own, which goes on when the caller stops waiting.
    pub async fn run<T, F>(&self, work: F) -> Result<T, TaskAborted>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn(work).await.map_err(|_| TaskAborted)
    }
}

/// The running runtime. Dropped, it ends its tasks and waits for none; a bare one would panic when a
/// failed start drops it in the middle of another runtime.
#[derive(Debug)]
pub struct RuntimeGuard(Option<Runtime>);

impl Drop for RuntimeGuard {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts the runtime. It must be kept for as long as requests are served.
pub fn start(threads: usize) -> io::Result<(RuntimeGuard, Spawner)> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name("upstream")
        .enable_all()
        .build()?;
    let spawner = Spawner(runtime.handle().clone());
    Ok((RuntimeGuard(Some(runtime)), spawner))
}
