"""What the guard decides: guests, sessions, rights, and why; by the rules, in the matrices, and in the register."""

import socket

import pytest

from tests.unit.guard_world import CARDS, USERS, FakeBroker, FakeCard, in_world, no_room, settled
from vecd.base.errors import Busy, Denied, Exists, Failed, Malformed, ProtocolRefused, Unknown
from vecd.services.guard_parts import cards, register
from vecd.shm.layout import CONTROL, FREE, USING

R, W, A, C = 1, 2, 4, 8


@in_world
async def test_a_guest_gets_its_rights_and_a_socket_of_its_own(world):
    await world.card()
    answer = await world.guest("A")
    snapshot = world.guard.book.matrices
    assert snapshot.load("user_m", 0) == R | A | C and snapshot.load("user_b", 0) == 0
    assert snapshot.load("card_m", 0, 0) == R | A | C and snapshot.load("card_b", 0, 0) == 0
    path = world.paths.guest("A")
    assert answer["socket"] == str(path) and path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as guest:
        # It waits in the backlog: the broker is not here yet.
        guest.connect(str(path))
    stored = register.load(world.paths.policy)
    assert stored.access == {("A", "A.1"): "rac", ("A.1", "c0"): "rac"}
    assert stored.instances["A.1"].id == answer["instance"]


@in_world
async def test_a_guest_gets_the_card_that_its_token_is_for_or_is_not_added(world):
    await world.card("c0"), await world.card("c1")
    for pinned, why in ((CARDS["c1"], "pinned to card c1"), (bytes(16), "no card has the id")):
        with pytest.raises(Malformed, match="the card that its token is for") as caught:
            await world.ask("guest.add", name="A", id=USERS["A"], cards=["c0"], pinned=pinned)
        assert why in caught.value.reason and caught.value.hint
        assert not world.paths.guest("A").exists() and "A" not in world.guard.book.register.users
    await world.ask("guest.add", name="A", id=USERS["A"], cards=["c0", "c1"], pinned=CARDS["c1"])


