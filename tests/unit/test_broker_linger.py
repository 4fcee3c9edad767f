"""broker_parts/linger.py: an instance without a connection lets go of its card after a while, not before."""

from vecd.services.broker_parts.linger import Linger

ONE, TWO, USER = b"i" * 16, b"j" * 16, b"u" * 16


def test_an_instance_without_a_connection_is_due_after_its_time():
    linger = Linger(30.0)
    linger.counted("c0", ONE, USER, 1, 0.0)
    linger.counted("c0", ONE, USER, 0, 10.0)
    assert linger.due(39.9) == []
    assert linger.due(40.0) == [("c0", ONE, USER)]


def test_an_instance_with_a_connection_is_never_due():
    linger = Linger(30.0)
    linger.counted("c0", ONE, USER, 2, 0.0)
    assert linger.due(1e9) == []


def test_an_instance_that_verified_and_never_attached_is_due_as_well():
    linger = Linger(30.0)
    linger.touched("c0", ONE, USER, 5.0)
    assert linger.due(35.0) == [("c0", ONE, USER)]


def test_a_verification_puts_the_release_off():
    linger = Linger(30.0)
    linger.counted("c0", ONE, USER, 0, 0.0)
    linger.touched("c0", ONE, USER, 29.0)
    assert linger.due(31.0) == []


def test_hearing_again_that_there_is_no_connection_does_not_put_it_off():
    linger = Linger(30.0)
    linger.counted("c0", ONE, USER, 0, 0.0)
    linger.counted("c0", ONE, USER, 0, 20.0)
    assert linger.due(30.0) == [("c0", ONE, USER)]


def test_what_was_released_or_lost_its_card_is_not_due():
    linger = Linger(1.0)
    for card, instance in (("c0", ONE), ("c0", TWO), ("c1", ONE)):
        linger.touched(card, instance, USER, 0.0)
    linger.forget("c0", ONE)
    assert not linger.knows("c0", ONE) and linger.knows("c1", ONE)
    assert linger.due(5.0) == [("c0", TWO, USER), ("c1", ONE, USER)]
    linger.forget("c0")
    assert linger.due(5.0) == [("c1", ONE, USER)]
