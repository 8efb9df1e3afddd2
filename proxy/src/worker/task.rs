//! Tasks of a worker: counted, and a panic in one ends that one only.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures::FutureExt as _;

use super::Worker;

impl Worker {
    /// Runs a task on this worker's thread. A panic is caught, counted and logged.
    pub fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let counted = Counted::new(self);
        tokio::task::spawn_local(async move {
            let worker = &counted.0;
            // State behind the panic is this task's own or is guarded by Drop.
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                worker.panics.set(worker.panics.get() + 1);
                worker.panic_counter.inc();
                tracing::error!(worker = worker.index, "a connection's task panicked");
            }
        });
    }
}

struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.tasks.set(worker.tasks.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.tasks.set(self.0.tasks.get() - 1);
    }
}
