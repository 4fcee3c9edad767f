"""The life cycle of docs/model.md, line by line, every column."""

from tests.model import page
from tests.model.worlds import do, empty, refused
from vecd.ppm.properties import violations
from vecd.ppm.request import Request
from vecd.ppm.state import letters

LINES, PREEMPTION = (table[1:] for table in page.tables("Life cycle"))


def columns(state):
    """st, f, cur, b[a][k], b[b][k], ctx, out: as a line of the page has them, attributes as a set."""

    def held(instance):
        return set(letters(state.holds(instance, "k"))) if instance in state.live else set()

    return (
        state.status_of("k"),
        f"L{state.level['k']}",
        state.current.get("k"),
        held("a"),
        held("b"),
        state.context.get("k"),
        state.output.get("k"),
    )


def expected(row):
    st, f, cur, on_a, on_b, ctx, out = (None if cell == "-" else cell for cell in row[2:])
    return st, f, cur, set(on_a or ""), set(on_b or ""), ctx, out


def start():
    state = empty()
    do(state, Request("R7", "m", "k"))
    return state


def run(state, rows):
    for row in rows:
        for request in page.requests(row[1]):
            do(state, request)
            assert not violations(state), f"{row[0]}: {request}"
        assert columns(state) == expected(row), row[0]


def test_every_line_is_a_yes_and_secure_and_every_column_is_as_the_page_says():
    assert len(LINES) >= 18
    run(start(), LINES)


def test_revocation_in_using_leaves_the_card_draining_until_it_is_wiped():
    state = start()
    until = next(n for n, row in enumerate(LINES) if row[0].startswith("5"))
    run(state, LINES[:until])
    run(state, PREEMPTION)


def test_line_12_of_the_model_as_we_got_it_is_no_for_a_card_that_is_clean():
    state = start()
    until = next(n for n, row in enumerate(LINES) if row[0].startswith("12"))
    run(state, LINES[:until])
    do(state, page.request("R6 b k c"))
    assert state.status_of("k") == "free"
    assert refused(state, page.request("R12 m k -")).property == "status"


def test_line_12_of_the_model_as_we_got_it_is_a_yes_for_a_card_that_is_not_clean():
    state = start()
    until = next(n for n, row in enumerate(LINES) if row[0].startswith("11"))
    run(state, LINES[:until])
    do(state, page.request("R6 a k c"), page.request("R6 b k c"))
    assert (state.status_of("k"), state.output.get("k")) == ("control", "b")
    do(state, page.request("R12 m k -"))
    assert state.status_of("k") == "free"
