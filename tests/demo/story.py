"""What happens in the demonstration, in order; `Report` is what build/demo/report.json holds."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.demo import page, replay
from tests.demo.crew import Process
from tests.demo.machine import changed_boot, vecctl
from tests.demo.recorder import Recorder
from tests.integration.cipher_machine import CipherMachine
from vecd.base.errors import VecError

SCHEMA = 1
ALGORITHM = "AES-256-GCM"
CARDS = ("c0", "c1")
TENANTS = {"A": "c0", "B": "c0", "C": "c1"}
BIG_BYTES = 64 << 20
START_UPS = 25
TAMPERED_PCR = 4
CARD_FIELDS = ("name", "id", "driver", "status", "level", "owner", "instances", "residue")
BINARY_MAX = 16 << 20
# Refusals that no rule of the model and no message of the protocol makes: what was checked.
CHECKS = {"NoKey": "check of N_K", "BadTag": "check of the tag"}


@dataclass
class Report:
    """build/demo/report.json."""

    schema: int = SCHEMA
    tenants: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    startup_ms: dict[str, Any] = field(default_factory=dict)
    cards: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Story:
    """Told on one machine, in one folder; `tell` does all of it and leaves the report."""

    def __init__(self, machine: CipherMachine, folder: Path) -> None:
        self.machine = machine
        self.folder = folder
        self.report = Report()
        self._crew: dict[str, Process] = {}

    def tell(self) -> Report:
        self.report.cards["before"] = self._cards()
        with contextlib.ExitStack() as ends:
            self._enrol(ends)
            self._start_up()
            self._files()
            self._refusals()
            self._release()
        return self.report

    def tell_of_the_boot(self) -> None:
        """The last refusal; the machine has ended."""
        page.section("The machine starts again, with a boot that is not the one expected")
        what = f"a machine starts whose PCR {TAMPERED_PCR} is not what was recorded"
        self._refused(what, changed_boot(self.machine, TAMPERED_PCR))

    # -- scenes -------------------------------------------------------------------------------------------------

    def _enrol(self, ends: contextlib.ExitStack) -> None:
        page.section("Three tenants enrol, verify their card and load a key: A and B share card c0, C has c1")
        for name, card in TENANTS.items():
            self._crew[name] = self._admit(name, card, ends)
            self._crew[name].do("enrol", enrolment=str(self._enrolment(name)))
            loaded = self._crew[name].do("connect", address=self._through_the_thief(name, ends))
            self.report.tenants.append({"name": name, "card": loaded["card"], "key_number": loaded["key"]})
        page.table(
            ("tenant", "card", "key number N_K"),
            [(t["name"], t["card"], t["key_number"]) for t in self.report.tenants],
        )
        page.say("  The keys are in the cards. From here on a tenant names a number, never a key.")

    def _start_up(self) -> None:
        page.section("What a start-up costs: verification and key loading over the real processes")
        # C alone on c1: start-ups of its own release its instance, and nobody else's.
        measured = self._crew["C"].do("start_ups", runs=START_UPS)
        total = {"p50": round(measured.pop("total"), 3), "runs": START_UPS}
        self.report.startup_ms = {step: round(ms, 3) for step, ms in measured.items()} | {"total": total}
        page.start_up(self.report.startup_ms)
        self._crew["C"].do("connect")

    def _files(self) -> None:
        page.section("Real files, encrypted by the card, decrypted by the card and outside of it")
        big = self.folder / "64MiB"
        _random_file(big, BIG_BYTES)
        binary = _system_binary()
        rows = []
        for name, path in (("A", binary), ("A", big), ("B", binary), ("C", big)):
            done = self._crew[name].do("file", path=str(path))
            self.report.files.append(
                {
                    "name": path.name,
                    "tenant": name,
                    "bytes": done["bytes"],
                    "algorithm": ALGORITHM,
                    "verified_by": done["verified_by"],
                }
            )
            rate = done["bytes"] / (1 << 20)
            shown = path if path is binary else f"{path.name} (random)"
            rows.append(
                (name, shown, f"{done['bytes']:,}", f"{rate / done['encrypt_s']:.0f}",
                 f"{rate / done['decrypt_s']:.0f}", done["verified_by"])
            )  # fmt: skip
        page.table(
            ("tenant", "file", "bytes", "encrypt MiB/s", "decrypt MiB/s", "decrypted outside by"), rows, right=(2, 3, 4)
        )
        page.say(page.FILES_ARE)
        big.unlink()

    def _refusals(self) -> None:
        page.section("What is refused, by which rule, and why")
        page.say(page.REFUSED_BY)
        for scene in (
            self._foreign_number,
            self._replayed_key,
            self._unregistered,
            self._used_token,
            self._another_socket,
            self._rescinded,
            self._forged,
        ):
            self._refused(*scene())

    def _release(self) -> None:
        page.section("Everybody lets go: the cards are wiped, the wipe is read back, the cards are free")
        for tenant in self._crew.values():
            tenant.do("close")
        self.report.cards["after"] = after = self._settled()
        page.table(
            ("card", "status", "key slots", "output of"),
            [(c["name"], c["status"], len(c["residue"]["keys"]), c["residue"]["output"] or "nobody") for c in after],
        )

    # -- what is refused ----------------------------------------------------------------------------------------

    def _foreign_number(self) -> tuple[str, VecError]:
        number = self.report.tenants[0]["key_number"]
        return f"B names A's key number {number}", self._crew["B"].refused("foreign", number=number)

    def _replayed_key(self) -> tuple[str, VecError]:
        record = self._recorder["A"].sent
        return "A's recorded message 7 (its sealed key) is played again", replay.say_again(
            self._socket("A"), replay.find(record, "LOAD")
        )

    def _unregistered(self) -> tuple[str, VecError]:
        with contextlib.ExitStack() as ends:
            stranger = self._admit("D", "c0", ends)
            return "D comes with keys that nobody registered", stranger.refused(
                "impostor", enrolment=str(self._enrolment("D")), like=str(self._crew["A"].home / "identity.json")
            )

    def _used_token(self) -> tuple[str, VecError]:
        return "A's enrolment token is used a second time", self._crew["A"].refused(
            "enrol", enrolment=str(self._enrolment("A"))
        )

    def _another_socket(self) -> tuple[str, VecError]:
        return "another socket is attached to A's run", replay.say_again(
            self._socket("A"), replay.find(self._recorder["A"].sent, "ATTACH")
        )

    def _rescinded(self) -> tuple[str, VecError, dict[str, Any]]:
        ready, go = self.folder / "streaming", self.folder / "rescinded"
        tenant = self._crew["B"]
        tenant.begin("stream", ready=str(ready), go=str(go))
        _wait_for(ready)
        self._vecctl("access", "rescind", "B.1", "c0", "a", "--yes")
        go.touch()
        try:
            raise AssertionError(f"a stream went on after its right was rescinded: {tenant.answer()}")
        except VecError as error:
            refusal, said = error, self._explained("B.1", "c0", "a", error)
        self._vecctl("access", "give", "B.1", "c0", "a", "--yes")
        tenant.do("encrypt", data="the right was given back")
        return "B's right to append is rescinded in the middle of a stream", refusal, said

    def _forged(self) -> tuple[str, VecError]:
        return "C decrypts what somebody changed on the way", self._crew["C"].refused("forged")

    # -- what the scenes use ------------------------------------------------------------------------------------

    def _admit(self, name: str, card: str, ends: contextlib.ExitStack) -> Process:
        """The operator's two commands, and the tenant's process."""
        enrolment = self._enrolment(name)
        self._vecctl("token", "new", "--role", "user", "--name", name, "--card", card, "--out", str(enrolment))
        self._vecctl("guest", "add", name, "--enrolment", str(enrolment), "--card", card)
        tenant = Process(name, f"unix:{self._socket(name)}", self.folder / name)
        ends.callback(tenant.end)
        return tenant

    def _through_the_thief(self, name: str, ends: contextlib.ExitStack) -> str:
        """A's first connection goes through somebody who keeps what it says."""
        if name != "A":
            return ""
        thief = Recorder(self.folder / "thief.sock", self._socket(name))
        ends.callback(thief.close)
        self._recorder = {name: thief}
        return f"unix:{thief.path}"

    def _vecctl(self, *arguments: str) -> dict[str, Any]:
        return vecctl(self.machine.root, *arguments)

    def _refused(self, what: str, error: VecError, explained: dict[str, Any] | None = None) -> None:
        entry = {
            "what": what,
            "rule": error.rule or CHECKS[type(error).__name__],
            "reason": error.reason or error.message,
            "code": error.status,
            "error": type(error).__name__,
        }
        # What a rule refused can be explained afterwards.
        if explained:
            entry["explained"] = explained
        self.report.refusals.append(entry)
        page.refusal(len(self.report.refusals), entry)

    def _explained(self, subject: str, thing: str, attribute: str, refusal: VecError) -> dict[str, Any]:
        """What vecctl says of it, which must be what the card said."""
        said = self._vecctl("access", "explain", subject, thing, attribute)
        if said["decision"] == "yes" or said["rule"] != refusal.rule:
            raise AssertionError(f"the card refused by {refusal.rule}, and vecctl explains {said}")
        return {
            "command": f"vecctl access explain {subject} {thing} {attribute}",
            "rule": said["rule"],
            "reads": [cell["text"] for cell in said["reads"]],
            "next": said["next"],
        }

    def _cards(self) -> list[dict[str, Any]]:
        shown = (self._vecctl("card", "show", name)["card"] for name in CARDS)
        return [{field: card[field] for field in CARD_FIELDS} for card in shown]

    def _settled(self) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 5
        while any(card["status"] != "free" for card in self._cards()) and time.monotonic() < deadline:
            time.sleep(0.05)
        after = self._cards()
        for card in after:
            if card["status"] != "free" or any(card["residue"].values()):
                raise AssertionError(f"card {card['name']} is not free and clean after everybody let go: {card}")
        return after

    def _enrolment(self, name: str) -> Path:
        return self.folder / f"{name}.enrol"

    def _socket(self, name: str) -> Path:
        return self.machine.root / "run" / "vecd" / "guest" / f"{name}.sock"


def _system_binary() -> Path:
    """The largest program of /usr/bin that is no monster: some MiB on any machine."""
    programs = [path for path in Path("/usr/bin").iterdir() if path.is_file() and not path.is_symlink()]
    return max((path for path in programs if path.stat().st_size <= BINARY_MAX), key=lambda path: path.stat().st_size)


def _random_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not appear")
        time.sleep(0.005)
