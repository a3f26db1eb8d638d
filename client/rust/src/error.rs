//! What can go wrong.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tonic::Code;

/// What can go wrong, a variant for each kind.
///
/// Those that hold a [`Failure`] are calls that ended with a status other than OK. What it says is
/// at hand without a match as well: [`code`](Self::code), [`reason`](Self::reason),
/// [`violations`](Self::violations), [`retry_after`](Self::retry_after).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What this client was given cannot be; nothing was sent.
    #[error("{0}")]
    InvalidInput(String),
    /// The stream broke the API's contract: a gap, a wrong size, no summary at its end.
    #[error("the server broke the API's contract: {0}")]
    Protocol(String),
    /// A field of the request is wrong; [`violations`](Self::violations) says which.
    #[error("{0}")]
    InvalidArgument(Box<Failure>),
    /// There is no such model.
    #[error("{0}")]
    NotFound(Box<Failure>),
    /// No such generation runs, or is kept any more.
    #[error("{0}")]
    GenerationNotFound(Box<Failure>),
    /// The generation is known, but the events that were asked for are no longer kept.
    #[error("{0}")]
    EventsExpired(Box<Failure>),
    /// The model is known but not loaded.
    #[error("{0}")]
    FailedPrecondition(Box<Failure>),
    /// The model cannot be loaded: something of its files is missing or wrong, or does not fit.
    #[error("{0}")]
    ModelLoad(Box<Failure>),
    /// The server's applications stand in a Serve config, whose owner decides what is loaded.
    #[error("{0}")]
    ModelsManaged(Box<Failure>),
    /// The `request_id` belongs to another generation, which runs or is kept.
    #[error("{0}")]
    AlreadyExists(Box<Failure>),
    /// The queue is full, the deadline cannot be met, or a limit of the API key is reached;
    /// [`retry_after`](Self::retry_after) says when to come back.
    #[error("{0}")]
    Overloaded(Box<Failure>),
    /// No replica of the model's stages can be placed; the message says what is lacking.
    #[error("{0}")]
    NoResources(Box<Failure>),
    /// The server's device has not enough memory; a smaller size or fewer images are the remedy.
    #[error("{0}")]
    OutOfMemory(Box<Failure>),
    /// The server ended the stream because this client has stopped reading it.
    #[error("{0}")]
    ReaderTooSlow(Box<Failure>),
    /// A message is over a size limit of gRPC, which this client or the server has set.
    #[error("{0}")]
    MessageTooLarge(Box<Failure>),
    /// The server cannot be reached, is loading or draining, or lost a stage;
    /// [`retry_after`](Self::retry_after) may say when to come back.
    #[error("{0}")]
    Unavailable(Box<Failure>),
    /// There are no credentials, or they are wrong.
    #[error("{0}")]
    Unauthenticated(Box<Failure>),
    /// The credentials do not allow this.
    #[error("{0}")]
    PermissionDenied(Box<Failure>),
    /// The timeout passed.
    #[error("{0}")]
    DeadlineExceeded(Box<Failure>),
    /// Somebody cancelled the generation, or the server ended it.
    #[error("{0}")]
    GenerationCancelled(Box<Failure>),
    /// A defect of the server; [`error_id`](Self::error_id) is in its log.
    #[error("{0}")]
    Internal(Box<Failure>),
    /// Any other status.
    #[error("{0}")]
    Other(Box<Failure>),
}

impl Error {
    /// Returns what the server, or gRPC, said. `None`: this client found the error itself.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::InvalidInput(_) | Self::Protocol(_) => None,
            Self::InvalidArgument(failure)
            | Self::NotFound(failure)
            | Self::GenerationNotFound(failure)
            | Self::EventsExpired(failure)
            | Self::FailedPrecondition(failure)
            | Self::ModelLoad(failure)
            | Self::ModelsManaged(failure)
            | Self::AlreadyExists(failure)
            | Self::Overloaded(failure)
            | Self::NoResources(failure)
            | Self::OutOfMemory(failure)
            | Self::ReaderTooSlow(failure)
            | Self::MessageTooLarge(failure)
            | Self::Unavailable(failure)
            | Self::Unauthenticated(failure)
            | Self::PermissionDenied(failure)
            | Self::DeadlineExceeded(failure)
            | Self::GenerationCancelled(failure)
            | Self::Internal(failure)
            | Self::Other(failure) => Some(failure),
        }
    }

    /// Returns the gRPC status code. `None`: no call failed.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.failure().map(|failure| failure.code)
    }

    /// Returns why, in `UPPER_SNAKE_CASE`. Empty where no Leyden server answered.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.failure().map_or("", |failure| &failure.reason)
    }

    /// Returns the fields that are wrong; none unless the code is `INVALID_ARGUMENT`.
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        self.failure().map_or(&[], |failure| &failure.violations)
    }

    /// Returns when a later try can succeed. `None`: the server did not say.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.failure().and_then(|failure| failure.retry_after)
    }

    /// Returns the id under which the server logged a defect of its own. `None`: it gave none.
    #[must_use]
    pub fn error_id(&self) -> Option<&str> {
        self.failure()?.metadata.get("error_id").map(String::as_str)
    }
}

/// What a call says that ended with a status other than OK.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The gRPC status code.
    pub code: Code,
    /// What went wrong, in words.
    pub message: String,
    /// Why, in `UPPER_SNAKE_CASE`. Empty where no Leyden server answered.
    pub reason: String,
    /// More on the reason.
    pub metadata: HashMap<String, String>,
    /// The fields that are wrong; none unless the code is `INVALID_ARGUMENT`.
    pub violations: Vec<FieldViolation>,
    /// When a later try can succeed. `None`: the server did not say.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // A server may have put them into its message already.
        for violation in &self.violations {
            if !self.message.contains(&violation.description) {
                write!(f, "\n  {}: {}", violation.field, violation.description)?;
            }
        }
        Ok(())
    }
}

/// A field of the request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldViolation {
    /// Name of the field, as in the API.
    pub field: String,
    /// What is wrong with it, and what is allowed.
    pub description: String,
}
