"""What of a stage's failures its callers are told: never the exception object itself.

An exception of torch, pickled, would make whoever reads it import torch; its traceback holds
the tensors of the run that failed.
"""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from leyden_server.errors import OutOfMemoryError, RequestError, StageFailedError

__all__ = ["telling_failures"]

logger = logging.getLogger(__name__)


@contextmanager
def telling_failures(stage: str) -> Iterator[None]:
    """Turn what `stage` raises into a RequestError; cancellation and RequestErrors pass.

    Raises:
        OutOfMemoryError: a MemoryError was raised.
        StageFailedError: anything else was raised; the log has its traceback by the error's id.

    """
    told: RequestError
    try:
        yield
    except RequestError:
        raise
    except MemoryError as error:
        logger.warning("the %s ran out of memory: %s", stage, _first_line(error))
        told = OutOfMemoryError(stage)
    except Exception as error:
        error_id = uuid.uuid4().hex
        logger.exception("the %s failed; error_id %s", stage, error_id)
        told = StageFailedError(stage, f"{type(error).__name__}: {_first_line(error)}", error_id)
    else:
        return
    try:
        raise told
    finally:
        # Python sets it to the failure, whose traceback would hold the run's tensors for as
        # long as anybody keeps what he was told.
        told.__context__ = None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
