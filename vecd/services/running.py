"""A service's main loop: works until it is told to stop, and ends with the one reason that ended it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any

from vecd.base import events, log, notify


async def until_told(role: str, work: Coroutine[Any, Any, None]) -> None:
    """The work was ended by SIGTERM or SIGINT; whatever ends it otherwise is raised, out of its groups."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    working = loop.create_task(work)
    stopped = loop.create_task(stop.wait())
    await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        log.event(events.STOPPING, role=role, reason="it was told to")
        notify.stopping()
        working.cancel()
    stopped.cancel()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await working
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
