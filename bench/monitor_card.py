"""A card process of bench/monitor.py: monitor_card FD MODULE. MODULE: another build of the C side, or "".

Serves the connection until its standard input ends.
"""

from __future__ import annotations

import importlib.util
import os
import sys


def use_module(path: str) -> None:
    """Another build of the C side takes the place of the one in the package."""
    spec = importlib.util.spec_from_file_location("vecd._card", path)
    assert spec is not None and spec.loader is not None
    sys.modules["vecd._card"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["vecd._card"])


def main(argv: list[str]) -> int:
    """0 when it was told to end."""
    fd, path = int(argv[0]), argv[1]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if path:
        use_module(path)
    from vecd.cards import soft

    soft.prepare()
    from bench.pump import CARD, INSTANCE, NUMBER, guard

    matrices_fd, word_fd = guard()
    with soft.SoftCard() as card:
        card.bind(matrices_fd, word_fd, CARD)
        card.load_key(INSTANCE, NUMBER, soft.lib.VEC_ALG_AES_256_GCM, soft.lib.VEC_USE_ALL, card.stage(os.urandom(32)))
        card.attach(fd, INSTANCE, bytes(32))
        print("ready", flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
