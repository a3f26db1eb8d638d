//! From the status of a call to the error that it is.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::{Error, Failure, FieldViolation};

/// Returns the error of a call that ended with a status other than OK.
pub(crate) fn error_of(status: &Status) -> Error {
    // Details that cannot be read leave what the code and message say.
    let details = status.get_error_details();
    let info = details.error_info();
    let violations = details
        .bad_request()
        .map_or(&[][..], |bad| &bad.field_violations);
    let failure = Failure {
        code: code_of(status),
        message: message_of(status),
        reason: info.map_or_else(String::new, |info| info.reason.clone()),
        metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
        violations: violations
            .iter()
            .map(|violation| FieldViolation {
                field: violation.field.clone(),
                description: violation.description.clone(),
            })
            .collect(),
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
    };
    kind_of(failure)
}

/// Returns the error of a deadline that this client set, and that passed.
pub(crate) fn timed_out(timeout: Duration) -> Error {
    Error::DeadlineExceeded(Box::new(Failure {
        code: Code::DeadlineExceeded,
        message: format!("the timeout of {} s passed", timeout.as_secs_f64()),
        reason: String::new(),
        metadata: std::collections::HashMap::new(),
        violations: Vec::new(),
        retry_after: None,
    }))
}

/// Whether this is what a connection, or a proxy, looks like that breaks in the midst of a call;
/// every status that a Leyden server gives has a reason.
pub(crate) fn is_broken_connection(error: &Error) -> bool {
    error.reason().is_empty()
        && matches!(
            error.code(),
            Some(Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
        )
}

fn kind_of(failure: Failure) -> Error {
    let kind = match (failure.reason.as_str(), failure.code) {
        // Where one code has several meanings, the reason tells them apart.
        ("GENERATION_NOT_FOUND", _) => Error::GenerationNotFound,
        ("MANAGED_BY_SERVE_CONFIG", _) => Error::ModelsManaged,
        ("MODEL_LOAD_FAILED", _) => Error::ModelLoad,
        ("NO_RESOURCES", _) => Error::NoResources,
        ("OUT_OF_MEMORY", _) => Error::OutOfMemory,
        ("READER_TOO_SLOW", _) => Error::ReaderTooSlow,
        ("", Code::ResourceExhausted | Code::OutOfRange) if is_over_a_limit(&failure.message) => {
            Error::MessageTooLarge
        }
        (_, Code::InvalidArgument) => Error::InvalidArgument,
        (_, Code::NotFound) => Error::NotFound,
        (_, Code::OutOfRange) => Error::EventsExpired,
        (_, Code::FailedPrecondition) => Error::FailedPrecondition,
        (_, Code::AlreadyExists) => Error::AlreadyExists,
        (_, Code::ResourceExhausted) => Error::Overloaded,
        (_, Code::Unavailable) => Error::Unavailable,
        (_, Code::Unauthenticated) => Error::Unauthenticated,
        (_, Code::PermissionDenied) => Error::PermissionDenied,
        (_, Code::DeadlineExceeded) => Error::DeadlineExceeded,
        (_, Code::Cancelled) => Error::GenerationCancelled,
        (_, Code::Internal) => Error::Internal,
        _ => Error::Other,
    };
    kind(Box::new(failure))
}

/// Whether gRPC says so of a message over its limit, in C, Python, Go, Java or here; the code alone
/// is a proxy's overload, or events that are no longer kept.
fn is_over_a_limit(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "larger than max",
        "exceeds maximum size",
        "length too large",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Returns the code; a connection that broke, which tonic calls UNKNOWN or CANCELLED, is
/// UNAVAILABLE, as gRPC has it elsewhere.
fn code_of(status: &Status) -> Code {
    // What a server said has no source.
    match status.code() {
        Code::Unknown | Code::Cancelled if status.source().is_some() => Code::Unavailable,
        code => code,
    }
}

/// Returns the message, and where it is tonic's own what lies behind it.
fn message_of(status: &Status) -> String {
    let mut message = status.message().to_owned();
    if message.is_empty() {
        status.code().description().clone_into(&mut message);
    }
    let mut cause = status.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if text != "transport error" && !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn the_details_are_read() {
        let mut details = ErrorDetails::with_error_info("INVALID_FIELD", "leyden", []);
        details.add_bad_request_violation("width_px", "65 is no multiple of 8");
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::InvalidArgument, "a field is wrong", details);
        let error = error_of(&status);
        assert!(matches!(error, Error::InvalidArgument(_)));
        assert_eq!(error.reason(), "INVALID_FIELD");
        assert_eq!(error.violations()[0].field, "width_px");
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
        assert_eq!(
            error.to_string(),
            "a field is wrong\n  width_px: 65 is no multiple of 8"
        );
    }

    #[test]
    fn details_that_cannot_be_read_leave_code_and_message() {
        let status = Status::with_details(Code::Internal, "it failed", vec![0xff; 3].into());
        let error = error_of(&status);
        assert!(matches!(error, Error::Internal(_)));
        assert_eq!(
            (error.reason(), error.to_string().as_str()),
            ("", "it failed")
        );
    }

    #[test]
    fn a_connection_that_broke_is_unavailable() {
        let broke = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let error = error_of(&Status::from_error(broke.into()));
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        assert!(matches!(
            error_of(&Status::unknown("what?")),
            Error::Other(_)
        ));
    }

    #[test]
    fn a_reason_tells_kinds_of_one_code_apart() {
        let of = |code, reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "leyden", []);
            error_of(&Status::with_error_details(code, "it failed", details))
        };
        assert!(matches!(
            of(Code::NotFound, "MODEL_NOT_FOUND"),
            Error::NotFound(_)
        ));
        assert!(matches!(
            of(Code::NotFound, "GENERATION_NOT_FOUND"),
            Error::GenerationNotFound(_)
        ));
        assert!(matches!(
            of(Code::OutOfRange, "EVENTS_EXPIRED"),
            Error::EventsExpired(_)
        ));
    }
}
