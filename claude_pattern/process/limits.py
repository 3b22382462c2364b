"""What to do about a session, from what is known of it at one moment: pure decisions, carried out elsewhere.

No I/O and no clock here: every duration comes with the sample, so that each boundary can be tested exactly.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from claude_pattern.events import SessionStatus
from claude_pattern.settings import Settings

KILL_FACTOR = 2
"""Over this many times its memory limit a session is killed at once instead of restarted in good order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a session may use; durations in seconds, memory in MiB."""

    duration_s: float
    rss_mb: float
    idle_s: float
    idle_grace_s: float = 300
    """How long an idle session keeps its process, for whoever comes back soon."""
    duration_grace_s: float = 30
    """How long a query in flight may go on after the session's time is up."""
    warn_fraction: float = 0.9
    sample_s: float = 30
    """Regular time between two looks at the memory."""
    sample_min_s: float = 1
    hang_s: float = 10
    """A process that has given no sign of life for so long is taken for hung."""
    answer_s: float = 5
    """A healthy CLI answers a ping in 1 ms, at most 32 ms while it streams; later than this is no answer."""
    stall_s: float = 15
    """The longest silence of a running turn that is not brought to anybody's notice."""

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """The limits that the operator has set."""
        return cls(
            duration_s=settings.max_session_duration_seconds,
            rss_mb=settings.max_session_rss_mb,
            idle_s=settings.session_idle_timeout_seconds,
            stall_s=13.5,  # noticed a look later, and still within 15 s
        )


@dataclass(frozen=True, slots=True)
class MemoryPoint:
    """An earlier look at the memory of the same process tree, so many seconds before the newest one."""

    before_s: float
    memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is known of one session at one moment; durations in seconds on a monotonic clock.

    `memory_before` are the looks before the one that gave `memory_mb`, oldest first. `sign_of_life_s` counts from the
    last message or answered ping of the process, `unanswered_s` from the first ping since then that got no answer.
    `silence_expected` says that a tool or a compaction runs or that the CLI waits before it repeats a call: then the
    model's service has nothing to say. `last_event_s` counts from the last message of the CLI, or from the end of such
    an expected silence.
    """

    age_s: float
    idle_for_s: float
    status: SessionStatus = "active"
    busy: bool = False
    waiting_for_person: bool = False
    silence_expected: bool = False
    memory_mb: float | None = None
    memory_before: tuple[MemoryPoint, ...] = ()
    warned: bool = False
    ending_since_s: float | None = None
    sign_of_life_s: float = 0
    unanswered_s: float | None = None
    stopped: bool = False
    turn_age_s: float | None = None
    last_event_s: float = 0


@dataclass(frozen=True, slots=True)
class WarnDuration:
    """Tell people that the session ends in `remaining_s` seconds."""

    remaining_s: float


@dataclass(frozen=True, slots=True)
class EndDuration:
    """The session's time is up. With `grace` only the query in flight goes on, else the session ends now."""

    grace: bool


@dataclass(frozen=True, slots=True)
class RestartForMemory:
    """Replace the process in good order; the conversation goes on."""

    memory_mb: float


@dataclass(frozen=True, slots=True)
class KillForMemory:
    """Kill the process tree at once, before the machine runs out of memory; then go on as after a restart."""

    memory_mb: float


@dataclass(frozen=True, slots=True)
class SampleSooner:
    """At its present growth the memory passes the limit before the next regular look: look again in `in_s` seconds."""

    in_s: float


@dataclass(frozen=True, slots=True)
class GoIdle:
    """Mark the session as idle; it keeps its process."""


@dataclass(frozen=True, slots=True)
class EndIdle:
    """End the process; the next message resumes the session."""


@dataclass(frozen=True, slots=True)
class Hung:
    """The process will not go on by itself: replace it. It does not answer; end it by its id, not by asking it."""

    why: Literal["stopped", "silent"]


@dataclass(frozen=True, slots=True)
class Stalled:
    """The model's service has said nothing in a running turn for `silent_s` seconds; the process itself is well."""

    silent_s: float


Decision: TypeAlias = (
    WarnDuration | EndDuration | RestartForMemory | KillForMemory | SampleSooner | GoIdle | EndIdle | Hung | Stalled
)


