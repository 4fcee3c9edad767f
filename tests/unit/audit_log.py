"""Small logs for the tests of the audit: written by the keeper that the daemons use, signed with a fresh key."""

from __future__ import annotations

import json
from pathlib import Path

from vecd.audit import roots
from vecd.audit.files import segments
from vecd.audit.keeper import Begun, Keeper
from vecd.audit.records import NOTHING, CardFormat, Facts, Flag, Format, GuardFormat, Kind, after, line
from vecd.audit.roots import Witness
from vecd.audit.verify import Report, Verifier
from vecd.protocol.suites import PrivateKeys, generate, sign

NS = 1_000_000_000
T0 = 1_763_760_000 * NS
WHOLE = Flag.WORKED | Flag.WIPED | Flag.READ_BACK


class Log:
    """One log and its writer; the clock stands still until it is moved."""

    def __init__(self, path: Path, chain: str = "card c0", *, keys: PrivateKeys | None = None, **options: int) -> None:
        self.path, self.chain = path, chain
        self.form: Format = GuardFormat if chain == roots.GUARD else CardFormat
        self.keys = keys or generate(1)
        self.now = T0
        self.options = {"keep_bytes": 1 << 30, **options}
        self.sequence, self.value = 0, NOTHING
        self.begun: Begun | None = None

    def start(self, *, expected: bool = False) -> Log:
        """A process begins: START is the first thing it records."""
        self.keeper = Keeper(self.path, self.chain, self.form, clock=lambda: self.now, **self.options)
        self.begun = self.keeper.begin(expected=expected)
        self.sequence, self.value = self.begun.sequence, self.begun.value
        if self.begun.anew:
            self.root(note=self.begun.anew)
        flags = Flag.ANEW * bool(self.begun.anew) | Flag.UNCLEAN * self.begun.unclean
        if self.form is CardFormat:
            self.card(Kind.START, flags=flags, word=self.keeper.start)
        else:
            self.guard(what="start", anew=self.begun.anew, unclean=self.begun.unclean)
        return self

    def card(self, kind: Kind = Kind.TURN, **fields: int) -> None:
        facts = Facts(self.sequence, self.now, fields.pop("word", 0), fields.pop("instance", 0xFFF), kind, 0)
        self._add(facts._replace(**fields).pack(), b"")

    def turn(self, instance: int, *, switched: bool = False, **fields: int) -> None:
        flags = WHOLE | Flag.SWITCHED * switched
        self.card(Kind.TURN, instance=instance, **{"flags": flags, "requests": 3, **fields})

    def guard(self, **members: object) -> None:
        whole = json.dumps({"seq": self.sequence, "time": self.now, **members}, separators=(",", ":"))
        content = whole[:-1].encode()
        self._add(content, line(whole[:-1], after(self.value, content)).encode())

    def _add(self, content: bytes, text: bytes) -> None:
        self.value = after(self.value, content)
        self.keeper.add(text or content + self.value, self.sequence, self.value)
        self.sequence += 1

    def root(self, *, witness: Witness | None = None, note: str = "", last: bool = False, seconds: float = 1) -> None:
        """A second goes by, and what was recorded is signed."""
        self.now += int(seconds * NS)
        prepared = self.keeper.prepare(self.keys.sign_key, witness, note)
        self.keeper.keep(prepared.signed(lambda label, body: sign(self.keys, label, body)), last=last)

    def stop(self) -> None:
        """The process ends by will."""
        if self.form is CardFormat:
            self.card(Kind.STOP)
        else:
            self.guard(what="stop")
        self.root(last=True)
        self.keeper.close()

    def killed(self) -> None:
        """The process is gone; what it had written stays."""
        self.keeper.write()
        self.keeper.close()

    def report(self) -> Report:
        return Verifier(self.chain, self.form, keep=lambda kept, this: True).run(segments(self.path))


def small(path: Path, chain: str, more: int = 0) -> Log:
    """A log of two segments, ended by will: every kind of thing once; `more`: another one of the same length."""
    log = Log(path, chain, segment_bytes=300 if chain != roots.GUARD else 600).start()
    log.now += more
    if chain == roots.GUARD:
        log.guard(what="decision", decision="yes", rule="R1", subject="A.1", object="c0", index=1)
        log.root()
        log.guard(what="decision", decision="no", rule="R2", subject="A.1", object="c0", reason="M lacks a")
        log.guard(what="event", event="CARD_OUT", card="c0")
        log.root()
        log.guard(what="decision", decision="yes", rule="R9", subject="A.1", object="c0")
        log.root()
        log.root(seconds=60)
    else:
        log.card(Kind.BIND, flags=Flag.WIPED | Flag.READ_BACK)
        log.turn(1, switched=True)
        log.root()
        log.turn(1)
        log.turn(2, switched=True)
        log.root()
        log.card(Kind.DROP, instance=1, flags=Flag.WIPED | Flag.READ_BACK)
        log.turn(2)
        log.root()
        log.root(seconds=60)
    log.stop()
    return log
