//! The runtime of upstream work.
//!
//! An actix worker is a single-threaded runtime: parsing a page of a thousand images there would stall every
//! other request of that worker, and a pooled connection would end with the worker that opened it. So
//! fetching, parsing and rendering run on a multi-thread runtime, and a worker only awaits the result.

use std::future::Future;
use std::io;
use thiserror::Error;
use tokio::runtime::{Builder, Handle, Runtime};

/// A task ended without a result: it panicked, or the process is stopping.
#[derive(Debug, Clone, Copy, Error)]
#[error("the task ended without a result")]
pub struct TaskAborted;

/// A handle to the upstream runtime; clones are cheap.
#[derive(Debug, Clone)]
pub struct Spawner(Handle);

impl Spawner {
    /// A handle to the current runtime.
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

    /// Runs `work` in a task of its own, which goes on when the caller is canceled.
    pub async fn run<T, F>(&self, work: F) -> Result<T, TaskAborted>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn(work).await.map_err(|_| TaskAborted)
    }
}

/// Owns the runtime. Its drop ends all tasks without waiting; a bare `Runtime` panics when a failed start
/// drops it inside another runtime.
#[derive(Debug)]
pub struct RuntimeGuard(Option<Runtime>);

impl Drop for RuntimeGuard {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts the runtime, which ends when the guard is dropped.
pub fn start(threads: usize) -> io::Result<(RuntimeGuard, Spawner)> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name("upstream")
        .enable_all()
        .build()?;
    let spawner = Spawner(runtime.handle().clone());
    Ok((RuntimeGuard(Some(runtime)), spawner))
}
