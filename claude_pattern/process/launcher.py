"""How a CLI process is started: the wrapper `launch.sh`, and which variables of the environment an agent may see."""

from collections.abc import Iterable
from pathlib import Path

KEEP: tuple[str, ...] = (
    # to find programs and the user's own files, and to name the user
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    # to speak the user's language and to know the time
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "TERM",
    "TZ",
    # to reach the model's service from behind a proxy or with a company's own certificates
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)
"""The variables of the server's environment that an agent, its tools and its MCP servers see.

The rule is least authority: a name stands here if programs do not work without it (where things are, which language,
how to reach the network) and if it opens nothing that the server's user does not open anyway. So there are no keys
and tokens of any kind, no SSH_AUTH_SOCK, DBUS_SESSION_BUS_ADDRESS, DOCKER_HOST, KUBECONFIG or XDG_RUNTIME_DIR (they
lead to agents and daemons that act for the user), and nothing that loads code into other programs (LD_*, PYTHON*,
NODE_OPTIONS, BASH_ENV). A proxy's address may hold a password; without it the model cannot be reached, so it passes.
"""

SDK_SETS: tuple[str, ...] = (
    "CLAUDE_AGENT_SDK_CLIENT_APP",
    "CLAUDE_AGENT_SDK_DERIVED_CLIENT_APP",
    "CLAUDE_AGENT_SDK_VERSION",
    "CLAUDE_CODE_ENABLE_SDK_FILE_CHECKPOINTING",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_SDK_READS_SESSION_STATE",
    "PWD",
    "TRACEPARENT",
    "TRACESTATE",
)
"""What the SDK itself tells its CLI by environment."""


def wrapper() -> Path:
    """The shell script to give to the SDK as `cli_path`; the process keeps its id while it becomes the CLI.

    The server must start processes from a thread that lives as long as they may: the kernel's parent-death signal
    is sent when that thread ends, not only when the whole server does.
    """
    return Path(__file__).with_name("launch.sh")


def environment(cli: Path, marker: str, *, keep: Iterable[str] = ()) -> dict[str, str]:
    """The variables that steer the wrapper, for `ClaudeAgentOptions.env`.

    `cli` is the real executable, `marker` comes from `reap.new_marker`. `keep` are the names, besides `KEEP` and
    `SDK_SETS`, that reach the CLI: every variable that the options themselves set must be among them.

    Raises:
        ValueError: a name in `keep` holds white space, which would let other names through.
    """
    names = sorted({*KEEP, *SDK_SETS, *keep})
    if odd := [name for name in names if name.split() != [name]]:
        raise ValueError(f"not a name of a variable: {odd[0]!r}")
    return {
        "CLAUDE_PATTERN_CLI": str(cli.absolute()),
        "CLAUDE_PATTERN_KEEP": " ".join(names),
        "CLAUDE_PATTERN_MARKER": marker,
    }
