"""vecd/services/broker_parts/limits.py: strangers that say nothing keep nobody out."""

import hypothesis
from hypothesis import strategies as st

from vecd.services.broker_parts.limits import Knock, Limits


def test_a_newcomer_beyond_the_limit_of_its_peer_takes_the_place_of_the_oldest_silent_one():
    limits = Limits(per_peer=2, in_all=10)
    first, second = limits.admit("A")[0], limits.admit("A")[0]
    newcomer, evicted = limits.admit("A")
    assert newcomer is not None and evicted is first
    assert limits.admit("A")[1] is second


def test_whoever_has_spoken_is_not_evicted():
    limits = Limits(per_peer=2, in_all=10)
    first, second = limits.admit("A")[0], limits.admit("A")[0]
    first.spoke = True
    assert limits.admit("A")[1] is second


def test_a_newcomer_is_refused_where_everybody_waiting_has_spoken():
    limits = Limits(per_peer=1, in_all=10)
    limits.admit("A")[0].spoke = True
    assert limits.admit("A") == (None, None)


def test_one_peer_at_its_limit_does_not_matter_to_another():
    limits = Limits(per_peer=2, in_all=100)
    for _ in range(600):
        limits.admit("A")
    newcomer, evicted = limits.admit("B")
    assert newcomer is not None and evicted is None
    assert limits.waiting == 3


def test_at_the_limit_of_all_the_peer_with_most_silent_ones_makes_room():
    limits = Limits(per_peer=8, in_all=4)
    b = limits.admit("B")[0]
    a = [limits.admit("A")[0] for _ in range(3)]
    newcomer, evicted = limits.admit("C")
    assert newcomer is not None and evicted is a[0] and b is not None


def test_who_proved_itself_counts_no_longer_as_waiting():
    limits = Limits(per_peer=1, in_all=1)
    assert limits.proved(limits.admit("A")[0])
    assert limits.admit("A")[1] is None


def test_proven_connections_have_a_limit_too():
    limits = Limits(per_peer=8, in_all=8, proven_per_peer=1)
    first, second = limits.admit("A")[0], limits.admit("A")[0]
    assert limits.proved(first) and not limits.proved(second)
    limits.gone(first)
    assert limits.proved(second)


@hypothesis.given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["come", "speak", "prove", "go"])), max_size=60)
)
def test_no_limit_is_ever_exceeded(story):
    limits = Limits(per_peer=2, in_all=4, proven_per_peer=2)
    there: list[Knock] = []
    for peer, what in story:
        mine = [knock for knock in there if knock.peer == peer]
        if what == "come":
            knock, evicted = limits.admit(peer)
            there = [one for one in there if one is not evicted] + ([knock] if knock else [])
        elif mine and what == "speak":
            mine[0].spoke = True
        elif mine and what == "prove":
            limits.proved(mine[0])
        elif mine:
            there.remove(mine[0])
            limits.gone(mine[0])
        waiting = [knock for knock in there if not knock.proven]
        assert limits.waiting == len(waiting) <= 4
        for name in "ABC":
            assert sum(knock.peer == name for knock in waiting) <= 2
            assert sum(knock.peer == name and knock.proven for knock in there) <= 2
