"""How many wrong keys one address may try."""

from claude_pattern.api.attempts import Attempts
from tests.unit.api_fakes import Clock


def limiter(clock: Clock, **options: int) -> Attempts:
    return Attempts(limit=3, window_s=60, clock=clock, **options)


def test_an_address_waits_once_it_has_used_up_its_attempts_and_only_as_long_as_needed() -> None:
    clock = Clock(0)
    attempts = limiter(clock)
    for moment in (0, 10, 20):
        clock.now = moment
        assert attempts.wait_s("192.0.2.1") == 0
        attempts.count("192.0.2.1")
    clock.now = 25

    assert attempts.wait_s("192.0.2.1") == 35

    clock.now = 60
    assert attempts.wait_s("192.0.2.1") == 0


def test_other_addresses_are_not_held_up() -> None:
    attempts = limiter(Clock())
    for _ in range(5):
        attempts.count("192.0.2.1")

    assert attempts.wait_s("192.0.2.1") == 60
    assert attempts.wait_s("192.0.2.2") == 0


def test_an_attempt_that_was_good_does_not_count() -> None:
    attempts = limiter(Clock())
    for _ in range(10):
        attempts.count("192.0.2.1")
        attempts.take_back("192.0.2.1")

    assert attempts.wait_s("192.0.2.1") == 0
    assert len(attempts) == 0
    attempts.take_back("192.0.2.9")
    assert len(attempts) == 0


def test_all_addresses_of_one_ipv6_network_count_together() -> None:
    attempts = limiter(Clock())
    for host in ("2001:db8::1", "2001:db8::2", "2001:db8::ffff%eth0"):
        attempts.count(host)

    assert attempts.wait_s("2001:db8::abcd") > 0
    assert attempts.wait_s("2001:db8:0:1::1") == 0


def test_ipv4_addresses_in_ipv6_form_count_one_by_one_and_as_themselves() -> None:
    attempts = limiter(Clock())
    for _ in range(3):
        attempts.count("::ffff:192.0.2.1")

    assert attempts.wait_s("192.0.2.1") > 0
    assert attempts.wait_s("::ffff:192.0.2.2") == 0


def test_memory_is_bounded_and_the_longest_silent_address_makes_room() -> None:
    attempts = limiter(Clock(), addresses=2)
    for address in ("a", "a", "a", "b", "a", "c"):
        attempts.count(address)

    assert len(attempts) == 2
    assert attempts.wait_s("a") > 0


def test_an_address_is_forgotten_when_its_attempts_are_old() -> None:
    clock = Clock(0)
    attempts = limiter(clock)
    attempts.count("a")
    clock.now = 61

    assert attempts.wait_s("a") == 0
    assert len(attempts) == 0
