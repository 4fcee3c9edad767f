"""The policy in a guard: first start, diff, apply, what it refuses, what it takes, what a restart leaves as it was."""

import asyncio
import os
from pathlib import Path
from unittest import mock

import pytest

from tests.unit.guard_world import USERS, FakeBroker, World, in_world, no_room, settled
from vecd.base import events, log
from vecd.base.errors import ConfigError, Denied, Failed, Malformed, VecError
from vecd.services.guard_parts import applied as kept
from vecd.services.guard_parts import policy, register
from vecd.services.guard_parts.book import Book
from vecd.services.guard_parts.store import Store
from vecd.shm.layout import CONTROL, FREE, USING

R, W, A, C = 1, 2, 4, 8

HEAD = "schema = 1\n"
CARD = '[[card]]\nname = "c0"\n[[card]]\nname = "c1"\n'


def guest(name="A", instances=("1",), more="", **keys):
    rows = [f'[[guest]]\nname = "{name}"\n{more}']
    for one in instances:
        rows.append(f'[[instance]]\nname = "{name}.{one}"\nowner = "{name}"\n{keys.get("each", "")}')
    return "".join(rows) + allow(name, f"{name}.*")


def allow(subject, target, rights="rac"):
    return f'[[allow]]\nsubject = "{subject}"\nobject = "{target}"\nrights = "{rights}"\n'


PLAIN = HEAD + CARD + guest() + allow("A.1", "c0")


def write(world, text=PLAIN, file="10-all.toml"):
    path = world.paths.policy_files / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    # Whatever the umask of who runs this.
    path.parent.parent.chmod(0o755), path.parent.chmod(0o755), path.chmod(0o644)
    return path


async def applied(world, text=PLAIN, **more):
    write(world, text)
    return await world.ask("policy.apply", **more)


def line_of(text, part, after=""):
    """The line on which `part` stands, behind `after`."""
    at = text.index(part, text.index(after))
    return text.count("\n", 0, at) + 1


def cells(world):
    """M without the manager's, from the state."""
    state = world.guard.book.state
    return {(s, o): byte for o, column in state.M.items() for s, byte in column.items() if s != "m"}


def everything(world):
    """State, register, matrices and what is kept: what a refusal leaves alone."""
    book = world.guard.book
    stored = register.load(world.paths.policy)
    kept = sorted(path.name for path in (world.paths.policy.parent / "applied").glob("*"))
    rows = [bytes(book.matrices._map.card_m[k]) for k in range(2)], bytes(book.matrices._map.user_m)
    return book.state.snapshot(), stored, rows, kept, world.guard.policy


# ---- the start


def started(tmp_path, body, text=PLAIN, prepare=None):
    """A guard that finds policy files at its first start."""

    async def whole():
        world = World(tmp_path)
        write(world, text)
        if prepare:
            prepare(world)
        await world.start()
        try:
            await body(world)
        finally:
            await world.stop()

    asyncio.run(whole())


def test_at_a_first_start_the_files_hold(tmp_path):
    async def body(world):
        assert world.guard.policy.rights("A.1", "c0") == "rac"
        status = await world.ask("status")
        assert status["policy"] == {"applied": world.guard.policy.version, "differs": False}
        assert not [alarm for alarm in status["alarms"] if "policy" in alarm]

    started(tmp_path, body)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "[[gust]]\n", "10-all.toml:2: the table 'gust' is not known"),
        (HEAD + guest().replace("rac", "ra"), "10-all.toml:7: A can never use r on A.1"),
        ("", "10-all.toml:1: the file has no schema"),
    ],
)
def test_at_a_first_start_a_policy_that_is_refused_ends_it(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        started(tmp_path, None, text)
    assert words in caught.value.reason
    assert not (tmp_path / "var/lib/vecd/guard/policy.json").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.chmod(0o664), "others may write"),
        (lambda path: path.parent.chmod(0o777), "others may write"),
        (lambda path: path.parent.parent.chmod(0o775), "others may write"),
        (lambda path: path.rename(path.with_name("10-all.toml~")), "is not read"),
        (lambda path: (path.rename(path.parent.parent / "x"), path.symlink_to("../x")), "Too many levels of symbolic"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "no plain file"),
        (lambda path: (path.unlink(), path.mkdir()), "no plain file"),
        (lambda path: path.write_bytes(b"#" * (9 << 20)), "too large"),
    ],
)
def test_files_that_somebody_else_could_have_made_are_not_believed(tmp_path, spoil, words):
    with pytest.raises(ConfigError) as caught:
        started(tmp_path, None, prepare=lambda world: spoil(world.paths.policy_files / "10-all.toml"))
    assert words in f"{caught.value.message} {caught.value.reason}"


