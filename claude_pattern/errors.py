"""What can go wrong, and the sentence that a person sees for it.

    ClaudePatternError
    ├── ConfigurationError         a setting, a credential or a file of the operator
    ├── StartError                 the server cannot serve: port, database, first process
    ├── Unauthorized               401  no key, a wrong key, or a session that has expired
    ├── Forbidden                  403  Host or Origin is not allowed
    ├── TooManyAttempts            429  repeated sign-in failures from one address
    ├── SessionNotFound            404
    ├── SessionNotResumable        409
    ├── RequestNotFound            404  a permission request that nobody waits for any more
    ├── QueryInProgress            409
    ├── EventsUnavailable          409  a stream of events cannot be taken up at that number
    ├── MessageNotFound            404
    ├── PayloadTooLarge            413
    ├── InvalidMessage             422
    │   └── InvalidJson            422
    ├── CapacityExceeded           503
    ├── ServerShuttingDown         503
    └── ProcessFailed              503  a Claude Code process did not start, or is gone

Each class knows its machine-readable `code`, its HTTP `status`, and the `action` that helps. `friendly` turns any
exception into these; `api_failure` and `process_failure` speak for the model's service and for a dead process.
No sentence here holds a key, a path of the host or the text of a foreign exception.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

Action = Literal["retry", "wait", "resume", "start_new_session", "check_credentials", "fix_request", "none"]
"""What the person or the program that sees an error can do about it."""


class ClaudePatternError(Exception):
    """The base of every error that this package raises on purpose."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    action: ClassVar[Action] = "none"
    default: ClassVar[str] = "Something went wrong on the server. The details are in its log."

    def __init__(self, message: str = "") -> None:
        self.message = message or self.default
        super().__init__(self.message)


class ConfigurationError(ClaudePatternError):
    """A setting, a credential or a file of the operator is missing or wrong."""

    code = "configuration_error"
    default = "The configuration is not valid."


class StartError(ClaudePatternError):
    """The server cannot start to serve."""

    code = "start_error"
    default = "The server could not start."


class Unauthorized(ClaudePatternError):
    """No API key, a wrong one, or a browser session that has ended."""

    code = "unauthorized"
    status = 401
    action = "check_credentials"
    default = "Invalid API key"


class Forbidden(ClaudePatternError):
    """The request's Host or Origin is not one that this server answers to."""

    code = "forbidden"
    status = 403
    default = "This server does not answer to that host or origin. Add it to ALLOWED_HOSTS if it should."


class TooManyAttempts(ClaudePatternError):
    """Too many failed sign-ins from one address."""

    code = "too_many_attempts"
    status = 429
    action = "wait"
    default = "Too many failed attempts. Wait a minute and try again."


class SessionNotFound(ClaudePatternError):
    """No live session has this id."""

    code = "session_not_found"
    status = 404
    action = "start_new_session"
    default = "Session not found"


class SessionNotResumable(ClaudePatternError):
    """The session ended for good, or was never there."""

    code = "session_not_resumable"
    status = 409
    action = "start_new_session"
    default = "Session not found or not resumable"


class RequestNotFound(ClaudePatternError):
    """The permission request has been answered or withdrawn already."""

    code = "request_not_found"
    status = 404
    default = "This request has been answered already."


class QueryInProgress(ClaudePatternError):
    """The session works on another message."""

    code = "query_in_progress"
    status = 409
    action = "wait"
    default = "A query is already in progress for this session"


class InvalidMessage(ClaudePatternError):
    """The client's message breaks a rule of the API."""

    code = "invalid_message"
    status = 422
    action = "fix_request"
    default = "Invalid message"


class InvalidJson(InvalidMessage):
    """A frame of the WebSocket is not JSON text."""

    code = "invalid_json"
    default = "The frame is not valid JSON."


class EventsUnavailable(ClaudePatternError):
    """The events after the number that a client has seen last are not at hand."""

    code = "events_unavailable"
    status = 409
    action = "none"
    default = "The events after that number are not at hand. Read the session again and go on from now."


class MessageNotFound(ClaudePatternError):
    """The session has no such user message."""

    code = "message_not_found"
    status = 404
    action = "fix_request"
    default = "This session has no such message"


class PayloadTooLarge(ClaudePatternError):
    """The body of a request is larger than the limit."""

    code = "payload_too_large"
    status = 413
    action = "fix_request"
    default = "The request is too large."


