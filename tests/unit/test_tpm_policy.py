"""The boot policy: what is a difference, and that everything else than a clean match is a no."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecd.base.errors import Integrity
from vecd.tpm import policy

A, B = "aa" * 32, "bb" * 32


def row(index=10, bank="sha256", value=f'"{A}"', what="the code"):
    return f'[[pcr]]\nindex = {index}\nbank = "{bank}"\nvalue = {value}\nwhat = "{what}"\n'


def parsed(text):
    return policy.parse({"10-a.toml": text.encode()})


def values(**given):
    return {("sha256", int(name[1:])): bytes.fromhex(text) for name, text in given.items()}


def test_the_recorded_values_are_accepted():
    p = parsed(row(10) + row(14, value=f'["{A}", "{B}"]'))
    assert policy.compare(p, values(p10=A, p14=B)) == []
    policy.require(p, values(p10=A, p14=A, p3=B))


def test_every_difference_is_listed_with_what_to_do():
    p = parsed(row(3) + row(10) + row(14))
    differences = policy.compare(p, values(p3=A, p10=B))
    assert [d.index for d in differences] == [10, 14]
    changed, missing = differences
    assert (changed.expected, changed.found, changed.what, changed.file) == ((A,), B, "the code", "10-a.toml")
    assert "10-a.toml" in changed.next_step
    assert missing.found is None and "sha256 bank" in missing.next_step
    with pytest.raises(Integrity) as e:
        policy.require(p, values(p3=A, p10=B))
    for word in ("PCR 10", "PCR 14", A, B, "the code", "no value"):
        assert word in str(e.value)


def test_another_bank_is_another_register():
    p = parsed(row(10, bank="sha384", value=f'"{"aa" * 48}"'))
    assert [d.found for d in policy.compare(p, values(p10=A))] == [None]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "there is no boot policy"),
        ("pcr = []", "there is no boot policy"),
        ("pcr = [1]", "not a table"),
        ("[pcr]\nindex = 1", "[[pcr]]"),
        ("[[prc]]", "'prc' is not known"),
        ("garbage", "cannot be read"),
        ("\0", "cannot be read"),
        (row() + "color = 1", "'color' is not known"),
        (row().replace("index = 10\n", ""), "index is missing"),
        (row().replace('what = "the code"\n', ""), "what is missing"),
        (row(index=24), "index must be"),
        (row(index=-1), "index must be"),
        (row(index="true"), "index must be"),
        (row(bank="sha1"), "bank must be"),
        (row(value="[]"), "no value is allowed for PCR 10"),
        (row(value='""'), "64 hex digits"),
        (row(value=f'"{A}00"'), "64 hex digits"),
        (row(value=f'"{"zz" * 32}"'), "64 hex digits"),
        (row(value=f'" {A[1:]}"'), "64 hex digits"),
        (row(value="[1]"), "64 hex digits"),
        (row(what=" "), "what must say"),
        (row() + row(), "stands in 10-a.toml, too"),
    ],
)
def test_a_policy_that_is_not_clean_is_a_no(text, words):
    with pytest.raises(Integrity) as e:
        parsed(text)
    assert words in str(e.value)


def test_one_register_in_two_files_is_a_no():
    with pytest.raises(Integrity, match="stands in a.toml, too"):
        policy.parse({"a.toml": row().encode(), "b.toml": row().encode()})


def test_no_file_at_all_is_a_no():
    with pytest.raises(Integrity, match="there is no boot policy"):
        policy.parse({})


def test_the_version_changes_with_any_byte_and_any_name():
    versions = {
        policy.parse({name: text.encode()}).version
        for name in ("a.toml", "b.toml")
        for text in (row(), row(index=11), row() + "\n")
    }
    assert len(versions) == 6
    assert policy.parse({"a.toml": row().encode(), "b.toml": row(11).encode()}).version not in versions


def test_what_is_written_is_what_is_read():
    rows = {("sha256", n): (bytes([n]) * 32, f'what "{n}" \\ is') for n in range(3)}
    p = parsed(policy.write(rows, "heading"))
    assert policy.compare(p, {register: value for register, (value, _) in rows.items()}) == []
    assert [r.what for r in p.rows.values()] == [what for _, what in rows.values()]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_an_integrity_error(data):
    try:
        policy.parse({"x.toml": data})
    except Integrity:
        pass