@pytest.mark.root
def test_files_of_another_user_are_not_believed(tmp_path):
    with pytest.raises(ConfigError) as caught:
        started(tmp_path, None, prepare=lambda world: os.chown(world.paths.policy_files / "10-all.toml", 12345, 0))
    assert "belongs to uid 12345" in caught.value.message


def test_a_restart_with_guests_reads_no_file(tmp_path):
    """What was rescinded stays so, and what was edited is not applied by accident."""

    async def body(world):
        await world.card()
        await world.ask("guest.add", name="A", id=USERS["A"], cards=[])
        await world.ask("access.rescind", subject="A.1", object="c0", attribute="a")
        version, before = world.guard.policy.version, cells(world)
        for text in (PLAIN, PLAIN + allow("A.1", "c1"), "this is [no policy"):
            write(world, text)
            await world.stop()
            await world.start()
            assert cells(world) == before == {("A", "A.1"): R | A | C, ("A.1", "c0"): R | C}
            assert world.guard.policy.version == version
            # The card comes back, and brings nothing with it.
            await world.card()
            assert cells(world) == before
            alarms = [one for one in (await world.ask("status"))["alarms"] if "policy" in one]
            assert len(alarms) == (text != PLAIN)
        write(world)
        (row,) = (await world.ask("policy.diff"))["requests"]
        assert (row["rule"], row["subject"], row["object"], row["attribute"]) == ("R9", "A.1", "c0", "a")

    started(tmp_path, body)


def test_a_start_without_guests_takes_the_files_as_they_are_now(tmp_path):
    """Also another number of levels: the cards come to exist anew."""

    async def body(world):
        await world.card()
        for text, levels in ((HEAD + "[model]\nlevels = 6\n", 6), (HEAD + "[[oops]]\n", 6), (PLAIN, 4)):
            write(world, text)
            await world.stop()
            await world.start()
            assert world.guard.book.state.levels.count == levels
            assert world.guard.book.register.levels == register.load(world.paths.policy).levels == levels
            assert register.load(world.paths.policy).policy == world.guard.policy.version
            card = await world.card()
            assert card.matrices.snapshot().levels == levels
            assert world.guard.book.state.level["c0"] == levels

    started(tmp_path, body)


def test_a_policy_that_is_taken_at_a_start_is_one_event_with_its_version(tmp_path):
    """Also one that only has another number of levels; a start that takes nothing new says nothing."""

    async def body(world):
        def told():
            said = [call.kwargs for call in logged.call_args_list if call.args[0] is events.POLICY_APPLIED]
            logged.reset_mock()
            return [(one["version"], one["what"]) for one in said]

        def taken(levels, guests, rights):
            what = f"at the start, {levels} levels, {guests} guests, {rights} rights"
            return [(world.guard.policy.version, what)]

        assert told() == taken(4, 1, 2)
        five = HEAD + "[model]\nlevels = 5\n"
        for text, wanted in ((PLAIN, None), (five, (5, 0, 0)), (HEAD + "[[oops]]\n", None), (PLAIN, (4, 1, 2))):
            write(world, text)
            await world.stop()
            await world.start()
            assert told() == (taken(*wanted) if wanted else [])
        await world.ask("guest.add", name="A", id=USERS["A"], cards=[])
        write(world, HEAD)
        await world.stop()
        await world.start()
        assert told() == []

    with mock.patch.object(log, "event") as logged:
        started(tmp_path, body)


def test_a_policy_that_is_lost_stops_the_start(tmp_path):
    async def body(world):
        await world.ask("guest.add", name="A", id=USERS["A"], cards=[])
        (kept,) = (world.paths.policy.parent / "applied").glob("*")
        whole = kept.read_text()
        for content in ("{}", whole.replace("rac", "ra"), whole[:-5], "[" * 100_000, whole + "\n"):
            kept.write_text(content)
            await world.stop()
            with pytest.raises(ConfigError) as caught:
                await world.start()
            assert str(kept) in caught.value.message and "the register names it" in caught.value.reason
        kept.write_text(whole)
        await world.start()

    started(tmp_path, body)


# ---- guests


