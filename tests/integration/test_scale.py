"""4,000 instances, 64 cards, 1,000 users on one machine, through the real guard process and its real doors.

The cards are absent but for a stand-in: how a card serves is the same whatever the size (tests/conformance). What is
held here: the guard starts, answers, changes, forgets nothing over a kill, and stays small. Figures are printed; the
bounds are a few times what they are on an idle machine of two cores.
"""

import asyncio
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.integration import fullscale
from tests.integration.fullscale import CARDS, INSTANCES, USERS
from tests.integration.test_guard import GuardProcess, certificate
from tests.unit.guard_world import FakeBroker, FakeCard, settled
from vecd.base import packet
from vecd.base.blocking import BlockingPeer

START_S = 15.0
MEMORY_MIB = 256
# Every cell of M, and the manager's on everything.
CELLS = INSTANCES * (CARDS + 1) + INSTANCES + USERS + CARDS


class Machine:
    """One guard at full scale."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="vecd-"))
        self.guard = GuardProcess(self.root)
        self.guard.paths.config_file.write_text(fullscale.config())
        self.register = fullscale.filled()
        fullscale.put(self.guard.paths.policy, self.register)
        self.started_s = self.guard.start()

    def memory_mib(self) -> float:
        status = Path(f"/proc/{self.guard.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cells(self) -> dict[tuple[str, str], str]:
        """M as the guard shows it, page by page."""
        found, after = {}, ""
        with BlockingPeer(self.guard.paths.admin) as peer:
            while after is not None:
                answer = peer.call("access.show", {"after": after or None}, timeout=30.0)
                found |= {(one["subject"], one["object"]): one["allowed"] for one in answer["cells"]}
                after = answer.get("next")
        return found

    def close(self) -> None:
        if self.guard.process.poll() is None:
            self.guard.end(signal.SIGKILL)
        shutil.rmtree(self.root)


@pytest.fixture(scope="module")
def machine():
    made = Machine()
    yield made
    made.close()


def test_it_starts_and_stays_small(machine):
    status = machine.guard.ask("status")
    assert status["guests"] == USERS
    print(f"started in {machine.started_s:.1f} s, {machine.memory_mib():.0f} MiB")
    assert machine.started_s < START_S and machine.memory_mib() < MEMORY_MIB
    # A socket for each guest is open.
    assert len(list(Path(f"/proc/{machine.guard.process.pid}/fd").iterdir())) > USERS
    limits = Path(f"/proc/{machine.guard.process.pid}/limits").read_text()
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
    assert soft == hard


def test_vecctl_shows_all_of_it(machine, vecctl):
    began = time.monotonic()
    code, shown = vecctl("access", "show")
    took_s = time.monotonic() - began
    assert code == 0 and "next" not in shown
    cells = {(one["subject"], one["object"]): one["allowed"] for one in shown["cells"]}
    assert len(shown["cells"]) == len(cells) == CELLS
    assert {cells[pair] for pair in machine.register.access} == {fullscale.RIGHTS}
    assert len(shown["levels"]) == USERS + INSTANCES + CARDS + 1
    code, listed = vecctl("guest", "list")
    assert code == 0 and [one["name"] for one in listed["guests"]] == [f"u{at}" for at in range(USERS)]
    assert {len(one["instances"]) for one in listed["guests"]} == {INSTANCES // USERS}
    for words in (("card", "list"), ("status",)):
        code, listed = vecctl(*words)
        assert code == 0 and [one["name"] for one in listed["cards"]] == [f"c{at}" for at in range(CARDS)]
    print(f"access show: {len(shown['cells'])} cells in {took_s:.1f} s")


def test_no_page_keeps_others_waiting(machine):
    """While somebody reads all of it, somebody else's question is answered between two pages."""
    worst, pages, after = 0.0, 0, None
    with BlockingPeer(machine.guard.paths.admin) as reader:
        while pages < 40:
            began = time.monotonic()
            answer = reader.call("access.show", {"after": after}, timeout=10.0)
            worst, pages, after = max(worst, time.monotonic() - began), pages + 1, answer.get("next")
            assert packet.size(answer) < packet.PACKET_MAX
    print(f"a page takes at most {worst * 1e3:.0f} ms")
    assert worst < 1.0


def test_rules_and_guests_go_on_and_nothing_is_forgotten(machine):
    guard = machine.guard
    for number in range(20):
        name = f"new{number}"
        guard.ask("guest.add", name=name, id=(9 << 64 | number).to_bytes(16, "big"), cards=["c0", "c63"])
    for letter in "rwac":
        guard.ask("access.give", subject="new0.1", object="c7", attribute=letter)
    guard.ask("access.rescind", subject="u7.2", object="c5", attribute="c")
    guard.ask("access.rescind", subject="u7", object="u7.2", attribute="a")
    guard.ask("guest.remove", name="new1")
    guard.ask("guest.remove", name="u8")

    async def one_card() -> None:
        card = await FakeCard("c0").come(guard.paths)
        card.id = machine.register.cards["c0"].id
        await card.hello(certificate=certificate(card.id))
        await settled(card.looked_at, 10.0)
        broker = await FakeBroker().come(guard.paths)
        arguments = {
            "id_u": machine.register.users["u3"].id,
            "instance": machine.register.instances["u3.4"].id,
            "card": card.id,
        }
        assert (await broker.peer.call("guest.connect", arguments))["index"] == machine.register.instances["u3.4"].index
        assert card.matrices.snapshot().cell("card_m", 0, 3003) == 1 | 4 | 8
        await broker.peer.call("guest.release", arguments)
        # Every guest's listener comes, too.
        await settled(lambda: len(broker.listeners) == USERS - 1 + 19, 20.0)
        broker.peer.close()
        card.peer.close()

    asyncio.run(one_card())
    before = machine.cells()
    guard.end(signal.SIGKILL)
    again_s = guard.start()
    print(f"started again after a kill in {again_s:.1f} s, {machine.memory_mib():.0f} MiB")
    assert again_s < START_S
    cells = machine.cells()
    assert cells == before
    assert cells["new0.1", "c7"] == "rwac" and cells["u7.2", "c5"] == "ra" and cells["u7", "u7.2"] == "rc"
    assert not any("u8" in pair or "new1" in pair for pair in cells)
    assert guard.end(signal.SIGTERM) == 0
