"""What of a stage's failures its callers are told: never the exception object itself.

An exception of torch, pickled, would make whoever reads it import torch; its traceback holds
the tensors of the run that failed.
"""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from leyden_server.errors import OutOfMemoryError, RequestError, StageFailedError
from leyden_server.private_text import first_line_of, traceback_of

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
        logger.warning("the %s ran out of memory: %s", stage, first_line_of(error))
        told = OutOfMemoryError(stage)
    except Exception as error:  # noqa: BLE001 - whatever it is, its callers are told
        error_id = uuid.uuid4().hex
        # Not by logger.exception: its traceback may quote the prompt.
        logger.error("the %s failed; error_id %s\n%s", stage, error_id, traceback_of(error))  # noqa: TRY400
        told = StageFailedError(stage, f"{type(error).__name__}: {first_line_of(error)}", error_id)
    else:
        return
    try:
        raise told
    finally:
        # Python sets it to the failure, whose traceback would hold the run's tensors for as
        # long as anybody keeps what he was told.
        told.__context__ = None