@in_world
async def test_a_guest_gets_what_the_policy_gives_it(world):
    await world.card("c0"), await world.card("c1")
    text = HEAD + CARD + guest("A", ("1", "2", "db")) + allow("A.1", "c0") + allow("A.db", "c1")
    await applied(world, text)
    await world.ask("guest.add", name="A", id=USERS["A"], cards=[])
    three = {("A", f"A.{one}"): R | A | C for one in ("1", "2", "db")}
    assert cells(world) == three | {("A.1", "c0"): R | A | C, ("A.db", "c1"): R | A | C}
    assert (await world.ask("policy.diff"))["requests"] == []
    # Instances of one guest have columns of their own, and they are stored.
    stored = register.load(world.paths.policy)
    assert [one.index for one in stored.instances.values()] == [0, 1, 2]


@in_world
async def test_a_right_on_a_card_that_is_not_there_yet_comes_with_it(world):
    text = HEAD + CARD + guest() + allow("A.1", "c0") + allow("A.1", "c1")
    assert (await applied(world, text))["waiting"] == 3
    await world.ask("guest.add", name="A", id=USERS["A"], cards=[])
    assert cells(world) == {("A", "A.1"): R | A | C} and (await world.ask("policy.diff"))["waiting"] == 2
    await world.card("c0"), await world.card("c1")
    assert cells(world) == {("A", "A.1"): R | A | C, ("A.1", "c0"): R | A | C, ("A.1", "c1"): R | A | C}


@in_world
async def test_a_card_in_the_place_of_another_brings_nothing_back_that_was_rescinded(world):
    card = await world.card("c0")
    await applied(world)
    await world.ask("guest.add", name="A", id=USERS["A"], cards=["c0"])
    await world.ask("access.rescind", subject="A.1", object="c0", attribute="a")
    card.peer.close()
    await settled(lambda: world.guard.links["c0"].peer is None)
    other = await FakeCardOf(world, "c0", b"z" * 16)
    assert world.guard.book.register.cards["c0"].id == b"z" * 16 and other.answer["card"] == 0
    assert cells(world)["A.1", "c0"] == R | C


async def FakeCardOf(world, name, identity):
    from tests.unit.guard_world import FakeCard

    card = FakeCard(name)
    card.id = identity
    await card.come(world.paths)
    return await card.hello()


@in_world
async def test_a_guest_that_the_policy_names_is_added_within_it(world):
    await world.card("c0"), await world.card("c1")
    text = PLAIN.replace('name = "A"\n', f'name = "A"\nid = "{USERS["A"].hex()}"\n', 1)
    await applied(world, text)
    with pytest.raises(Denied) as caught:
        await world.ask("guest.add", name="A", id=USERS["A"], cards=["c1"])
    row = line_of(text, "[[guest]]")
    assert caught.value.rule == "policy" and f"10-all.toml:{row} and its rights do not give it" in caught.value.message
    with pytest.raises(Denied) as caught:
        await world.ask("guest.add", name="A", id=b"?" * 16, cards=["c0"])
    assert f"10-all.toml:{line_of(text, 'id =')}" in caught.value.message
    with pytest.raises(Malformed) as malformed:
        await world.ask("guest.add", name="B", id=USERS["B"], cards=[])
    assert "the policy does not name it" in malformed.value.reason
    await world.guest("A", "c0")
    # Whom the policy does not name is as ever.
    await world.guest("B", "c1")
    assert cells(world)["B.1", "c1"] == R | A | C


@in_world
async def test_a_closed_policy_lets_nobody_in_whom_it_does_not_name(world):
    await world.card()
    await world.guest("B")
    closed = PLAIN + "[model]\nclosed = true\n"
    with pytest.raises(Denied) as caught:
        await applied(world, closed)
    assert "guest B lives, and the policy is closed" in caught.value.reason
    assert "vecctl guest remove B" in caught.value.hint
    await world.ask("guest.remove", name="B")
    await world.ask("policy.apply")
    with pytest.raises(Denied) as caught:
        await world.guest("B")
    assert (
        caught.value.rule == "policy" and f"10-all.toml:{line_of(closed, 'closed =')} closes it" in caught.value.message
    )
    await world.guest("A")


