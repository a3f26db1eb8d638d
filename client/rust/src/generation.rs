//! A generation that this client started.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::StreamExt;

use crate::error::Error;
use crate::events::{Event, Generated};
use crate::follow::{Events, Following, Progress};
use crate::leaving::Leaving;

/// A generation: a `Stream` of its events, the [`Summary`](Event::Summary) last.
///
/// It starts when it is first waited for. A connection that breaks in the midst of it is taken up
/// again for as long as it [lingers](crate::GenerateRequest::linger), and no event comes twice: the
/// generation goes on meanwhile, and is watched again from where its events stopped. If the server
/// does not know it any more, the same request, with the same id and seed, is sent again. After an
/// error there are no more events.
///
/// Dropping it ends the work on the server. A drop cannot wait: the server is told by a task of the
/// runtime in which the client was made, for two seconds at most. [`cancel`](Self::cancel) waits,
/// and so does [`Client::flush`](crate::Client::flush). Where the runtime ends before the server
/// was told, the generation goes on until it has lingered.
///
/// ```no_run
/// # async fn example(client: leyden_client::Client) -> Result<(), leyden_client::Error> {
/// use leyden_client::{Event, GenerateRequest, PreviewOptions};
///
/// let request = GenerateRequest::new("a lake").preview(PreviewOptions::new());
/// let mut generation = client.generate(request);
/// while let Some(event) = generation.next().await {
///     match event? {
///         Event::Queued(queued) => println!("{} are before", queued.position),
///         Event::DenoiseProgress(at) => println!("step {} of {}", at.step, at.total_steps),
///         Event::Image(image) => println!("{} bytes", image.data.len()),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
#[must_use = "a generation starts when it is waited for, and a drop ends it"]
pub struct Generation {
    events: Events,
    progress: Arc<Progress>,
    leaving: Leaving,
}

impl Generation {
    pub(crate) fn new(following: Following, leaving: Leaving) -> Self {
        Self {
            progress: following.progress(),
            events: following.into_events(),
            leaving,
        }
    }

    /// Returns its name: the one that was given, or that this client drew.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.progress.request_id
    }

    /// Returns the next event. `None`: there is none any more.
    ///
    /// A future that is dropped loses no event, so it may stand in a `select!`.
    ///
    /// # Errors
    ///
    /// What ended the generation; see [`Error`].
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.events.next().await
    }

    /// Waits for the end and returns the images with their summary. An image whose event was taken
    /// before is not among them. Dropping the future ends the generation.
    ///
    /// # Errors
    ///
    /// What ended the generation; see [`Error`].
    pub async fn finish(mut self) -> Result<Generated, Error> {
        collect(self.progress.request_id.clone(), &mut self.events).await
    }

    /// Leaves it to itself and returns its name: it goes on for as long as it lingers, and
    /// [`Client::watch`](crate::Client::watch) shows it. The server knows it once an event has
    /// come; [`Client::start`](crate::Client::start) waits for that.
    pub fn detach(self) -> String {
        self.progress.set_over();
        self.progress.request_id.clone()
    }

    /// Ends it, and returns once the server has marked it as ended; at once where it was never
    /// waited for, or is over. The accelerator is free at the next denoise step.
    ///
    /// # Errors
    ///
    /// What kept the server from being told; see [`Error`].
    pub async fn cancel(self) -> Result<(), Error> {
        if self.progress.may_be_ended() {
            match self.leaving.cancel(&self.progress.request_id).await {
                Ok(()) | Err(Error::GenerationNotFound(_)) => self.progress.set_over(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Stream for Generation {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(context)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // Where it does not linger, the end of its call is its end.
        if self.progress.lingers && self.progress.may_be_ended() {
            self.leaving.cancel_soon(self.progress.request_id.clone());
        }
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("request_id", &self.progress.request_id)
            .finish_non_exhaustive()
    }
}

/// Gathers the events of one stream into the whole.
pub(crate) async fn collect(request_id: String, events: &mut Events) -> Result<Generated, Error> {
    let mut images = Vec::new();
    let mut summary = None;
    while let Some(event) = events.next().await {
        match event? {
            Event::Image(image) => images.push(image),
            Event::Summary(last) => summary = Some(last),
            _ => {}
        }
    }
    let summary =
        summary.ok_or_else(|| Error::Protocol("its events have been taken before".into()))?;
    Ok(Generated::new(request_id, images, summary))
}
