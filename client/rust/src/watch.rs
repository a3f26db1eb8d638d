//! A generation that is looked at.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::StreamExt;

use crate::error::Error;
use crate::events::{Event, Generated};
use crate::follow::{Events, Following};
use crate::generation::collect;

/// A generation that is looked at: a `Stream` of its events, the [`Summary`](Event::Summary) last.
///
/// Events of the past come without their previews. A connection that breaks is taken up again for
/// 15 seconds. Dropping it leaves the generation as it is.
#[must_use = "nothing is watched until it is waited for"]
pub struct Watch {
    events: Events,
    request_id: String,
}

impl Watch {
    pub(crate) fn new(following: Following) -> Self {
        Self {
            request_id: following.progress().request_id.clone(),
            events: following.into_events(),
        }
    }

    /// Returns the generation's name.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Returns the next event. `None`: there is none any more.
    ///
    /// A future that is dropped loses no event, so it may stand in a `select!`.
    ///
    /// # Errors
    ///
    /// [`Error::GenerationNotFound`], [`Error::EventsExpired`], what ended the generation itself,
    /// and the other kinds of [`Error`].
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.events.next().await
    }

    /// Waits for the end and returns the images of the events that were watched, with the summary.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn finish(mut self) -> Result<Generated, Error> {
        collect(self.request_id, &mut self.events).await
    }
}

impl Stream for Watch {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