@in_world
async def test_access_stays_within_the_policy_and_a_rescind_always_works(world):
    await world.card("c0"), await world.card("c1")
    await applied(world)
    await world.guest("A"), await world.guest("B", "c0", "c1")
    for subject, target, letter in (("A.1", "c1", "c"), ("A.1", "c0", "w"), ("A", "A.1", "w")):
        with pytest.raises(Denied) as caught:
            await world.ask("access.give", subject=subject, object=target, attribute=letter)
        assert caught.value.rule == "policy" and "10-all.toml:" in caught.value.message
        why = f"{subject} may not have {letter} on {target}"
        assert why in caught.value.message
        # And explain does not advise what would be refused.
        explained = await world.ask("access.explain", subject=subject, object=target, attribute=letter)
        assert not explained["allowed"] and any(note.startswith(why) for note in explained["notes"])
    right = {"subject": "A.1", "object": "c0", "attribute": "a"}
    assert (await world.ask("access.rescind", **right))["decision"] == "yes"
    assert [row["rule"] for row in (await world.ask("policy.diff"))["requests"]] == ["R9"]
    assert (await world.ask("access.give", **right))["decision"] == "yes"
    assert (await world.ask("policy.diff"))["requests"] == []
    # Of a guest that the policy does not name, everything is as ever.
    assert (await world.ask("access.give", subject="B.1", object="c1", attribute="w"))["decision"] == "yes"


# ---- apply


@in_world
async def test_apply_takes_and_gives_and_tells_each_request_with_its_row(world):
    card, broker = await world.card("c0"), await FakeBroker().come(world.paths)
    await world.card("c1")
    await applied(world, HEAD + CARD + guest() + allow("A.1", "c0"))
    await world.guest("A")
    index = await world.session(broker)
    card.keys, card.context = {index}, index
    card.turn(index, C | A, USING)
    text = write(world, HEAD + CARD + guest("A", ("1", "2")) + allow("A.1", "c1") + allow("A.2", "c0")).read_text()
    asked = await world.ask("policy.diff")
    before = everything(world)
    keys = ("rule", "subject", "object", "attribute", "decision")
    rows = [tuple(one[key] for key in keys) for one in asked["requests"]]
    assert rows == [
        *[("R10", "A.1", "c0", letter, "yes") for letter in "rac"],
        ("R7", "m", "A.2", "", "yes"),
        ("R5", "m", "A.2", "", "yes"),
        *[("R9", "A", "A.2", letter, "yes") for letter in "rac"],
        *[("R9", "A.1", "c1", letter, "yes") for letter in "rac"],
        *[("R9", "A.2", "c0", letter, "yes") for letter in "rac"],
    ]
    lines = {one["place"].rpartition(":")[2] for one in asked["requests"] if one["object"] == "c1"}
    assert lines == {str(line_of(text, "[[allow]]", 'subject = "A"'))}
    rehearsed = await world.ask("policy.apply", dry_run=True)
    assert rehearsed["dry_run"] and rehearsed["requests"] == asked["requests"]
    assert everything(world) == before and card.calls("instance.drop") == []
    answer = await world.ask("policy.apply")
    assert answer["possible"] and answer["counts"] == {"R10": 3, "R7": 1, "R5": 1, "R9": 9} and answer["notes"] == []
    # Drained and wiped, as access rescind does it.
    assert card.calls("instance.drop") == [{"instance": index}] and card.keys == set()
    assert card.word.status == FREE and not card.word.quiesced
    assert cells(world) == {
        ("A", "A.1"): R | A | C,
        ("A", "A.2"): R | A | C,
        ("A.1", "c1"): R | A | C,
        ("A.2", "c0"): R | A | C,
    }
    stored = register.load(world.paths.policy)
    assert stored.access["A.1", "c1"] == "rac" and stored.policy == answer["version"] == world.guard.policy.version
    assert (await world.ask("policy.diff"))["requests"] == []
    assert [path.stem for path in (world.paths.policy.parent / "applied").glob("*")] == [answer["version"]]


@in_world
async def test_a_guests_right_on_its_instance_goes_from_every_card(world):
    first, broker = await world.card("c0"), await FakeBroker().come(world.paths)
    second = await world.card("c1")
    await applied(world, HEAD + CARD + guest() + allow("A.1", "c0") + allow("A.1", "c1"))
    await world.guest("A", "c0", "c1")
    for name in ("c0", "c1"):
        index = await world.session(broker, "A", name)
    for card in (first, second):
        card.keys = {index}
        card.turn(index, C | A, USING)
    # Taken out of the files, it loses what the files gave it; it is a guest as ever, and may be given something.
    await applied(world, HEAD + CARD)
    assert cells(world) == {}
    for card in (first, second):
        assert card.calls("instance.drop") == [{"instance": index}] and card.word.owner is None
        assert card.word.status == FREE
    assert world.b("A", "A.1") == "" and world.guard.book.matrices.load("card_m", 0, index) == 0
    await world.ask("access.give", subject="A", object="A.1", attribute="c")


