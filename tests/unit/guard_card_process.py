"""A fake card in a process of its own, for the tests that end it: guard_card_process DIR NAME CALL_THAT_HANGS..."""

import asyncio
import sys

from tests.unit.guard_world import FakeCard
from vecd.base.paths import Paths


async def main(root: str, name: str, *hangs: str) -> None:
    card = await FakeCard(name).come(Paths(root))
    card.hangs = set(hangs) - {"inflight"}
    # Something is left in the engine, so that there is something to clean.
    card.output = 0 if "card.clean" in hangs else card.output
    await card.hello()
    print("ready", flush=True)
    if "inflight" in hangs:
        # Somebody entered, and never leaves.
        while card.word.owner is None and not card.calls("instance.connect"):
            await asyncio.sleep(0.002)
        card.turn(card.calls("instance.connect")[0]["instance"], 12, 2, inflight=2)
        print("busy", flush=True)
    await card.peer.closed.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
