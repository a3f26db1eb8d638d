//! How the server hears that a generation is left.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::auth::Images;
use crate::error::Error;
use crate::pb;
use crate::status::error_of;

/// For how long the server is told of a generation that is left.
const LONGEST_CANCEL: Duration = Duration::from_secs(2);

/// Ends generations, by tasks of its own where nobody can wait.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    images: Images,
    runtime: Handle,
    tasks: TaskTracker,
}

impl Leaving {
    pub(crate) fn new(images: Images, runtime: Handle) -> Self {
        let tasks = TaskTracker::new();
        // One that is closed can be waited for, and takes tasks as before.
        tasks.close();
        Self {
            images,
            runtime,
            tasks,
        }
    }

    /// Returns the same for other stubs; both are waited for together.
    pub(crate) fn by(&self, images: Images) -> Self {
        Self {
            images,
            ..self.clone()
        }
    }

    /// Ends a generation and waits for the server's answer.
    pub(crate) async fn cancel(&self, request_id: &str) -> Result<(), Error> {
        let request = pb::CancelGenerationRequest {
            request_id: request_id.to_owned(),
        };
        let answer = self.images.clone().cancel_generation(request).await;
        answer.map(drop).map_err(|status| error_of(&status))
    }

    /// Ends a generation that its reader left; what goes wrong changes nothing more.
    pub(crate) async fn cancel_left(&self, request_id: &str) {
        let _ = tokio::time::timeout(LONGEST_CANCEL, self.cancel(request_id)).await;
    }

    /// The same by a task of its own.
    pub(crate) fn cancel_soon(&self, request_id: String) {
        let leaving = self.clone();
        // Not `tokio::spawn`: a drop may happen on a thread that is not the runtime's.
        self.tasks.spawn_on(
            async move { leaving.cancel_left(&request_id).await },
            &self.runtime,
        );
    }

    /// Waits until the tasks of now have ended.
    pub(crate) async fn flush(&self) {
        self.tasks.wait().await;
    }
}