@in_world
async def test_a_part_of_a_right_is_taken_without_the_session(world):
    """w of the guest on its instance, and so what the card may take of the instance's; c and the keys stay."""
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await applied(world, HEAD + CARD + guest().replace("rac", "rwac") + allow("A.1", "c0", "rwac"))
    await world.guest("A")
    index = await world.session(broker)
    card.keys = {index}
    card.turn(index, C | A | W, CONTROL)
    await applied(world, HEAD + CARD + guest() + allow("A.1", "c0", "rwac"))
    assert card.calls("instance.rescind") == [{"instance": index, "attributes": W}]
    await world.ask("access.show")
    assert card.word.held == C | A and card.keys == {index} and world.b("A.1", "c0") == "ac"


@in_world
async def test_what_is_refused_changes_nothing(world):
    await world.card("c0"), await world.card("c1")
    await applied(world)
    await world.guest("A")
    before = everything(world)
    for text, kind, words in (
        (PLAIN + "[[oops]]\n", ConfigError, "the table 'oops' is not known"),
        (PLAIN.replace('"rac"', '"ra"'), Denied, "can never use"),
        (HEAD + "[model]\nlevels = 5\n", Denied, "the guard runs with 4 levels, and the policy has 5"),
        (PLAIN.replace('"A"\n', f'"A"\nid = "{"0f" * 16}"\n', 1), Denied, "has the id"),
        (HEAD + '[[card]]\nname = "A"\n', Denied, "A is a guest, not a card"),
        (PLAIN.replace("A", "c1").replace('[[card]]\nname = "c1"\n', ""), Denied, "c1 is a card, not a guest"),
    ):
        for more in ({}, {"dry_run": True}):
            with pytest.raises(kind) as caught:
                await applied(world, text, **more)
            assert words in caught.value.reason and "10-all.toml" in caught.value.message + caught.value.reason
            done, step = caught.value.hint.split("; ")[:2]
            assert done == "nothing was changed" and step not in caught.value.reason
            assert everything(world) == before
        asked = await world.ask("policy.diff")
        assert not asked["possible"] and words in asked["problems"][0]["message"]


@in_world
async def test_a_disk_that_takes_nothing_leaves_everything_as_it_was(world):
    await world.card("c0"), await world.card("c1")
    await applied(world)
    await world.guest("A")
    before = everything(world)
    write(world, HEAD + CARD + guest("A", ("1", "2")) + allow("A.1", "c1"))
    with no_room(world), pytest.raises(Failed):
        await world.ask("policy.apply")
    after = everything(world)
    # The files that were about to hold may lie there; nothing names them.
    assert after[:3] == before[:3] and after[4] is before[4] and set(after[3]) >= set(before[3])
    await world.ask("policy.apply")
    assert cells(world)["A.1", "c1"] == R | A | C


@in_world
async def test_a_change_of_policy_is_one_event_with_its_version_and_a_refusal_is_one(world):
    await world.card("c0"), await world.card("c1")
    await applied(world)
    await world.guest("A")
    with mock.patch.object(log, "event") as logged:
        answer = await applied(world, HEAD + CARD + guest() + allow("A.1", "c1"))
        await applied(world, HEAD + CARD, dry_run=True)
        with pytest.raises(ConfigError):
            await applied(world, "[[")
        with pytest.raises(Denied):
            await world.ask("access.give", subject="A.1", object="c0", attribute="c")
    told = [(call.args[0], call.kwargs) for call in logged.call_args_list]
    (one,) = [fields for event, fields in told if event is events.POLICY_APPLIED]
    assert one["version"] == answer["version"] == world.guard.policy.version and "6 requests" in one["what"]
    refused = [fields["reason"] for event, fields in told if event is events.POLICY_DENIED]
    assert ["10-all.toml:1: " in refused[0], "A.1 may not have c on c0" in refused[1]] == [True, True]
    assert events.POLICY_APPLIED.priority == events.POLICY_DENIED.priority == events.NOTICE


# Where a guard may be killed in the middle of an apply, and whether the change holds at the next start.
POINTS = {
    "before the files are kept": (kept, "keep", False),
    "before the disk has it": (Store, "commit", False),
    "before it is published": (Book, "_publish", True),
    "before old files are forgotten": (kept, "forget_others", True),
    "before a card is told": (policy, "_drained", True),
}


