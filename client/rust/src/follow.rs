//! A generation followed to its end, over as many calls as broken connections make of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};

use crate::assemble::{Assembler, Broken};
use crate::auth::Images;
use crate::error::Error;
use crate::events::Event;
use crate::leaving::Leaving;
use crate::pb;
use crate::request::{LINGER, Repeatable, WatchRequest};
use crate::status::{error_of, is_broken_connection, timed_out};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Events, none twice, the summary last; after an error there is nothing more.
pub(crate) type Events = Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>;

/// How far a generation is, for whoever may have to end it.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) request_id: String,
    /// Whether it outlives its call.
    pub(crate) lingers: bool,
    /// Whether its id was drawn, so that nobody else has it.
    id_is_ours: bool,
    sent: AtomicBool,
    begun: AtomicBool,
    over: AtomicBool,
}

impl Progress {
    /// Whether the server may work on it, and its id can only mean this generation: one that the
    /// caller chose may belong to another, until an event says otherwise.
    pub(crate) fn may_be_ended(&self) -> bool {
        self.sent.load(Relaxed)
            && !self.over.load(Relaxed)
            && (self.id_is_ours || self.begun.load(Relaxed))
    }

    /// Says that there is nothing more to end.
    pub(crate) fn set_over(&self) {
        self.over.store(true, Relaxed);
    }
}

/// Follows one generation: starts it if it has a request, else watches it.
///
/// A connection that breaks after the first event is taken up again: by watching, and where the
/// server does not know the generation any more, by the same request once more. What the server
/// says is never tried again.
pub(crate) struct Following {
    images: Images,
    leaving: Leaving,
    progress: Arc<Progress>,
    /// What to generate. `None`: watched alone.
    request: Option<pb::GenerateImageRequest>,
    after_event_index: Option<i64>,
    /// For how long after its last event a broken connection is taken up again.
    reattach: Duration,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    assembler: Assembler,
    call: Option<Streaming<pb::GenerateImageResponse>>,
    watches: bool,
    broken_since: Option<Instant>,
    pause: Duration,
    ended: bool,
}

/// Why a call gave no response.
enum Interrupted {
    Status(Status),
    TimedOut(Duration),
}

impl Following {
    /// Prepares to generate; the first `next` starts.
    pub(crate) fn generating(images: Images, leaving: Leaving, sent: Repeatable) -> Self {
        let Repeatable {
            message,
            id_is_ours,
            reattach,
            timeout,
        } = sent;
        let image_count = match message.image_count {
            0 => 1,
            count => count,
        };
        let lingers = message.linger_duration.is_some();
        let id = message.request_id.clone();
        let mut following = Self::new(images, leaving, id, id_is_ours, lingers);
        following.assembler = Assembler::new(message.request_id.clone(), Some(image_count), None);
        following.request = Some(message);
        following.reattach = reattach;
        following.timeout = timeout;
        following
    }

    /// Prepares to watch; the first `next` starts.
    pub(crate) fn watching(images: Images, leaving: Leaving, watch: WatchRequest) -> Self {
        let WatchRequest {
            request_id,
            after_event_index,
            timeout,
        } = watch;
        let mut following = Self::new(images, leaving, request_id.clone(), false, false);
        following.assembler = Assembler::new(request_id, None, after_event_index);
        following.after_event_index = after_event_index;
        following.timeout = timeout;
        following.watches = true;
        following
    }

    fn new(
        images: Images,
        leaving: Leaving,
        request_id: String,
        id_is_ours: bool,
        lingers: bool,
    ) -> Self {
        Self {
            images,
            leaving,
            assembler: Assembler::new(request_id.clone(), None, None),
            progress: Arc::new(Progress {
                request_id,
                lingers,
                id_is_ours,
                sent: AtomicBool::new(false),
                begun: AtomicBool::new(false),
                over: AtomicBool::new(false),
            }),
            request: None,
            after_event_index: None,
            reattach: LINGER,
            timeout: None,
            deadline: None,
            call: None,
            watches: false,
            broken_since: None,
            pause: FIRST_PAUSE,
            ended: false,
        }
    }

    /// Returns how far it is.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Returns its events as a stream, which holds its place where a poll is given up.
    pub(crate) fn into_events(self) -> Events {
        Box::pin(futures_util::stream::unfold(self, |mut following| async {
            let event = following.next().await?;
            Some((event, following))
        }))
    }

    async fn next(&mut self) -> Option<Result<Event, Error>> {
        if self.ended {
            return None;
        }
        let next = self.advance().await;
        match &next {
            Ok(Some(Event::Summary(_))) => self.progress.set_over(),
            Ok(Some(_)) => {}
            Ok(None) => self.ended = true,
            Err(error) => {
                self.ended = true;
                self.call = None;
                if may_go_on(error) && self.progress.lingers && self.progress.may_be_ended() {
                    self.leaving.cancel_left(&self.progress.request_id).await;
                }
                self.progress.set_over();
            }
        }
        next.transpose()
    }

