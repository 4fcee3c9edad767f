"""The state map that the rules have is the one that was specified: no transition more, and none less."""

from tests.model.state_map import derived, figure

# (status, slot owner) and event -> what may follow. j is an instance that did not own the slot before.
SPECIFIED = {
    ("free", "R1 c"): {"control, none"},
    ("control, none", "R12 to j"): {"control, j"},
    ("control, none", "R12 to nobody, map empty"): {"free"},
    ("control, none", "last R6 c or R10 c, clean"): {"free"},
    ("control, i", "R11 up"): {"using, i"},
    ("control, i", "R12 to j"): {"control, j"},
    ("control, i", "R12 to nobody"): {"control, none"},
    ("control, i", "R6 c or R10 c of i"): {"control, none"},
    ("control, i", "last R6 c or R10 c, clean"): {"free"},
    ("using, i", "R11 down"): {"control, i"},
    ("using, i", "R12 to i"): {"control, i"},
    ("using, i", "R12 to j"): {"control, j"},
    ("using, i", "R12 to nobody"): {"control, none"},
    ("using, i", "R6 c or R10 c of i"): {"using, none"},
    ("using, i", "last R6 c or R10 c, clean"): {"free"},
    ("using, none", "R12 to j"): {"control, j"},
    ("using, none", "R12 to nobody"): {"control, none"},
    ("using, none", "R12 to nobody, map empty"): {"free"},
    ("using, none", "last R6 c or R10 c, clean"): {"free"},
}

# What the figure calls them; whose slot it is does not make another place.
PLACES = {
    "free": "free",
    "control, none": "idle",
    "control, i": "owned",
    "control, j": "owned",
    "using, i": "using",
    "using, none": "draining",
}


def test_the_state_map_of_a_card_is_what_is_reachable_no_more_and_no_less():
    found = {}
    for source, event, target in derived():
        found.setdefault((source, event), set()).add(target)
    assert found == SPECIFIED


def test_the_figure_has_an_arrow_for_every_row_and_one_between_two_places():
    arrows = [line.strip() for line in figure().splitlines() if "-->" in line]
    assert arrows[:2] == ["[*] --> free: R7", "free --> [*]: R8"]
    drawn = {}
    for line in arrows[2:]:
        places, _, events = line.partition(": ")
        assert places not in drawn
        drawn[places] = set(events.split("<br/>"))
    rows = {}
    for source, event, target in derived():
        rows.setdefault(f"{PLACES[source]} --> {PLACES[target]}", set()).add(event)
    assert drawn == rows
