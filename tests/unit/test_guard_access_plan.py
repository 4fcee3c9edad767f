"""What explain advises leads there: its plan is walked step by step, and then the answer is yes."""

import itertools

import pytest

from tests.unit.guard_world import CARDS, USERS, FakeBroker, in_world
from tests.unit.test_guard_policy import PLAIN, applied
from vecd.base.errors import Denied, Malformed
from vecd.services.guard_parts.access import DATA_OPERATIONS, OPERATIONS, WITH_LEVEL

CELLS = [("A", "A.1", letter) for letter in "car"] + [("A.1", "c0", letter) for letter in "car"]
SUBSETS = [lost for size in range(len(CELLS) + 1) for lost in itertools.combinations(CELLS, size)]
KEYS = ("subject", "object", "attribute")


async def explained(world, *what, operation=None):
    more = {"operation": operation} if operation else {}
    return await world.ask("access.explain", **dict(zip(KEYS, what, strict=True)), **more)


async def data_operation(world):
    """The one answer that every data operation has."""
    answers = [await explained(world, "A.1", "c0", "c", operation=one) for one in DATA_OPERATIONS]
    for one, answer in zip(DATA_OPERATIONS, answers, strict=True):
        assert answer.pop("operation") == one and answer == answers[0]
    return answers[0]


async def walk(world, broker, card, steps):
    """Every step is done as it is said: by vecctl, by the guest that opens a session, by the card."""
    for step in steps:
        if step["rule"] == "R9":
            command, verb, *right = step["step"].removeprefix("vecctl ").split()
            assert (command, verb) == ("access", "give")
            assert (await world.ask("access.give", **dict(zip(KEYS, right, strict=True))))["decision"] == "yes"
    if any("opens a session" in step["step"] for step in steps):
        await world.session(broker)
    if any(step["rule"] == "R12" for step in steps):
        card.turn(0)


@pytest.mark.parametrize("opened", [False, True])
def test_after_the_plan_of_a_data_operation_it_is_a_yes_whatever_was_rescinded(tmp_path, opened):
    @in_world
    async def body(world):
        card, broker = await world.card(), await FakeBroker().come(world.paths)
        await world.guest("A")
        instance = world.guard.book.register.instances["A.1"].id
        for lost in SUBSETS:
            if opened:
                await world.session(broker)
                card.turn(0, 12)
            for right in lost:
                await world.ask("access.rescind", **dict(zip(KEYS, right, strict=True)))
            answer = await data_operation(world)
            assert answer["allowed"] == (opened and not lost), (lost, answer)
            gifts = [step["step"] for step in answer["plan"] if step["rule"] == "R9"]
            assert gifts == [f"vecctl access give {' '.join(right)}" for right in lost]
            # All that is missing is in the sentence, too: the first by its rule, the others cell by cell.
            cells = itertools.groupby(lost[1:], lambda right: right[:2])
            others = [f"M[{s}][{o}] lacks {' '.join(letter for *_, letter in rows)}" for (s, o), rows in cells]
            assert not lost or "M[{}][{}] lacks {}".format(*lost[0]) in answer["reason"]
            assert not others or answer["reason"].endswith(f"; besides, {', '.join(others)}")
            await walk(world, broker, card, answer["plan"])
            after = await data_operation(world)
            assert after["allowed"], (lost, answer["plan"], after)
            # And the guest is of the same opinion.
            await world.session(broker)
            await broker.peer.call("guest.release", {"id_u": USERS["A"], "instance": instance, "card": CARDS["c0"]})

    body(tmp_path)


@in_world
async def test_what_the_policy_forbids_is_the_policys_to_allow_in_every_step(world):
    await world.card()
    await applied(world, PLAIN.replace('object = "c0"\nrights = "rac"', 'object = "c0"\nrights = "c"'))
    await world.guest("A")
    await world.ask("access.rescind", subject="A.1", object="c0", attribute="c")
    answer = await explained(world, "A.1", "c0", "c", operation="encrypt")
    steps = [step["step"] for step in answer["plan"] if step["rule"] == "R9"]
    change = 'allow A.1 "{}" on c0 in the policy, then vecctl policy apply'
    assert steps == ["vecctl access give A.1 c0 c", change.format("a"), change.format("r")]
    for note, letter in zip(answer["notes"], "ar", strict=True):
        assert note.startswith(f"A.1 may not have {letter} on c0: ") and "10-all.toml:" in note
    for letter in "aw":
        answer = await explained(world, "A.1", "c0", letter)
        assert answer["next"] == answer["plan"][0]["step"] == change.format(letter)
    with pytest.raises(Denied) as caught:
        await world.ask("access.give", subject="A.1", object="c0", attribute="a")
    # Once each.
    assert (caught.value.rule, caught.value.property, caught.value.hint) == ("policy", "", change.format("a"))
    assert str(caught.value) == f"{caught.value.message}; {caught.value.hint}"


@pytest.mark.parametrize("right", [("A", "B.1", "c"), ("A", "c0", "r"), ("A.1", "c0", "e"), ("A", "A.1", "e")])
def test_what_no_policy_may_give_is_refused_by_its_rule(tmp_path, right):
    """Another policy would not help."""

    @in_world
    async def body(world):
        await world.card()
        await applied(world)
        await world.guest("A"), await world.guest("B")
        with pytest.raises(Denied) as caught:
            await world.ask("access.give", **dict(zip(KEYS, right, strict=True)))
        assert caught.value.rule == "R9" and "policy" not in str(caught.value)

    body(tmp_path)


@in_world
async def test_which_key_slots_a_card_has_is_not_told_as_a_fact(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    card.turn(await world.session(broker), 12, 2)
    for operation in ("release", "R6", "submit"):
        answer = await explained(world, "A.1", "c0", "c", operation=operation)
        (read,) = [one for one in answer["reads"] if one["cell"] == "key"]
        assert read["value"] is None
        assert read["text"] == "whether A.1 has a key slot in c0 is for the card to know: vecctl card show c0"
        assert answer["decision"] == "yes" and "was loaded" not in str(answer["changes"])


@in_world
async def test_a_rule_that_takes_a_level_is_not_explained_without_one(world):
    await world.card()
    await world.guest("A")
    for operation in WITH_LEVEL:
        assert operation not in OPERATIONS
        with pytest.raises(Malformed, match="no way to name one") as caught:
            await explained(world, "A.1", "c0", "c", operation=operation)
        assert "vecctl model replay" in caught.value.hint
    for operation in OPERATIONS:
        answer = await explained(world, "A.1", "c0", "c", operation=operation)
        assert "None" not in str(answer["reason"]), answer
