"""Says in one line why an application did not start, out of what Ray Serve reports."""

import re

__all__ = ["explain_failure"]

# The last exception of a traceback stands at the start of a line, to the end of the text.
EXCEPTION = re.compile(r"^(?P<kind>[a-zA-Z_][\w.]*(?:Error|Exception)): (?P<text>.*)", re.M | re.S)

MAX_CHARS = 600


def explain_failure(message: str, section: str) -> str:
    """Return the cause in one line.

    `message` is what Serve says of the deployment, `section` the part of the settings that
    the application is configured by.
    """
    kind, text = _last_exception(message)
    if "out of memory" in text.lower() and "CUDA" in f"{kind}{text}":
        first = text.split(". ")[0].removesuffix(".")
        return (
            f"{first} while it loads: give it more of the GPU ({section}.num_gpus), a smaller "
            f"{section}.dtype (bfloat16, float16), or load fewer models"
        )
    if "ActorDiedError" in f"{kind}{message.rstrip().splitlines()[-1]}":
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
        kind, text = match["kind"], match["text"]
    return kind, " ".join(text.split())[:MAX_CHARS]