@in_world
async def test_a_session_is_R1_R2_R4_and_R1_in_state_matrices_and_word(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    index = await world.session(broker)
    assert world.b("A", "A.1") == "rac" and world.b("A.1", "c0") == "c"
    assert world.guard.book.matrices.load("user_b", index) == R | A | C
    assert world.guard.book.matrices.load("card_b", 0, index) == C
    assert card.word.status == CONTROL and card.word.owner is None
    (told,) = card.calls("instance.connect")
    assert (told["instance"], told["user"], told["name"]) == (index, USERS["A"], "A.1")
    # A second session asks for what is held already: yes, and the card hears nothing new.
    assert await world.session(broker) == index
    assert len(card.calls("instance.connect")) == 1


@in_world
async def test_release_leaves_the_card_free_and_clean(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    index = await world.session(broker)
    card.keys, card.context = {index}, index
    card.turn(index, C | A, USING)
    instance = world.guard.book.register.instances["A.1"].id
    arguments = {"id_u": USERS["A"], "instance": instance, "card": CARDS["c0"]}
    before = card.word.generation
    assert (await broker.peer.call("guest.release", arguments))["notes"] == []
    assert [call for call, _ in card.asked][-2:] == ["instance.drop", "card.clean"]
    assert card.word.status == FREE and card.word.owner is None and not card.word.quiesced
    assert card.word.generation > before
    state = world.guard.book.state
    assert state.status_of("c0") == "free" and world.b("A.1", "c0") == ""
    with pytest.raises(Denied) as caught:
        await broker.peer.call("guest.release", arguments)
    assert caught.value.rule == "R6"


@in_world
async def test_the_release_of_one_that_left_nothing_behind_costs_one_call_of_the_card(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    await world.session(broker)
    before = len(card.asked)
    await world.ask("access.rescind", subject="A.1", object="c0", attribute="c")
    assert [call for call, _ in card.asked[before:]] == ["instance.drop"]
    assert card.word.status == FREE and world.guard.book.state.status_of("c0") == "free"


@in_world
async def test_the_release_of_one_sharer_leaves_the_other_its_turn(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A"), await world.guest("B")
    first, second = await world.session(broker, "A"), await world.session(broker, "B")
    card.keys = {first, second}
    card.turn(second, C | A, USING)
    await world.ask("access.rescind", subject="A.1", object="c0", attribute="c")
    assert card.word.owner == second and card.word.held == C | A and card.word.status == USING
    assert card.calls("card.clean") == [] and card.keys == {second}
    assert world.b("A.1", "c0") == "" and world.b("B.1", "c0") == "ac"


@in_world
async def test_who_gets_the_turn_as_soon_as_it_is_free_has_wiped_what_was_left(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A"), await world.guest("B")
    first, second = await world.session(broker, "A"), await world.session(broker, "B")
    card.keys, card.context = {first, second}, first
    card.turn(first, C | A, USING)

    def drop(arguments):
        card.keys.discard(arguments["instance"])
        before = card._card_residue({})
        # R12 to the other one, between this answer and the guard's next look.
        card.turn(second, C | A, USING)
        card.write(quiesced=True)
        card.context = second
        return before

    card._instance_drop = drop
    answer = await world.ask("access.rescind", subject="A.1", object="c0", attribute="c")
    assert answer["notes"] == [] and not world.guard.links["c0"].out
    assert card.word.owner == second and card.calls("card.clean") == []
    assert card.asked[-1] == ("card.residue", {})


@pytest.mark.parametrize("letter", ["a", "r", "c"])
def test_a_session_without_a_right_of_the_user_is_refused_by_its_rule(tmp_path, letter):
    @in_world
    async def body(world):
        await world.card()
        broker = await FakeBroker().come(world.paths)
        await world.guest("A")
        await world.ask("access.rescind", subject="A", object="A.1", attribute=letter)
        with pytest.raises(Denied) as caught:
            await world.session(broker)
        assert caught.value.rule == {"c": "R1", "a": "R2", "r": "R4"}[letter]
        assert f"M[A][A.1] lacks {letter}" in caught.value.reason
        assert caught.value.hint == f"vecctl access give A A.1 {letter}"
        # A refusal changes nothing.
        assert world.b("A", "A.1") == ""

    body(tmp_path)


@in_world
async def test_a_session_on_a_card_that_was_not_given_is_refused_by_R1(world):
    await world.card("c0"), await world.card("c1")
    broker = await FakeBroker().come(world.paths)
    await world.guest("A", "c0")
    with pytest.raises(Denied) as caught:
        await world.session(broker, "A", "c1")
    assert (caught.value.rule, caught.value.property) == ("R1", "discretionary")
    assert world.b("A", "A.1") == ""


@in_world
async def test_another_users_instance_is_refused_by_R1(world):
    await world.card()
    broker = await FakeBroker().come(world.paths)
    await world.guest("A"), await world.guest("B")
    foreign = world.guard.book.register.instances["A.1"].id
    with pytest.raises(Denied) as caught:
        await broker.peer.call("guest.connect", {"id_u": USERS["B"], "instance": foreign, "card": CARDS["c0"]})
    assert caught.value.rule == "R1" and "belongs to user A" in caught.value.reason
    with pytest.raises(Denied):
        await broker.peer.call("guest.release", {"id_u": USERS["B"], "instance": foreign, "card": CARDS["c0"]})
    with pytest.raises(Unknown):
        await broker.peer.call("guest.connect", {"id_u": b"?" * 16, "instance": foreign, "card": CARDS["c0"]})


@in_world
async def test_R9_and_R10_change_M_on_disk_and_in_the_matrices(world):
    await world.card()
    await world.guest("A")
    answer = await world.ask("access.give", subject="A.1", object="c0", attribute="w")
    assert answer["rule"] == "R9" and world.guard.book.matrices.load("card_m", 0, 0) == R | A | C
    await world.ask("access.give", subject="A", object="A.1", attribute="w")
    # Data go through the instance: w on the card is there once the user has it on the instance.
    assert world.guard.book.matrices.load("card_m", 0, 0) == R | W | A | C
    assert register.load(world.paths.policy).access["A.1", "c0"] == "rwac"
    await world.ask("access.rescind", subject="A.1", object="c0", attribute="a")
    assert world.guard.book.matrices.load("card_m", 0, 0) == R | W | C
    assert register.load(world.paths.policy).access["A.1", "c0"] == "rwc"


@pytest.mark.parametrize(
    ("subject", "target", "attribute", "kind", "text"),
    [
        ("A", "c0", "r", Denied, "cannot have rights on"),
        ("B", "A.1", "r", Denied, "belongs to user A"),
        ("A.1", "c0", "e", Denied, "e* is the manager's"),
        ("A.1", "c0", "x", Denied, "not an attribute"),
        ("A.1", "c7", "r", Unknown, "nothing called 'c7'"),
        ("Z", "c0", "r", Unknown, "nothing called 'Z'"),
        ("m", "c0", "e", Denied, "e* is the manager's"),
        ("A", "m", "c", Denied, "not for"),
    ],
)
def test_rights_that_cannot_be_are_not_given(tmp_path, subject, target, attribute, kind, text):
    @in_world
    async def body(world):
        await world.card()
        await world.guest("A"), await world.guest("B")
        before = world.paths.policy.read_text()
        for call in ("access.give", "access.rescind"):
            with pytest.raises(kind, match=text.replace("*", r"\*")):
                await world.ask(call, subject=subject, object=target, attribute=attribute)
        assert world.paths.policy.read_text() == before

    body(tmp_path)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"name": "A"}, Exists),
        ({"name": "c0"}, Exists),
        ({"name": "m"}, Exists),
        ({"name": "A.1"}, Malformed),
        ({"name": "../A"}, Malformed),
        ({"name": ""}, Malformed),
        ({"id": USERS["A"]}, Exists),
        ({"id": b"short"}, Malformed),
        ({"cards": ["c7"]}, Unknown),
        ({"uid": -2}, Malformed),
        ({"cid": 2}, Malformed),
    ],
)
def test_a_guest_that_cannot_be_is_not_added(tmp_path, changed, kind):
    @in_world
    async def body(world):
        await world.card()
        await world.guest("A")
        before, sockets = world.paths.policy.read_text(), sorted(world.paths.guests.iterdir())
        with pytest.raises(kind):
            await world.ask("guest.add", **{"name": "B", "id": USERS["B"], "cards": ["c0"]} | changed)
        assert world.paths.policy.read_text() == before
        assert sorted(world.paths.guests.iterdir()) == sockets
        assert set(world.guard.book.state.world) == {"m", "c0", "A", "A.1"}

    body(tmp_path)


@in_world
async def test_a_guest_that_cannot_be_stored_is_not_added(world):
    await world.card()
    with no_room(world), pytest.raises(Failed, match="cannot be written"):
        await world.guest("A")
    assert world.guard.book.register.users == {} and not world.paths.guest("A").exists()
    assert world.guard.book.matrices.load("user_m", 0) == 0
    await world.guest("A")
    assert set(register.load(world.paths.policy).users) == {"A"}


@in_world
async def test_guest_remove_releases_everything_and_forgets_the_guest(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A"), await world.guest("B")
    index = await world.session(broker)
    card.keys = {index}
    card.turn(index, C | A, USING)
    assert set(broker.listeners) == {"A", "B"}
    answer = await world.ask("guest.remove", name="A")
    assert answer["name"] == "A" and answer["notes"] == []
    assert set(broker.listeners) == {"B"} and not world.paths.guest("A").exists()
    assert card.word.status == FREE and card.keys == set()
    assert set(world.guard.book.state.world) == {"m", "c0", "B", "B.1"}
    assert world.guard.book.matrices.load("card_m", 0, index) == 0
    stored = register.load(world.paths.policy)
    assert set(stored.users) == {"B"} and set(stored.instances) == {"B.1"}
    with pytest.raises(Unknown):
        await world.ask("guest.remove", name="A")
    # Its column is not the next to be used.
    await world.guest("A")
    assert world.guard.book.register.instances["A.1"].index not in (index, 1)


@in_world
async def test_a_card_needs_a_certificate(world):
    with pytest.raises(ProtocolRefused) as caught:
        await world.card(certificate=b"forged")
    assert caught.value.rule == "registration 4"
    assert world.guard.book.register.cards == {}


@in_world
async def test_a_card_of_another_id_is_another_card(world):
    card = await world.card()
    await world.guest("A")
    card.peer.close()
    await settled(lambda: world.guard.links["c0"].peer is None)
    other = FakeCard("c0")
    other.id = b"n" * 16
    await (await other.come(world.paths)).hello()
    assert world.guard.book.register.cards["c0"].id == b"n" * 16
    # The rights were for the card that was.
    assert register.load(world.paths.policy).access == {("A", "A.1"): "rac"}


@in_world
async def test_one_process_a_card(world):
    await world.card()
    with pytest.raises(Busy, match="connected already"):
        await world.card()


@in_world
async def test_listeners_and_relays_go_to_every_new_broker(world):
    card = await world.card()
    await world.guest("A")
    for _ in range(2):
        broker = await FakeBroker().come(world.paths)
        await settled(lambda broker=broker: broker.cards == {"c0": CARDS["c0"]})
        assert broker.listeners == {"A": (USERS["A"], "unix")}
        broker.peer.close()
        await settled(lambda: world.guard.broker.peer is None)
    assert card.relays == 2


@in_world
async def test_a_card_that_has_not_registered_gets_a_relay_to_register_through(world):
    broker = await FakeBroker().come(world.paths)
    card = await FakeCard("c0").come(world.paths)
    await settled(lambda: card.relays == 1)
    await settled(lambda: broker.cards == {"c0": bytes(16)})
    await card.hello()
    await settled(lambda: broker.cards == {"c0": CARDS["c0"]})


@in_world
async def test_a_card_with_the_name_of_a_guest_is_refused_and_its_end_is_taken_in(world):
    await world.card("c0")
    await world.ask("guest.add", name="c1", id=b"g" * 16, cards=["c0"])
    card = await FakeCard("c1").come(world.paths)
    with pytest.raises(Exists, match="name of a guest"):
        await card.hello()
    link, peer = world.guard.link("c1"), world.guard.link("c1").peer
    await cards.left(world.guard, link, peer)
    assert link.peer is None and peer.closed.is_set()


@in_world
async def test_a_socket_that_is_nobody_s_goes_with_the_next_start(world):
    await world.card()
    await world.guest("A")
    await world.stop()
    left = world.paths.guest("Z")
    left.touch()
    await world.start()
    assert not left.exists() and world.paths.guest("A").is_socket()


@in_world
async def test_who_says_which_cards_an_instance_may_reach(world):
    await world.card("c0"), await world.card("c1")
    broker = await FakeBroker().come(world.paths)
    await world.guest("A", "c0", "c1")
    who = await broker.peer.call("guest.who", {"name": "A"})
    assert who["id"] == USERS["A"] and [one["name"] for one in who["instances"][0]["cards"]] == ["c0", "c1"]
    assert all(one["holds"] for one in who["instances"][0]["cards"])
    await world.ask("access.rescind", subject="A.1", object="c0", attribute="c")
    who = await broker.peer.call("guest.who", {"name": "A"})
    assert [one["name"] for one in who["instances"][0]["cards"]] == ["c1"]


@pytest.mark.parametrize(
    ("rescinded", "asked", "rule", "cell"),
    [
        (("A.1", "c0", "a"), ("A.1", "c0", "a"), "R2", "M[A.1][c0]"),
        (("A.1", "c0", "r"), ("A.1", "c0", "r"), "R4", "M[A.1][c0]"),
        (("A.1", "c0", "c"), ("A.1", "c0", "c"), "R1", "M[A.1][c0]"),
        (("A", "A.1", "c"), ("A", "A.1", "c"), "R1", "M[A][A.1]"),
        (("A", "A.1", "a"), ("A", "A.1", "a"), "R2", "M[A][A.1]"),
        # The card may not do for the instance what its user may not do there.
        (("A", "A.1", "a"), ("A.1", "c0", "a"), "R2", "M[A][A.1]"),
        (("A", "A.1", "r"), ("A.1", "c0", "r"), "R4", "M[A][A.1]"),
    ],
)
def test_explain_names_the_rule_and_the_cell_of_a_refusal(tmp_path, rescinded, asked, rule, cell):
    @in_world
    async def body(world):
        card, broker = await world.card(), await FakeBroker().come(world.paths)
        await world.guest("A")
        await world.session(broker)
        card.turn(0)
        keys = ("subject", "object", "attribute")
        before = await world.ask("access.explain", **dict(zip(keys, asked, strict=True)))
        assert before["allowed"], before
        await world.ask("access.rescind", **dict(zip(keys, rescinded, strict=True)))
        after = await world.ask("access.explain", **dict(zip(keys, asked, strict=True)))
        assert (after["allowed"], after["decision"], after["rule"]) == (False, "no", rule)
        assert cell in after["reason"] and any(cell in one["text"] for one in after["reads"])
        assert after["next"].startswith("vecctl access give")

    body(tmp_path)


@in_world
async def test_explain_of_an_operation_names_what_it_lacks(world):
    _, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    await world.session(broker)
    question = {"subject": "A.1", "object": "c0", "attribute": "a", "operation": "encrypt"}
    assert (await world.ask("access.explain", **question))["allowed"]
    await world.ask("access.rescind", subject="A.1", object="c0", attribute="r")
    answer = await world.ask("access.explain", **question)
    assert (answer["allowed"], answer["rule"], answer["operation"]) == (False, "R4", "encrypt")


@in_world
async def test_explain_of_a_session_that_is_not_open_says_who_opens_it(world):
    await world.card()
    await world.guest("A")
    answer = await world.ask("access.explain", subject="A.1", object="c0", attribute="c")
    assert (answer["allowed"], answer["rule"], answer["property"]) == (False, "R1", "chain")
    with pytest.raises(Unknown):
        await world.ask("access.explain", subject="A.1", object="c7", attribute="c")
    with pytest.raises(Malformed, match="no operation 'fly'") as error:
        await world.ask("access.explain", subject="A.1", object="c0", attribute="a", operation="fly")
    assert "encrypt" in error.value.hint and "R12" in error.value.hint


@in_world
async def test_the_views_say_what_is(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    index = await world.session(broker)
    card.turn(index, C | A, USING, inflight=3)
    card.context, card.keys = index, {index}
    status = await world.ask("status")
    assert status["broker"]["connected"] and status["guests"] == 1
    assert status["alarms"] == ["card c1 has not registered"]
    (row,) = status["cards"]
    want = {"name": "c0", "status": "using", "level": 2, "owner": "A.1", "held": "ac", "inflight": 3}
    assert want.items() <= row.items() and row["instances"] == ["A.1"]
    full = (await world.ask("card.show", name="c0"))["card"]
    assert full["residue"] == {"context": "A.1", "output": None, "keys": ["A.1"]}
    assert full["counters"] == {"requests": 7}
    (guest,) = (await world.ask("guest.list"))["guests"]
    assert guest["name"] == "A" and guest["cards"] == ["c0"] and guest["connected"] == ["c0"]
    assert (await world.ask("guest.show", name="A"))["guest"] == guest
    cells = {(one["subject"], one["object"]): one for one in (await world.ask("access.show"))["cells"]}
    assert cells["A.1", "c0"]["allowed"] == "rac" and cells["A.1", "c0"]["held"] == "ac"
    assert cells["m", "c0"]["held"] == "e"
