"""Says in one line why an application did not start, out of what Ray Serve reports."""

import re

__all__ = ["explain_failure"]

# The last exception of a traceback stands at the start of a line, to the end of the text.
EXCEPTION = re.compile(
    r"^(?P<kind>[a-zA-Z_][\w.]*(?:Error|Exception))(?:: (?P<text>.*)|\s*\Z)", re.M | re.S
)
NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)

MAX_CHARS = 600


def explain_failure(message: str, section: str) -> str:
    """Return the cause in one line.

    `message` is what Serve says of the deployment, `section` the part of the settings that
    the application is configured by.
    """
    kind, text = _last_exception(message)
    if kind.endswith("MemoryError") or NO_MEMORY.search(text):
        sentences = (sentence.removesuffix(".") for sentence in text.split(". "))
        first = next((s for s in sentences if NO_MEMORY.search(s)), "out of memory")
        gpu = f"give it more of the GPU ({section}.num_gpus), " if "CUDA" in kind + text else ""
        return (
            f"{first} while it loads: {gpu}set a smaller {section}.dtype (bfloat16, float16), or "
            "load fewer models"
        )
    if message.rstrip().endswith("ActorDiedError()"):
        return (
            "its process ended while it loaded, as where the machine has not enough memory: "
            f"load fewer models, or set a smaller {section}.dtype"
        )
    if kind.startswith("leyden_server.errors."):
        return text  # ours say what and where
    return f"{kind}: {text}" if kind else text


def _last_exception(message: str) -> tuple[str, str]:
    """Return the kind and the text, in one line, of the innermost traceback's exception."""
    kind, text = "", message
    while (match := EXCEPTION.search(text)) is not None:
        kind, text = match["kind"], match["text"] or ""
    return kind, " ".join(text.split())[:MAX_CHARS]
