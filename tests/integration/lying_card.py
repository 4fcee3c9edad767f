"""A hostile card: a process of its own behind a real guard's door that writes into its word what it is told to.

    lying_card DIR NAME CERTIFICATE_HEX; then a line of JSON for each write: fields of the word as they shall be

Everything else it does as a card should, so that nothing but the word can give it away. The word is written through the
process's own mapping, as code that took over a real card process would.
"""

import asyncio
import json
import sys

from tests.unit.guard_world import FakeCard
from vecd.base.paths import Paths


async def main(root: str, name: str, certificate: str) -> None:
    card = await FakeCard(name).come(Paths(root))
    await card.hello(certificate=bytes.fromhex(certificate))
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        fields = json.loads(line)
        if "owner_of" in fields:
            told = card.calls("instance.connect")
            fields["owner"] = told[fields.pop("owner_of")]["instance"]
        if "generation_by" in fields:
            fields["generation"] = (card.word.generation + fields.pop("generation_by")) % 2**34
        card.write(**fields)
        print("written", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
