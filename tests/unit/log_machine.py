"""The logs of a machine that stands still, and vecctl on them."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

from tests.unit.audit_log import Log
from vecd.audit import roots
from vecd.audit.roots import Witness
from vecd.base.paths import Paths
from vecd.cli.main import main
from vecd.protocol.encoding import enc
from vecd.protocol.messages import Certificate, pack
from vecd.protocol.suites import generate, sign


def vecctl(root: Path, *words: str) -> tuple[int, dict]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--dir", str(root), "--json", *words])
    return code, json.loads((out if code == 0 else err).getvalue())


class Machine:
    """The logs of a guard and a card that know each other, with the keys that they are known by."""

    def __init__(self, root: Path) -> None:
        self.root, self.paths = root, Paths(root)
        self.authority = generate(1)
        self.guard = Log(self.paths.state_of("guard") / "audit", roots.GUARD).start()
        self.card = Log(self.paths.state_of("card", "c0") / "audit").start()
        self.paths.ca.parent.mkdir(parents=True)
        self.ca = self.paths.ca.with_name("ca.pub.json")
        self.ca.write_text(json.dumps({"sign_key": self.authority.sign_key.hex()}))
        self.paths.guard_key.write_text(json.dumps({"sign_key": self.guard.keys.sign_key.hex()}))
        self.certify(self.card.keys.sign_key)

    def certify(self, key: bytes, role: str = "card") -> None:
        keys = self.card.keys
        body = pack(Certificate(role, b"c" * 16, b"d" * 16, keys.seal_key, key, bytes(32), 7, 0, 2**40))
        statement = enc(body, sign(self.authority, "cert", body))
        self.card.keeper.owner(self.card.keys.sign_key, id=(b"c" * 16).hex(), certificate=statement.hex())

    def second(self) -> None:
        """A second goes by: the card signs, the guard records that and signs."""
        last = self.guard.keeper.root
        self.card.root(witness=Witness(last.number, last.hash))
        root = self.card.keeper.root
        facts = {"id": root.id.hex(), "number": root.number, "sequence": root.sequence, "hash": root.hash.hex()}
        self.guard.guard(what="root", log=root.chain, value=root.value.hex(), **facts)
        self.guard.root()

    def work(self, seconds: int = 3) -> Machine:
        asked = {"door": "broker", "uid": 1, "pid": 2}
        for index, name in ((1, "A.1"), (2, "B.1")):
            fields = {"decision": "yes", "rule": "R1", "subject": name, "object": "c0", "index": index, "changes": []}
            self.guard.guard(what="decision", **fields, by=asked)
        for n in range(seconds):
            self.card.turn(1, switched=True)
            self.card.turn(1)
            self.card.turn(2, switched=True)
            fields = {"decision": "no", "rule": "R2", "subject": "A.1", "object": "c0", "attribute": "a"}
            self.guard.guard(what="decision", **fields, property="", reason=f"M lacks a, {n}", by=asked)
            self.second()
        return self

    def stop(self) -> Machine:
        self.card.stop()
        self.guard.stop()
        return self