def decide(sample: Sample, limits: Limits) -> tuple[Decision, ...]:
    """What to do about a session; nothing while its process is being started or replaced, or has been ended.

    A decision that ends or replaces the process stands alone, and there is at most one of those. Danger to the machine
    comes first, then an end that is due anyway, since nothing is restarted only to be ended; a hung process gets no
    grace.
    """
    if sample.status not in ("active", "idle"):
        return ()
    ends = _kill(sample, limits) or _end(sample, limits) or _hung(sample, limits) or _restart(sample, limits)
    if ends is not None:
        return (ends,)
    milder = (
        _warn(sample, limits),
        _begin_grace(sample, limits),
        _go_idle(sample, limits),
        _stalled(sample, limits),
        _sample_sooner(sample, limits),
    )
    return tuple(decision for decision in milder if decision is not None)


# ---------------------------------------------------------------- duration


def _warn(sample: Sample, limits: Limits) -> WarnDuration | None:
    due = limits.duration_s * limits.warn_fraction <= sample.age_s < limits.duration_s
    return WarnDuration(limits.duration_s - sample.age_s) if due and not sample.warned else None


def _begin_grace(sample: Sample, limits: Limits) -> EndDuration | None:
    begins = sample.age_s >= limits.duration_s and sample.ending_since_s is None
    return EndDuration(grace=True) if begins else None


def _end(sample: Sample, limits: Limits) -> EndDuration | EndIdle | None:
    if sample.age_s >= limits.duration_s and not _has_grace(sample, limits):
        return EndDuration(grace=False)
    unused = sample.idle_for_s >= limits.idle_s + limits.idle_grace_s
    return EndIdle() if unused and sample.status == "idle" and not _in_use(sample) else None


def _has_grace(sample: Sample, limits: Limits) -> bool:
    if not sample.busy or _hung(sample, limits) or _restart(sample, limits):
        return False
    return sample.ending_since_s is None or sample.ending_since_s < limits.duration_grace_s


# ---------------------------------------------------------------- idle


def _in_use(sample: Sample) -> bool:
    return sample.busy or sample.waiting_for_person


def _go_idle(sample: Sample, limits: Limits) -> GoIdle | None:
    unused = sample.idle_for_s >= limits.idle_s
    return GoIdle() if unused and sample.status == "active" and not _in_use(sample) else None


# ---------------------------------------------------------------- memory


def _kill(sample: Sample, limits: Limits) -> KillForMemory | None:
    memory_mb = sample.memory_mb
    over = memory_mb is not None and memory_mb > KILL_FACTOR * limits.rss_mb
    return KillForMemory(memory_mb) if over and memory_mb is not None else None


def _restart(sample: Sample, limits: Limits) -> RestartForMemory | None:
    memory_mb = sample.memory_mb
    over = memory_mb is not None and memory_mb > limits.rss_mb
    return RestartForMemory(memory_mb) if over and memory_mb is not None else None


def _sample_sooner(sample: Sample, limits: Limits) -> SampleSooner | None:
    if sample.memory_mb is None or not sample.memory_before:
        return None
    last = sample.memory_before[-1]
    grown_mb = sample.memory_mb - last.memory_mb
    if grown_mb <= 0 or last.before_s <= 0:
        return None
    passes_in_s = (limits.rss_mb - sample.memory_mb) * last.before_s / grown_mb
    if passes_in_s >= limits.sample_s:
        return None
    # Half of it, and then again: growth that gets faster passes the limit sooner than foreseen.
    return SampleSooner(max(passes_in_s / 2, limits.sample_min_s))


# ---------------------------------------------------------------- health


def _hung(sample: Sample, limits: Limits) -> Hung | None:
    if sample.stopped:
        return Hung("stopped")
    unanswered = sample.unanswered_s is not None and sample.unanswered_s >= limits.answer_s
    return Hung("silent") if unanswered and sample.sign_of_life_s >= limits.hang_s else None


def _stalled(sample: Sample, limits: Limits) -> Stalled | None:
    if not sample.busy or sample.turn_age_s is None or sample.waiting_for_person or sample.silence_expected:
        return None
    silent_s = min(sample.turn_age_s, sample.last_event_s)
    return Stalled(silent_s) if silent_s >= limits.stall_s else None
