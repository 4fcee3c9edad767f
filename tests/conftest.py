"""What every test gets: a time limit, a reproducible hypothesis, and a skip that states its condition.

The limit is 120 s unless the test says `@pytest.mark.limit(seconds)`: nothing in this project waits for ever, so
a test that does is a failure and not a hang.
"""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from types import FrameType

import hypothesis
import pytest

LIMIT_S = 120

# What a marker needs of the machine, and whether this one has it. The text is the skip's.
CONDITIONS = {
    "root": ("runs as root", lambda: os.geteuid() == 0),
    "tpm": ("swtpm is installed", lambda: shutil.which("swtpm") is not None),
    "vsock": ("AF_VSOCK can be opened", lambda: _opens(getattr(socket, "AF_VSOCK", None))),
}

# Reproducible in CI; no deadline, because the machine may be busy.
hypothesis.settings.register_profile("here", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


def _opens(family: int | None) -> bool:
    if family is None:
        return False
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get("VECD_PROVE") and "prove" not in (config.option.markexpr or ""):
        for item in items:
            if item.get_closest_marker("prove"):
                item.add_marker(pytest.mark.skip(reason="condition not met: this is make prove"))
    for marker, (condition, holds) in CONDITIONS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and not holds():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"condition not met: {condition}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    marker = item.get_closest_marker("limit")
    seconds = marker.args[0] if marker else LIMIT_S

    def too_long(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"{item.nodeid} is not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
