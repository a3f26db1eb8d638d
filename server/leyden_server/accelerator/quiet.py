"""Libraries that print bars and advice where a server's own lines belong."""

import diffusers
import transformers

__all__ = ["quiet_libraries"]


def quiet_libraries() -> None:
    """Keep diffusers and transformers from printing anything but errors."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
