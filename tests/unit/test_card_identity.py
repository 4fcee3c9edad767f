"""A card's identity on the disk: two files, of which one has the seeds and goes into the vault without a detour."""

import stat
from dataclasses import replace

import pytest

from vecd.base.errors import ConfigError, Failed
from vecd.protocol import suites
from vecd.services import enrolment
from vecd.services.card_parts import identity as card_identity

from .protocol_world import World


class Vault:
    """Handles, as a card has them; whoever still holds the bytes that were staged finds zeros."""

    def __init__(self):
        self.staged, self.wiped = {}, 0

    def stage(self, secret, *, readable=False):
        assert readable
        self.staged[handle := len(self.staged) + 1] = bytes(secret)
        secret[:] = bytes(len(secret))
        return handle

    def peek(self, handle):
        return memoryview(self.staged[handle])

    def wipe_stack(self):
        self.wiped += 1

    def drop(self, handle):
        del self.staged[handle]


@pytest.fixture
def card(tmp_path):
    """(identity of a card whose seeds are lent, its seeds, the directory), stored."""
    made = World(2).enrol_card("c0")
    seeds = made.keys.sign_seed + made.keys.seal_seed[1:]
    source = card_identity.ArenaSeeds(Vault(), bytearray(seeds))
    identity = replace(made, keys=suites.LentKeys(source))
    (tmp_path / "token").write_text("used")
    card_identity.store(tmp_path / "c0", identity, source, tmp_path / "token")
    return identity, seeds, tmp_path / "c0"


def test_what_was_stored_is_read_into_the_vault_alone(card, tmp_path):
    identity, seeds, directory = card
    vault = Vault()
    again = card_identity.stored(directory, vault)
    assert again == identity and list(vault.staged.values()) == [seeds]
    assert suites.verified(identity.keys.sign_key, "x", b"", suites.sign(again.keys, "x", b"")) and vault.wiped
    assert not (tmp_path / "token").exists()
    assert sorted(p.name for p in directory.iterdir()) == [enrolment.NAME, card_identity.NAME]
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = (directory / enrolment.NAME).read_text()
    assert seeds[1:33].hex() not in text and seeds[33:].hex() not in text


def test_without_an_identity_there_is_none_whatever_seeds_there_are(card):
    _, _, directory = card
    (directory / enrolment.NAME).unlink()
    vault = Vault()
    assert card_identity.stored(directory, vault) is None and not vault.staged


def test_a_bad_seeds_file_is_named_with_the_next_step_and_leaves_nothing_staged(card):
    _, seeds, directory = card
    path = directory / card_identity.NAME
    for content in (b"", b"\x09", seeds[:-1], seeds + b"x", bytes(suites.draw_seeds(2)), b"\x02" * 100_000):
        path.write_bytes(content)
        vault = Vault()
        with pytest.raises(ConfigError) as error:
            card_identity.stored(directory, vault)
        assert card_identity.NAME in str(error.value) and not vault.staged
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read"):
        card_identity.stored(directory, Vault())
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read") as error:
        card_identity.stored(directory, Vault())
    assert "enrol the card again" in error.value.hint


def test_a_disk_without_room_leaves_neither_half_a_file_nor_a_used_token_that_is_gone(card, tmp_path):
    identity, _, _ = card
    (tmp_path / "token").write_text("used")
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    source = card_identity.ArenaSeeds(Vault(), bytearray(suites.draw_seeds()))
    with pytest.raises(Failed, match="cannot be written"):
        card_identity.store(blocked, identity, source, tmp_path / "token")
    assert (tmp_path / "token").exists()
