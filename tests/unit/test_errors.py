"""Every error has a code, a status and a sentence that says what to do; foreign exceptions give away nothing."""

import pytest

from claude_pattern import errors
from claude_pattern.errors import ClaudePatternError


def every_error() -> list[type[ClaudePatternError]]:
    found, waiting = [], [ClaudePatternError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__ == errors.__name__:
            found.append(kind)
        waiting.extend(kind.__subclasses__())
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_sentence_of_its_own_and_a_code(kind: type[ClaudePatternError]) -> None:
    assert kind.default
    assert kind is ClaudePatternError or kind.default != ClaudePatternError.default
    assert kind.code.isidentifier()
    assert 400 <= kind.status < 600
    assert kind.__name__ in (errors.__doc__ or ""), "the tree on top of the module leaves it out"


def test_codes_are_told_apart() -> None:
    codes = [kind.code for kind in every_error()]

    assert len(codes) == len(set(codes))


def test_a_foreign_exception_gives_away_nothing_of_itself() -> None:
    explanation = errors.friendly(RuntimeError("/home/operator/.secret sk-ant-xyz"))

    assert explanation.code == "internal_error"
    assert "secret" not in explanation.message
    assert "sk-ant" not in explanation.message


def test_an_own_error_says_its_own_sentence() -> None:
    assert errors.friendly(errors.CapacityExceeded(10)).message == "Server at capacity. Max sessions: 10"


def test_a_busy_service_is_told_as_retrying_and_a_refused_key_as_refused() -> None:
    assert errors.retrying(529) == errors.BUSY
    assert errors.retrying(None, "rate_limit") == errors.BUSY
    assert errors.retrying(500, "server_error") == errors.BUSY
    assert errors.retrying(None, "unknown") == errors.UNREACHABLE
    assert "ANTHROPIC_API_KEY" in errors.retrying(401, "authentication_failed")


def test_limits_of_the_agent_are_explained_as_such() -> None:
    assert errors.turn_failure("error_max_turns", None, None).code == "max_turns"
    assert errors.turn_failure("error_max_budget_usd", None, None).code == "budget"
    assert errors.turn_failure("success", 529, None).code == "overloaded"


def test_a_process_ended_by_a_signal_is_not_called_unexpected() -> None:
    assert "stopped by the system" in errors.process_failure(-9).message
    assert "unexpectedly" in errors.process_failure(1).message
