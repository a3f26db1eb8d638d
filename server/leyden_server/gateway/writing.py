"""Writing to a client that may be slow, or gone."""

import asyncio
from typing import Any

import grpc

__all__ = ["DepartedError", "write"]


class DepartedError(Exception):
    """The client has gone."""


async def write(
    context: "grpc.aio.ServicerContext[Any, Any]", message: bytes, timeout_s: float
) -> None:
    """Write one message.

    Raises:
        TimeoutError: the client has read nothing for `timeout_s` seconds.
        DepartedError: the client has gone.

    """
    try:
        async with asyncio.timeout(timeout_s):
            await context.write(message)
    except TimeoutError:
        raise
    except Exception as error:
        raise DepartedError from error
