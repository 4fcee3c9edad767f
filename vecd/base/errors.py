"""Every outcome that crosses a boundary, as an exception: one class per row of cext/include/vec/status.h.

The wire number and the exit code of vecctl stand here a second time, written out so that a reader finds them;
tests/style/test_errors.py holds this file and status.h equal. Whatever fails while deciding is a `Refused`,
by type, so no `except` can turn it into a yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

# Text of an error that came from another process is cut here: a peer may not make us store or print more.
TEXT_MAX = 1024

# What a refusal looked at, and what it would need: cells of the model, which are for operators and never for a guest.
CELLS = ("reads", "needs")
FACTS = ("message", "rule", "reason", "hint", "subject", "object", "property", *CELLS)


class VecError(Exception):
    """Base of all; not raised itself. Carries the facts a caller needs as attributes.

    rule: "R4", "message 7", "attach", ... or ""; reason: the check in words; hint: the next step. Of a refusal by the
    reference monitor also: property, what a yes would break; reads, the cells and levels that were looked at; needs,
    the one that decided it, with the value that it would have to have.
    """

    status: ClassVar[int] = 1
    exit_code: ClassVar[int] = 1
    sentence: ClassVar[str] = "failed"
    # Where there are many reasons, each with its file and line. They are for who raised it, and do not travel.
    problems: Sequence[Mapping[str, Any]] = ()

    def __init__(
        self,
        message: str = "",
        *,
        rule: str = "",
        reason: str = "",
        hint: str = "",
        subject: str = "",
        object: str = "",
        property: str = "",
        reads: str = "",
        needs: str = "",
    ) -> None:
        self.message = message or self.sentence
        self.rule = rule
        self.reason = reason
        self.hint = hint
        self.subject = subject
        self.object = object
        self.property = property
        self.reads = reads
        self.needs = needs
        super().__init__(self.message)

    def __str__(self) -> str:
        """The thing, the rule and property, the reason, the next step: what is known of them, once each."""
        where = ", ".join(x for x in (self.rule, self.property) if x)
        parts = [self.message] + [x for x in (where, self.reason) if x and x not in self.message]
        return ": ".join(parts) + (f"; {self.hint}" if self.hint else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return (from_dict, (self.to_dict(),))

    def to_dict(self) -> dict[str, Any]:
        """What travels in the "err" of an answer; `from_dict` gives the same error back."""
        return {
            "status": self.status,
            "error": type(self).__name__,
            **{name: str(getattr(self, name)) for name in FACTS},
        }

    @staticmethod
    def from_dict(d: Mapping[str, Any]) -> VecError:
        """The error a peer sent. Never raises: an unknown status is a Failed, text is bounded."""
        return from_dict(d)


class Refused(VecError):
    """Not raised itself: whatever failed while deciding. `except Refused` catches every "no"."""

    status = 5
    exit_code = 5
    sentence = "refused"


class Failed(VecError):
    status, exit_code, sentence = 1, 1, "failed"


class Malformed(VecError):
    status, exit_code, sentence = 2, 2, "the request is not well formed"


class Version(VecError):
    status, exit_code, sentence = 3, 2, "the protocol version is not spoken here"


class Unknown(VecError):
    status, exit_code, sentence = 4, 4, "no such thing"


class Denied(Refused):
    status, exit_code, sentence = 5, 5, "refused by the reference monitor"


class Caller(Refused):
    status, exit_code, sentence = 6, 6, "the caller is not allowed to ask this"


class Integrity(VecError):
    status, exit_code, sentence = 7, 7, "an integrity check failed"


class Busy(VecError):
    status, exit_code, sentence = 8, 8, "busy, try again"


class Hardware(VecError):
    status, exit_code, sentence = 9, 9, "the card failed"


class TimedOut(VecError):
    status, exit_code, sentence = 10, 10, "timed out"


class Unreachable(VecError):
    status, exit_code, sentence = 11, 3, "the daemon cannot be reached"


class TooLarge(VecError):
    status, exit_code, sentence = 12, 2, "the request is larger than the limit"


class NoKey(VecError):
    status, exit_code, sentence = 13, 4, "no such key number on this connection"


class BadTag(VecError):
    status, exit_code, sentence = 14, 7, "the authentication tag is wrong"


class WrongUse(Refused):
    status, exit_code, sentence = 15, 5, "the key may not be used for this operation"


class BadStream(VecError):
    status, exit_code, sentence = 16, 1, "the stream is unknown, or the part out of order"


class Exhausted(VecError):
    status, exit_code, sentence = 17, 8, "a limit is reached"


class ProtocolRefused(Refused):
    """A check of the protocol failed: rule is "message 4" (whose check), "attach", "key" or "quote"."""

    status, exit_code, sentence = 18, 7, "a check of the protocol failed"


class ConfigError(VecError):
    status, exit_code, sentence = 19, 2, "the configuration is wrong"


class Gone(VecError):
    status, exit_code, sentence = 20, 3, "the peer went away before it answered"


class Exists(VecError):
    status, exit_code, sentence = 21, 1, "it exists already"


class Internal(VecError):
    status, exit_code, sentence = 70, 1, "our own mistake"


# fmt: off
ERRORS: tuple[type[VecError], ...] = (
    Failed, Malformed, Version, Unknown, Denied, Caller, Integrity, Busy, Hardware, TimedOut, Unreachable, TooLarge,
    NoKey, BadTag, WrongUse, BadStream, Exhausted, ProtocolRefused, ConfigError, Gone, Exists, Internal,
)
# fmt: on
_BY_STATUS = {cls.status: cls for cls in ERRORS}


def by_status(number: int) -> type[VecError]:
    """The class of a wire number; Failed for a number that has no row."""
    return _BY_STATUS.get(number, Failed)


def from_dict(d: Mapping[str, Any]) -> VecError:
    """The error a peer sent. Never raises: an unknown status is a Failed, text is bounded."""
    status = d.get("status")
    cls = by_status(status) if isinstance(status, int) else Failed
    facts = {name: value[:TEXT_MAX] for name in FACTS if isinstance(value := d.get(name), str)}
    return cls(facts.pop("message", ""), **facts)


# Exit codes of the daemons (style: "Exit codes"); systemd does not restart after the last two.
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BUG = 70
EXIT_SANDBOX = 77
EXIT_CONFIG = 78