class CapacityExceeded(ClaudePatternError):
    """MAX_SESSIONS sessions are live."""

    code = "capacity_exceeded"
    status = 503
    action = "wait"
    default = "Server at capacity."

    def __init__(self, limit: int) -> None:
        super().__init__(f"Server at capacity. Max sessions: {limit}")


class ServerShuttingDown(ClaudePatternError):
    """The server is going down and takes no new work."""

    code = "server_shutting_down"
    status = 503
    action = "wait"
    default = "The server is shutting down. Sessions can be resumed when it is back."


class ProcessFailed(ClaudePatternError):
    """A Claude Code process could not be started, or ended by itself."""

    code = "process_failed"
    status = 503
    action = "retry"
    default = "The agent process could not be started. Run `claude-pattern doctor` on the server."


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happened in one sentence, and what helps."""

    message: str
    action: Action
    code: str


def friendly(error: BaseException) -> Explanation:
    """The sentence and the next step for any exception; a foreign one gives away nothing of itself."""
    if isinstance(error, ClaudePatternError):
        return Explanation(error.message, error.action, error.code)
    return Explanation(ClaudePatternError.default, ClaudePatternError.action, ClaudePatternError.code)


BUSY = "The AI service is temporarily busy. Retrying automatically..."
UNREACHABLE = "The connection to the AI service was lost. Retrying automatically..."
CUT = "Response interrupted. You can retry."

_REFUSED = Explanation(
    "The AI service refused the credential. Set ANTHROPIC_API_KEY (or another credential source) on the server.",
    "check_credentials",
    "credential_refused",
)
_API_FAILURES: dict[int, Explanation] = {
    400: Explanation("The AI service refused this request. Change the message and try again.", "retry", "bad_request"),
    401: _REFUSED,
    402: Explanation(
        "The AI service asks for payment: the account's credit is used up.", "check_credentials", "billing"
    ),
    403: _REFUSED,
    404: Explanation(
        "The AI service does not know this model. Choose another one in the settings.",
        "check_credentials",
        "model",
    ),
    413: Explanation("The message is too large for the AI service. Send less at once.", "retry", "too_large"),
    429: Explanation(
        "The AI service is still busy after several tries. Wait a minute, then retry.",
        "retry",
        "rate_limited",
    ),
    529: Explanation(
        "The AI service is still overloaded after several tries. Wait a minute, then retry.",
        "retry",
        "overloaded",
    ),
}
_API_FAILURES_BY_KIND: dict[str, int] = {
    "authentication_failed": 401,
    "billing_error": 402,
    "model_not_found": 404,
    "rate_limit": 429,
    "overloaded": 529,
}


def api_failure(status: int | None, kind: str | None = None) -> Explanation:
    """Explain a turn that the model's service ended.

    `status` is the HTTP status of the last try, None when no answer came; `kind` the CLI's own word for the error
    (``authentication_failed``, ``rate_limit``, ...), which decides when there is no status.
    """
    if status is None and kind is not None:
        status = _API_FAILURES_BY_KIND.get(kind)
    if status is None or status not in _API_FAILURES:
        return Explanation(CUT, "retry", "api_error")
    return _API_FAILURES[status]


_LIMITS = {
    "error_max_turns": Explanation(
        "The agent has reached the limit of steps for one message. Send another message to let it go on.",
        "retry",
        "max_turns",
    ),
    "error_max_budget_usd": Explanation(
        "The session's budget is used up. Start a new session or raise the budget.", "start_new_session", "budget"
    ),
}


def turn_failure(subtype: str, status: int | None, kind: str | None) -> Explanation:
    """Explain a turn whose result is an error: one of the CLI's own limits, else the model's service."""
    return _LIMITS.get(subtype) or api_failure(status, kind)


def retrying(status: int | None, kind: str | None = None) -> str:
    """The sentence shown while the CLI retries a call by itself."""
    explanation = api_failure(status, kind)
    if explanation is _REFUSED:
        return explanation.message
    return UNREACHABLE if status is None and explanation.code == "api_error" else BUSY


def process_failure(exit_code: int | None) -> Explanation:
    """Explain a Claude Code process that ended in a turn; `exit_code` is negative for a signal, None if unknown."""
    cause = "was stopped by the system" if exit_code is not None and exit_code < 0 else "ended unexpectedly"
    return Explanation(f"The agent process {cause}. What it had said is kept. You can retry.", "retry", "process_died")