    async fn advance(&mut self) -> Result<Option<Event>, Error> {
        if self.deadline.is_none() {
            self.deadline = self
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout));
        }
        loop {
            match self.receive().await {
                Ok(Some(response)) => {
                    self.connected();
                    match self.assembler.add(response) {
                        Ok(None) => {}
                        Ok(event) => return Ok(event),
                        Err(Broken::Contract(words)) => return Err(Error::Protocol(words)),
                        Err(Broken::HeaderMissing) => {
                            // All of it, of which only what is new is shown.
                            self.assembler.start_over();
                            self.after_event_index = None;
                            self.call = None;
                            self.watches = true;
                        }
                    }
                }
                Ok(None) => {
                    return match self.assembler.finish() {
                        Err(Broken::Contract(words)) => Err(Error::Protocol(words)),
                        _ => Ok(None),
                    };
                }
                // A connection that broke after all had come.
                Err(_) if self.assembler.is_done() => return Ok(None),
                Err(Interrupted::TimedOut(timeout)) => return Err(timed_out(timeout)),
                Err(Interrupted::Status(status)) => self.recover(&status).await?,
            }
        }
    }

    /// Returns the next response of the call, which is made where there is none.
    async fn receive(&mut self) -> Result<Option<pb::GenerateImageResponse>, Interrupted> {
        let (deadline, timeout) = (self.deadline, self.timeout);
        let receiving = async {
            if self.call.is_none() {
                let call = self.open().await?;
                self.call = Some(call);
            }
            match &mut self.call {
                Some(call) => call.message().await,
                None => Ok(None),
            }
        };
        let received = match (deadline, timeout) {
            (Some(deadline), Some(timeout)) => tokio::time::timeout_at(deadline, receiving)
                .await
                .map_err(|_| Interrupted::TimedOut(timeout))?,
            _ => receiving.await,
        };
        received.map_err(|status| {
            self.call = None;
            Interrupted::Status(status)
        })
    }

    async fn open(&mut self) -> Result<Streaming<pb::GenerateImageResponse>, Status> {
        let answer = match &self.request {
            Some(request) if !self.watches => {
                let request = self.with_deadline(request.clone());
                self.progress.sent.store(true, Relaxed);
                self.images.generate_image(request).await?
            }
            _ => {
                let last_index = self.assembler.last_index().or(self.after_event_index);
                let request = self.with_deadline(pb::WatchGenerationRequest {
                    request_id: self.progress.request_id.clone(),
                    after_event_index: last_index,
                });
                self.images.watch_generation(request).await?
            }
        };
        Ok(answer.into_inner())
    }

    fn with_deadline<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(remaining) = self.remaining() {
            request.set_timeout(remaining);
        }
        request
    }

    fn connected(&mut self) {
        self.progress.begun.store(true, Relaxed);
        self.broken_since = None;
        self.pause = FIRST_PAUSE;
    }

    /// Waits until the next call may be made, or returns what `status` means.
    async fn recover(&mut self, status: &Status) -> Result<(), Error> {
        let error = error_of(status);
        if self.request.is_some() && self.watches && is_lost(&error) {
            self.assembler.start_over();
            self.watches = false;
            return Ok(());
        }
        if let Some(timeout) = self.timeout {
            // gRPC's own, whose words say little.
            let its_own = matches!(error, Error::DeadlineExceeded(_)) && error.reason().is_empty();
            let passed = is_broken_connection(&error) && self.remaining() == Some(Duration::ZERO);
            if its_own || passed {
                return Err(timed_out(timeout));
            }
        }
        if !is_broken_connection(&error) || !self.progress.begun.load(Relaxed) {
            return Err(error);
        }
        let now = Instant::now();
        let broken_since = *self.broken_since.get_or_insert(now);
        if now.duration_since(broken_since) + self.pause >= self.reattach {
            return Err(error);
        }
        if let (Some(timeout), Some(remaining)) = (self.timeout, self.remaining())
            && self.pause >= remaining
        {
            return Err(timed_out(timeout));
        }
        tokio::time::sleep(self.pause).await;
        self.pause = LONGEST_PAUSE.min(2 * self.pause);
        self.watches = true;
        Ok(())
    }

    fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// Whether the server may go on with the generation after `error` ended its following.
fn may_go_on(error: &Error) -> bool {
    // Every other status is the generation's own, or there is no server to ask.
    matches!(
        error,
        Error::Protocol(_) | Error::DeadlineExceeded(_) | Error::ReaderTooSlow(_)
    )
}

/// Whether the server knows the generation no more, or ended it since nobody watched it.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::GenerationNotFound(_) => true,
        Error::GenerationCancelled(failure) => {
            !failure.reason.is_empty() && failure.reason != "CANCELLED_BY_REQUEST"
        }
        _ => false,
    }
}
