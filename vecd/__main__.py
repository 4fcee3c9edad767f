"""python -m vecd ROLE: run one of our processes in the foreground.

Imports stay inside the functions: a card must prepare libcrypto's memory before anything else in the process has
it allocate, and even asyncio does (through ssl).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from vecd import __version__

# role: (module, what it does)
ROLES = {
    "guard": ("vecd.services.guard", "the reference monitor: decides, and holds the state"),
    "attest": ("vecd.services.attest", "holds the measured boot against the boot policy, once"),
    "broker": ("vecd.services.broker", "lets guests in and relays the protocol"),
    "card": ("vecd.services.card", "one card: its keys, and the data path"),
    "authority": ("vecd.services.authority", "registers users, cards and the broker, signs the statements"),
    "dev": ("vecd.services.dev", "all of them in one terminal, with soft cards and a software TPM"),
}

# The shell's and Python's own descriptors; the first that systemd passes.
_FIRST_PASSED = 3


def usage() -> str:
    """The text of --help."""
    rows = "\n".join(f"  {role:10} {what}" for role, (_, what) in ROLES.items())
    return f"usage: vecd ROLE [--dir D] [--name CARD]\n       vecd --help | --version\n\nroles:\n{rows}\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed, 2 usage, 70 our own mistake, 77 not locked down, 78 bad configuration."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] in (["--help"], ["-h"]):
        print(usage(), end="")
        return 0
    if args[:1] == ["--version"]:
        print(f"vecd {__version__}")
        return 0
    if not args or args[0] not in ROLES:
        said = f"vecd: unknown role {args[0]!r}\n" if args else ""
        print(f"{said}{usage()}", end="", file=sys.stderr)
        return 2
    return _run(args[0], args[1:])


def _run(role: str, args: list[str]) -> int:
    # These load no libcrypto; tests/unit/test_main.py sees to that.
    from vecd.base import events, heap, log, sandbox
    from vecd.base.errors import EXIT_BUG, EXIT_CONFIG, EXIT_FAILED, EXIT_SANDBOX, ConfigError, VecError

    try:
        if role == "card":
            heap.settle()
            importlib.import_module("vecd.cards.soft").prepare()
        if role != "dev":
            sandbox.close_inherited(range(_FIRST_PASSED, _FIRST_PASSED + _passed()))
        return int(importlib.import_module(ROLES[role][0]).main(args))
    except sandbox.NotLockedDown as e:
        log.event(events.NOT_LOCKED_DOWN, role=role, reason=e)
        return EXIT_SANDBOX
    except ConfigError as e:
        log.event(events.FAILED, role=role, reason=e)
        return EXIT_CONFIG
    except VecError as e:
        log.event(events.FAILED, role=role, reason=e)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED
    except Exception as e:
        from vecd.base.peer import our_mistake

        our_mistake(role, e)
        return EXIT_BUG


def _passed() -> int:
    """How many descriptors systemd passed to this very process (sd_listen_fds)."""
    count = os.environ.get("LISTEN_FDS", "")
    return int(count) if count.isdecimal() and os.environ.get("LISTEN_PID") == str(os.getpid()) else 0


if __name__ == "__main__":
    sys.exit(main())
