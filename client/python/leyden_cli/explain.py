"""Errors in words for the person at the terminal."""

from leyden_client.errors import (
    GenerationCancelledError,
    GenerationNotFoundError,
    InternalError,
    LeydenError,
    MessageTooLargeError,
    OverloadedError,
    ProtocolError,
    RpcError,
    UnauthenticatedError,
    UnavailableError,
)

_OPTION_OF_FIELD = {
    "model": "--model",
    "prompt": "PROMPT",
    "negative_prompt": "--negative",
    "seed": "--seed",
    "width_px": "--width",
    "height_px": "--height",
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "solver": "--solver",
    "image_count": "--count",
    "output_format": "--format",
    "output_quality": "--quality",
    "preview.size_px": "--preview-size",
    "request_id": "--request-id",
    "linger_duration": "--linger",
    "priority": "--priority",
    "after_event_index": "--after",
}


def explain(error: LeydenError, server: str) -> str:
    """Say what went wrong with a call to `server`, why, and what to do about it."""
    if isinstance(error, ProtocolError):
        return f"error: the server at {server} broke the protocol: {error}"
    if not isinstance(error, RpcError):
        return f"error: {error}"
    if isinstance(error, UnavailableError) and not error.reason:
        # Every error of a Leyden server has a reason: this one is gRPC's own.
        if "handshake" in error.message.lower() or "certificate" in error.message.lower():
            return (
                f"error: the server at {server} is there, but TLS with it fails ({error.message})\n"
                "name whom to believe with --ca, and your certificate with --cert and --key where "
                "it asks for one; without --tls, where it speaks plaintext"
            )
        return (
            f"error: the server at {server} is not there, or went away ({error.message})\n"
            "start one with `leyden serve`, or name another with --server or LEYDEN_SERVER; "
            "one that speaks TLS needs --tls"
        )
    if isinstance(error, MessageTooLargeError):
        return (
            f"error: a message is over gRPC's size limit ({error.message})\n"
            "Leyden's messages are under 4 MiB; a limit here, in the server or between is lower"
        )
    return "\n".join([f"error: {_what(error)}", *_fields(error), *_hints(error)])


def _what(error: RpcError) -> str:
    return "the request is not valid" if error.violations else error.message


def _fields(error: RpcError) -> list[str]:
    return [f"  {_option(v.field)}: {v.description}" for v in error.violations]


def _option(field: str) -> str:
    option = _OPTION_OF_FIELD.get(field)
    return f"{option} ({field})" if option else field


def _hints(error: RpcError) -> list[str]:
    lines = [f"reason: {error.reason or error.code.name}"]
    if error.retry_after_s is not None:
        lines.append(f"try again in {error.retry_after_s:.1f} s")
    elif _may_pass(error):
        lines.append("try again later")
    if isinstance(error, GenerationNotFoundError):
        lines.append("a generation is known while it runs, and for its --linger after its end")
    if isinstance(error, UnauthenticatedError):
        lines.append("give your API key by LEYDEN_API_KEY or --api-key-file")
    if isinstance(error, InternalError) and error.error_id:
        lines.append(f"the server's log has it under {error.error_id}")
    return lines


def _may_pass(error: RpcError) -> bool:
    if isinstance(error, GenerationCancelledError):
        return error.reason != "CANCELLED_BY_REQUEST"
    if error.reason == "TOO_MANY_IN_ONE":
        return False
    return isinstance(error, OverloadedError | UnavailableError)
