"""docs/vecctl.md is the public API: its samples have exactly the fields that the guard answers with."""

import json
import re
from argparse import Namespace
from pathlib import Path

from tests.unit.audit_log import Log
from tests.unit.guard_world import USERS, FakeBroker, in_world
from vecd.base.config import Audit
from vecd.base.errors import Denied
from vecd.base.paths import Paths
from vecd.cli import log_cmd, policy_cmd
from vecd.cli.output import SCHEMA, error_object
from vecd.services.guard_parts import audit, boot

TEXT = (Path(__file__).parents[2] / "docs/vecctl.md").read_text()
SAMPLES = {
    heading: json.loads(sample)
    for heading, sample in re.findall(
        r"^### `vecctl ([a-z]+(?: [a-z-]+)?)(?:(?!^### ).)*?^```json\n(.*?)^```", TEXT, re.M | re.S
    )
}
# Free inside: counters are the card driver's, registers the machine's, levels go by name.
FREE = {"counters", "pcrs", "levels"}


def fields(value, path=""):
    """The paths of every field, with [] for the first row of a list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key}"
            if key not in FREE:
                yield from fields(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        yield from fields(value[0], f"{path}[]")


def same(sample, answer, ignoring=()):
    told, real = set(fields(sample)), set(fields({"schema": SCHEMA, **answer}))
    assert {one for one in told ^ real if not one.startswith(tuple(ignoring) or "!")} == set()


@in_world
async def test_the_samples_have_the_fields_of_the_answers(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    same(SAMPLES["guest add"], await world.guest("A"))
    index = await world.session(broker)
    card.turn(index, 12, 2, inflight=3)
    card.context, card.keys = index, {index}
    world.paths.boot.parent.mkdir(parents=True)
    world.paths.boot.write_text('{"schema": 1, "policy": "0f3a", "accepted_s": 9, "pcrs": {"sha256": {"0": "00"}}}')
    world.guard.boot = boot.accepted(world.paths.boot, 0, True)
    # The rows of cards are described where card list is.
    world.guard.audit = audit.started(world.paths.state_of("guard"), Audit())
    same(SAMPLES["status"], await world.ask("status"), [".cards[]"])
    same(SAMPLES["card list"], await world.ask("card.list"))
    same(SAMPLES["card show"], await world.ask("card.show", name="c0"))
    same(SAMPLES["guest list"], await world.ask("guest.list"))
    same(SAMPLES["guest show"], await world.ask("guest.show", name="A"))
    same(SAMPLES["access show"], await world.ask("access.show"))
    card.write(inflight=0)
    right = {"subject": "A.1", "object": "c0", "attribute": "a"}
    same(SAMPLES["access rescind"], await world.ask("access.rescind", **right))
    answer = await world.ask("access.explain", **right)
    same(SAMPLES["access explain"], answer)
    assert {key: answer[key] for key in ("rule", "reason", "reads", "next", "plan", "allowed")} == {
        key: SAMPLES["access explain"][key] for key in ("rule", "reason", "reads", "next", "plan", "allowed")
    }
    same(SAMPLES["access give"], await world.ask("access.give", **right))
    same(SAMPLES["guest remove"], await world.ask("guest.remove", name="A"))


@in_world
async def test_the_samples_of_the_policy_have_the_fields_of_the_answers(world):
    files = world.paths.policy_files
    files.mkdir(parents=True)
    text = 'schema = 1\n[[guest]]\nname = "A"\n{}[[instance]]\nname = "A.1"\nowner = "A"\n[[card]]\nname = "c0"\n'
    text += '[[allow]]\nsubject = "A"\nobject = "A.1"\nrights = "rac"\n'
    await world.card()
    await world.guest("A")
    (files / "10-all.toml").write_text(text.format('id = "00000000000000000000000000000000"\n'))
    same(SAMPLES["policy diff"], await world.ask("policy.diff"), [".counts"])
    (files / "10-all.toml").write_text(text.format(""))
    same(SAMPLES["policy apply"], await world.ask("policy.apply"), [".counts"])
    options = Namespace(files=[], dir=str(world.paths.root))
    same(SAMPLES["policy check"], policy_cmd.COMMANDS[0].local(options))


@in_world
async def test_the_sample_of_an_error_is_one(world):
    await world.card()
    broker = await FakeBroker().come(world.paths)
    await world.guest("A")
    await world.ask("access.rescind", subject="A", object="A.1", attribute="c")
    instance = world.guard.book.register.instances["A.1"].id
    try:
        await broker.peer.call("guest.connect", {"id_u": USERS["A"], "instance": instance, "card": b"c" * 16})
    except Denied as error:
        (sample,) = re.findall(r"^## Errors.*?^```json\n(.*?)^```", TEXT, re.M | re.S)
        assert json.loads(sample) == error_object(error)
    else:
        raise AssertionError("it was allowed")


def test_the_samples_of_the_log_have_the_fields_of_the_answers(tmp_path):
    root = Paths(tmp_path)
    log = Log(root.state_of("card", "c0") / "audit").start()
    log.turn(1, switched=True)
    log.turn(2, switched=True)
    log.stop()
    verify, show, prove = (command.local for command in log_cmd.COMMANDS)
    common = {"dir": str(tmp_path), "card": "c0"}
    which = {"guard": False, "files": None, "proof": None, "key": None, "ca": None, "within": None}
    same(SAMPLES["log verify"], verify(Namespace(**common, **which)))
    same(SAMPLES["log show"], show(Namespace(**common, subject=None, count=1)), [".records[].generation"])
    same(SAMPLES["log prove-handover"], prove(Namespace(**common, seq=None, out=None)))