@pytest.mark.parametrize("where", POINTS)
def test_a_guard_that_is_killed_in_an_apply_has_all_of_it_or_nothing(tmp_path, where):
    module, name, holds = POINTS[where]

    @in_world
    async def body(world):
        await world.card("c0"), await world.card("c1")
        first = await applied(world, PLAIN)
        await world.guest("A")
        before = cells(world)
        write(world, HEAD + CARD + guest("A", ("1", "2")) + allow("A.1", "c1"))
        second = (await world.ask("policy.diff"))["version"]
        with mock.patch.object(module, name, side_effect=Exception("killed")), pytest.raises(VecError):
            await world.ask("policy.apply")
        await world.stop()
        await world.start()
        wanted = {("A", "A.1"): R | A | C, ("A", "A.2"): R | A | C, ("A.1", "c1"): R | A | C}
        assert cells(world) == (wanted if holds else before)
        assert world.guard.policy.version == (second if holds else first["version"])
        # And nothing is left of the other one.
        left = [path.stem for path in (world.paths.policy.parent / "applied").glob("*")]
        assert left == [world.guard.policy.version]

    body(tmp_path)


@in_world
async def test_an_empty_folder_is_no_policy(world):
    with pytest.raises(ConfigError) as caught:
        await world.ask("policy.apply")
    assert caught.value.reason == f"{world.paths.policy_files}: there is no policy file"
    await applied(world)
    (world.paths.policy_files / "10-all.toml").unlink()
    with pytest.raises(ConfigError):
        await world.ask("policy.apply")
    assert (await world.ask("status"))["policy"]["differs"]


@in_world
async def test_a_card_that_does_not_answer_keeps_no_right_alive(world):
    """The right is gone in M and in the word; the answer says what else had to happen."""
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await applied(world)
    await world.guest("A")
    await world.session(broker)
    card.hangs = {"instance.drop"}
    answer = await applied(world, HEAD + CARD + guest())
    assert any("c0" in note for note in answer["notes"])
    assert cells(world) == {("A", "A.1"): R | A | C} and world.b("A.1", "c0") == ""


@in_world
async def test_two_applies_at_once_are_one_after_the_other(world):
    await world.card("c0"), await world.card("c1")
    await applied(world)
    await world.guest("A")
    write(world, HEAD + CARD + guest() + allow("A.1", "c1"))
    answers = await asyncio.gather(*(world.ask("policy.apply") for _ in range(3)), world.ask("policy.diff"))
    assert sorted(sum(one["counts"].values()) for one in answers[:3]) == [0, 0, 6]
    assert cells(world)["A.1", "c1"] == R | A | C


@in_world
async def test_an_answer_has_room_for_any_policy(world):
    """What does not fit is counted: a packet between two processes has 192 KiB."""
    await world.card("c0")
    names = [f"{'g' * 28}{n}" for n in range(100, 400)]
    rows = "".join(f'[[guest]]\nname = "{one}"\n' for one in names)
    await world.guest("A")
    for text in (HEAD + rows, HEAD + "".join(f'"{chr(0x1F600) * 60}{n}" = 1\n' for n in range(500))):
        write(world, text)
        asked = await world.ask("policy.diff")
        assert len(asked["problems"]) + asked["left_out"] in (300, 500) and asked["left_out"] > 0
        with pytest.raises(ConfigError):
            await world.ask("policy.apply")
    many = "".join(guest("A", [f"{'i' * 20}{n}" for n in range(400)]))
    write(world, HEAD + many)
    asked = await world.ask("policy.diff")
    assert len(asked["requests"]) + asked["left_out"] == 400 * 5 + 6 and asked["counts"]["R7"] == 400


def test_weights_that_make_too_long_a_round_are_refused_with_their_row(tmp_path):
    text = HEAD + CARD + guest("A", ("1", "2")).replace('.2"\n', '.2"\nweight = 100\n', 1) + allow("A.*", "c0")

    async def body(world):
        link = world.guard.link("c0")
        link.share, link.slot_us = "strict", 2_000_000 // 101
        assert (await world.ask("policy.diff"))["possible"]
        link.slot_us += 1
        with pytest.raises(Denied) as caught:
            await world.ask("policy.apply")
        row = line_of(text, "[[allow]]", 'rights = "rac"')
        assert f"10-all.toml:{row}: card c0 has fixed turns, and 101 slots of" in caught.value.reason
        header = Path(__file__).parents[2] / "cext/include/vec/pump.h"
        assert f"VEC_ROUND_US_MAX = {policy.ROUND_US_MAX}," in header.read_text()

    started(tmp_path, body, text)
