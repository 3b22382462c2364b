"""Every sentence and label of the pages. The names in *italics* of the specification are fixed: tests rely on them."""

from datetime import datetime

PRODUCT = "claude-pattern"

# sign-in
SIGN_IN = "Sign in"
SIGN_OUT = "Sign out"
API_KEY = "API key"
SIGN_IN_HINT = "The key is in the server's output, or ask the person who runs this server."
USED_LINK = "This sign-in link has been used already, or is too old. Sign in with the API key."

# session list
NEW_SESSION = "New session"
STARTING = "Starting…"
SESSIONS = "Sessions"
ENDED_SESSIONS = "Ended"
SEARCH_SESSIONS = "Search sessions"
NO_SESSIONS = "No sessions yet"
NO_MATCH = "No session has this title"
UNTITLED = "Untitled"
NEEDS_ANSWER = "Needs you"
WORKING = "Working"
COPY_ID = "Copy session ID"
END_SESSION = "End session"
END_QUESTION = "End this session?"
END_CONSEQUENCE = "Its agent process stops. The conversation is kept, and can be resumed."
RENAME = "Rename"
RENAME_QUESTION = "Rename this session"
TITLE = "Title"
SAVE = "Save"
CANCEL = "Cancel"
RESUME = "Resume"
OPEN_MENU = "Open the session list"
CLOSE_MENU = "Close the session list"
THEME = "Theme"
THEMES = {"system": "System", "light": "Light", "dark": "Dark"}

# conversation
CONVERSATION = "Conversation"
SHOW_OLDER = "Show older messages"
JUMP_TO_LATEST = "Jump to latest"
YOU = "You"
AGENT = "Agent"
RETRY = "Retry"
COPY_MESSAGE = "Copy message"
THINKING = "Thinking…"
THOUGHTS = "Thought process"
QUEUED = "Queued"
EDIT_QUEUED = "Edit"
WITHDRAW = "Withdraw"

# tools
EXECUTING = "Executing..."
WAITING = {
    "permission": "Waiting for permission",
    "question": "Waiting for your answer",
    "plan": "Waiting for your answer",
}
ERROR = "Error"
OUTPUT = "Output"
NO_OUTPUT = "No output"
SHOW_ALL = "Show all"

# requests
ALLOW_ONCE = "Allow once"
DENY = "Deny"
DENY_REASON = "Reason for the agent (optional)"
ANSWER = "Answer"
SKIP = "Skip"
ANSWER_ALL = "Answer every question, or skip them all."
OTHER_ANSWER = "Another answer"
PLAN = "Plan"
APPROVE_PLAN = "Approve plan"
KEEP_PLANNING = "Keep planning"
PLAN_COMMENT = "What should be different? (optional)"
SKIPPED = "The user does not want to answer. Go on with what seems best, or ask something else."
KEEP_PLANNING_MESSAGE = "The user wants you to keep planning."

# composer
MESSAGE = "Message"
SEND = "Send"
STOP = "Stop"
PLACEHOLDER = "Message the agent"
PLACEHOLDER_BUSY = "Queue the next message"
PLACEHOLDER_ENDED = "Message the agent to continue"

# states
STANDING = {"restarting": "Restarting...", "terminated": "Ended"}
OPENING = "Opening the conversation..."
RESUMING = "Resuming the session..."
CONNECTING = "Connecting..."
CONNECTED = "Connected"
RECONNECTING = "Reconnecting..."
WELCOME = "What shall we work on?"
WELCOME_TEXT = "The agent works in this server's project folder with its tools, skills and commands."
ASKS_FIRST = "It asks you before it changes anything."
TRY_THESE = "Try one of these prompts"
NOT_FOUND = "Session not found"
NOT_FOUND_TEXT = "It is not on this server any more, or it never was. Your other sessions are in the list."
NOT_RESUMABLE = "Session not found or not resumable"
NOT_RESUMABLE_TEXT = "It has ended for good, or it never was on this server. A new session starts afresh."
NO_PAGE = "There is no such page"
NO_PAGE_TEXT = "The address may have a typing error, or the page is gone."
TO_SESSIONS = "Go to the sessions"
ENDED = "This session has ended and cannot be resumed."
START_NEW_SESSION = "Start new session"
DISMISS = "Dismiss"


def messages(count: int) -> str:
    """How many messages a session has."""
    return "1 message" if count == 1 else f"{count:,} messages"


def cost(usd: float) -> str:
    """An amount in USD, with the digits that matter."""
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"


def duration(milliseconds: int) -> str:
    """A duration for people: 0.4s, 12s, 3m 05s."""
    return f"{milliseconds / 1000:.1f}s" if milliseconds < 9_950 else elapsed(round(milliseconds / 1000))


def elapsed(seconds: int) -> str:
    """A duration that goes on: 4s, 3m 05s."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def ago(moment: datetime, now: datetime) -> str:
    """How long ago something was, in one short unit."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def complete(milliseconds: int | None) -> str:
    """The status of a tool call that has ended well."""
    return "Complete" if milliseconds is None else f"Complete ({milliseconds / 1000:.1f}s)"


def tool(name: str) -> str:
    """The accessible name of a tool card."""
    return f"Tool: {name}"


def permission(name: str) -> str:
    """The accessible name of a permission card."""
    return f"Permission: {name}"


def actions_for(title: str) -> str:
    """The accessible name of a session's menu."""
    return f"Actions for {title}"


def starting(seconds: float) -> str:
    """A session that needs a new agent process."""
    return f"Starting a new agent process, about {max(1, round(seconds))} s"


def permission_title(name: str) -> str:
    """The question of a permission card."""
    return f"Allow {name}?"


def tasks(done: int, total: int) -> str:
    """The agent's to-do list in short."""
    return f"{done} of {total} tasks done"


def show_all(characters: int) -> str:
    """The button under a shortened text."""
    return f"{SHOW_ALL} ({characters:,} characters)"


def memory(megabytes: float | None) -> str:
    """The memory of a session's processes."""
    return "" if megabytes is None else f"{megabytes:,.0f} MB"
