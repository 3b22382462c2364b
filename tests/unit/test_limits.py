"""Each decision at its exact boundary, and what holds for every sample."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_pattern.events import SessionStatus
from claude_pattern.process.limits import (
    Decision,
    EndDuration,
    EndIdle,
    GoIdle,
    Hung,
    KillForMemory,
    Limits,
    MemoryPoint,
    RestartForMemory,
    Sample,
    SampleSooner,
    Stalled,
    WarnDuration,
    decide,
)
from claude_pattern.settings import load

LIMITS = Limits(duration_s=1000, rss_mb=2000, idle_s=100, idle_grace_s=50)
ENDING = (EndDuration, EndIdle, RestartForMemory, KillForMemory, Hung)


def sample(**facts: Any) -> Sample:
    return Sample(**{"age_s": 10.0, "idle_for_s": 0.0, **facts})


def check(facts: dict[str, Any], *expected: Decision) -> None:
    assert decide(sample(**facts), LIMITS) == expected


def test_the_limits_are_the_operators_settings() -> None:
    settings = load(
        env_file=None, max_session_duration_seconds=60, max_session_rss_mb=512, session_idle_timeout_seconds=7
    )

    assert Limits.of(settings) == Limits(duration_s=60, rss_mb=512, idle_s=7, stall_s=13.5)


def test_nothing_is_done_about_a_healthy_session() -> None:
    check({})
    check({"busy": True, "turn_age_s": 1.0, "memory_mb": 300.0})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"age_s": 899.999}, ()),
        ({"age_s": 900}, (WarnDuration(100),)),
        ({"age_s": 900, "busy": True}, (WarnDuration(100),)),
        ({"age_s": 900, "warned": True}, ()),
        ({"age_s": 999.5}, (WarnDuration(0.5),)),
        ({"age_s": 1000}, (EndDuration(grace=False),)),
        ({"age_s": 1000, "status": "idle"}, (EndDuration(grace=False),)),
        ({"age_s": 1000, "waiting_for_person": True}, (EndDuration(grace=False),)),
        ({"age_s": 1000, "busy": True}, (EndDuration(grace=True),)),
        ({"age_s": 5000, "busy": True}, (EndDuration(grace=True),)),
        ({"age_s": 1000, "busy": True, "ending_since_s": 0.0}, ()),
        ({"age_s": 1030, "busy": True, "ending_since_s": 29.999}, ()),
        ({"age_s": 1030, "busy": True, "waiting_for_person": True, "ending_since_s": 29.999}, ()),
        ({"age_s": 1030, "busy": True, "ending_since_s": 30.0}, (EndDuration(grace=False),)),
        ({"age_s": 1001, "busy": False, "ending_since_s": 1.0}, (EndDuration(grace=False),)),
    ],
)
def test_a_session_is_warned_and_ended_with_a_grace_for_the_query_in_flight(
    facts: dict[str, Any], expected: tuple[Decision, ...]
) -> None:
    check(facts, *expected)


@pytest.mark.parametrize("trouble", [{"stopped": True}, {"memory_mb": 2000.1}])
def test_a_query_that_cannot_end_well_gets_no_grace(trouble: dict[str, Any]) -> None:
    check({"age_s": 1000, "busy": True, **trouble}, EndDuration(grace=False))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"idle_for_s": 99.999}, ()),
        ({"idle_for_s": 100}, (GoIdle(),)),
        ({"idle_for_s": 1000}, (GoIdle(),)),
        ({"idle_for_s": 1000, "busy": True}, ()),
        ({"idle_for_s": 1000, "waiting_for_person": True}, ()),
        ({"idle_for_s": 149.999, "status": "idle"}, ()),
        ({"idle_for_s": 150, "status": "idle"}, (EndIdle(),)),
        ({"idle_for_s": 150, "status": "idle", "busy": True}, ()),
        ({"idle_for_s": 150, "status": "idle", "waiting_for_person": True}, ()),
    ],
)
def test_a_session_nobody_uses_goes_idle_and_later_gives_up_its_process(
    facts: dict[str, Any], expected: tuple[Decision, ...]
) -> None:
    check(facts, *expected)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"memory_mb": None}, ()),
        ({"memory_mb": 2000.0}, ()),
        ({"memory_mb": 2000.1}, (RestartForMemory(2000.1),)),
        ({"memory_mb": 2000.1, "busy": True, "turn_age_s": 1.0}, (RestartForMemory(2000.1),)),
        ({"memory_mb": 2000.1, "status": "idle"}, (RestartForMemory(2000.1),)),
        ({"memory_mb": 4000.0}, (RestartForMemory(4000.0),)),
        ({"memory_mb": 4000.1}, (KillForMemory(4000.1),)),
        ({"memory_mb": 4000.1, "age_s": 1000}, (KillForMemory(4000.1),)),
        ({"memory_mb": 4000.1, "stopped": True}, (KillForMemory(4000.1),)),
        ({"memory_mb": 3000.0, "age_s": 1000}, (EndDuration(grace=False),)),
        ({"memory_mb": 3000.0, "stopped": True}, (Hung("stopped"),)),
    ],
)
def test_too_much_memory_means_a_restart_and_twice_too_much_a_kill(
    facts: dict[str, Any], expected: tuple[Decision, ...]
) -> None:
    check(facts, *expected)


@pytest.mark.parametrize(
    ("before", "memory_mb", "expected"),
    [
        ((), 1999.0, ()),
        ((MemoryPoint(30, 500),), 1000.0, ()),  # passes the limit in 60 s
        ((MemoryPoint(30, 0),), 1000.0, ()),  # in 30 s: the next regular look comes in time
        ((MemoryPoint(30, 500),), 1500.0, (SampleSooner(7.5),)),  # in 15 s
        ((MemoryPoint(1, 1900),), 1990.0, (SampleSooner(1),)),  # at once: not more often than once a second
        ((MemoryPoint(30, 1900),), 2000.0, (SampleSooner(1),)),
        ((MemoryPoint(60, 100), MemoryPoint(30, 1500)), 1500.0, ()),  # it has grown before, not now
        ((MemoryPoint(30, 1900),), 1500.0, ()),
        ((MemoryPoint(0, 500),), 1500.0, ()),
    ],
)
def test_steep_growth_makes_the_next_look_come_sooner(
    before: tuple[MemoryPoint, ...], memory_mb: float, expected: tuple[Decision, ...]
) -> None:
    check({"memory_mb": memory_mb, "memory_before": before}, *expected)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"stopped": True}, (Hung("stopped"),)),
        ({"stopped": True, "busy": True, "turn_age_s": 1.0}, (Hung("stopped"),)),
        ({"unanswered_s": 5.0, "sign_of_life_s": 10.0}, (Hung("silent"),)),
        ({"unanswered_s": 5.0, "sign_of_life_s": 10.0, "status": "idle"}, (Hung("silent"),)),
        ({"unanswered_s": 4.999, "sign_of_life_s": 100.0}, ()),
        ({"unanswered_s": 60.0, "sign_of_life_s": 9.999}, ()),  # it streams
        ({"unanswered_s": None, "sign_of_life_s": 100.0}, ()),  # nobody has asked
        ({"unanswered_s": 60.0, "sign_of_life_s": 60.0, "busy": True, "turn_age_s": 60.0}, (Hung("silent"),)),
        ({"stopped": True, "idle_for_s": 150, "status": "idle"}, (EndIdle(),)),
    ],
)
def test_a_process_that_is_stopped_or_does_not_answer_is_hung_unless_it_streams(
    facts: dict[str, Any], expected: tuple[Decision, ...]
) -> None:
    check(facts, *expected)


BUSY: dict[str, Any] = {"busy": True, "turn_age_s": 100.0, "last_event_s": 100.0}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({**BUSY, "last_event_s": 14.999}, ()),
        ({**BUSY, "last_event_s": 15.0}, (Stalled(15.0),)),
        ({**BUSY, "turn_age_s": 14.999}, ()),  # the last event was of an earlier turn
        ({**BUSY, "turn_age_s": 15.0}, (Stalled(15.0),)),
        ({**BUSY, "waiting_for_person": True}, ()),
        ({**BUSY, "silence_expected": True}, ()),
        ({**BUSY, "busy": False}, ()),
        ({**BUSY, "turn_age_s": None}, ()),
        ({**BUSY, "age_s": 950}, (WarnDuration(50), Stalled(100.0))),
    ],
)
def test_a_turn_that_is_silent_for_no_reason_is_stalled(facts: dict[str, Any], expected: tuple[Decision, ...]) -> None:
    check(facts, *expected)


@pytest.mark.parametrize("status", ["creating", "restarting", "terminated"])
def test_a_session_without_a_process_of_its_own_is_left_alone(status: SessionStatus) -> None:
    check({"status": status, "age_s": 9999, "idle_for_s": 9999, "memory_mb": 9999.0, "stopped": True})


def seconds(*edges: float) -> st.SearchStrategy[float]:
    """Any duration, and often one right at an edge."""
    near = [edge + step for edge in edges for step in (-0.001, 0, 0.001)]
    return st.one_of(st.sampled_from(near), st.floats(0, 10_000))


SAMPLES = st.builds(
    Sample,
    age_s=seconds(900, 1000, 1030),
    idle_for_s=seconds(100, 150),
    status=st.sampled_from(get_args(SessionStatus)),
    busy=st.booleans(),
    waiting_for_person=st.booleans(),
    silence_expected=st.booleans(),
    memory_mb=st.none() | seconds(2000, 4000),
    memory_before=st.lists(st.builds(MemoryPoint, seconds(1, 30), st.floats(0, 5000)), max_size=3).map(tuple),
    warned=st.booleans(),
    ending_since_s=st.none() | seconds(30),
    sign_of_life_s=seconds(10),
    unanswered_s=st.none() | seconds(5),
    stopped=st.booleans(),
    turn_age_s=st.none() | seconds(15),
    last_event_s=seconds(15),
)


def ends(decision: Decision) -> bool:
    return isinstance(decision, ENDING) and decision != EndDuration(grace=True)


@given(SAMPLES)
def test_what_ends_or_replaces_the_process_stands_alone(facts: Sample) -> None:
    decisions = decide(facts, LIMITS)

    assert not any(map(ends, decisions)) or len(decisions) == 1
    assert len({type(decision) for decision in decisions}) == len(decisions)
    assert not {GoIdle, Stalled} <= {type(decision) for decision in decisions}
    assert not {WarnDuration, EndDuration} <= {type(decision) for decision in decisions}


@given(SAMPLES)
def test_a_session_in_use_neither_goes_nor_ends_idle(facts: Sample) -> None:
    for use in ({"busy": True}, {"waiting_for_person": True}):
        assert not {GoIdle(), EndIdle()} & set(decide(replace(facts, **use), LIMITS))  # type: ignore[arg-type]


@given(SAMPLES)
def test_a_person_who_is_waited_for_is_no_stall(facts: Sample) -> None:
    decisions = decide(replace(facts, waiting_for_person=True), LIMITS)

    assert not any(isinstance(decision, Stalled) for decision in decisions)


@given(SAMPLES)
def test_a_process_that_still_streams_is_never_taken_for_silent(facts: Sample) -> None:
    assert Hung("silent") not in decide(replace(facts, sign_of_life_s=9.9), LIMITS)


@given(SAMPLES)
def test_nothing_is_restarted_after_its_time_is_up(facts: Sample) -> None:
    for decision in decide(replace(facts, age_s=1000, status="active"), LIMITS):
        assert not isinstance(decision, RestartForMemory | Hung | GoIdle | EndIdle | WarnDuration)


@given(SAMPLES)
def test_a_grace_is_announced_once_and_ends(facts: Sample) -> None:
    over = replace(facts, age_s=1000, status="active", memory_mb=None)
    assert EndDuration(grace=True) not in decide(replace(over, ending_since_s=0.0), LIMITS)
    assert decide(replace(over, ending_since_s=30.0), LIMITS) == (EndDuration(grace=False),)


def rank(decisions: tuple[Decision, ...]) -> float:
    """How grave: nothing, a look sooner (the sooner the graver), an end or a restart, a kill."""
    if any(isinstance(decision, KillForMemory) for decision in decisions):
        return 3
    if any(map(ends, decisions)):
        return 2
    return max((1 - d.in_s / 100 for d in decisions if isinstance(d, SampleSooner)), default=0)


@given(SAMPLES, seconds(2000, 4000), seconds(2000, 4000))
def test_more_memory_never_means_a_milder_decision(facts: Sample, one_mb: float, other_mb: float) -> None:
    less, more = sorted((one_mb, other_mb))

    before, after = (rank(decide(replace(facts, memory_mb=memory_mb), LIMITS)) for memory_mb in (less, more))
    assert before <= after
