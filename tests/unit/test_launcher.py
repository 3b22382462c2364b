"""What is told to the wrapper; tests/integration/test_launcher.py runs it."""

import os
from pathlib import Path

import pytest

from claude_pattern.process import launcher


def test_the_wrapper_is_there_and_may_be_executed() -> None:
    assert os.access(launcher.wrapper(), os.X_OK)


def test_the_environment_names_the_cli_the_marker_and_what_may_pass() -> None:
    told = launcher.environment(Path("/opt/claude"), "a.b.c", keep=["ANTHROPIC_API_KEY", "PATH"])
    assert told.keys() == {"CLAUDE_PATTERN_CLI", "CLAUDE_PATTERN_KEEP", "CLAUDE_PATTERN_MARKER"}
    assert (told["CLAUDE_PATTERN_CLI"], told["CLAUDE_PATTERN_MARKER"]) == ("/opt/claude", "a.b.c")
    names = told["CLAUDE_PATTERN_KEEP"].split(" ")
    assert set(names) == {*launcher.KEEP, *launcher.SDK_SETS, "ANTHROPIC_API_KEY"}
    assert len(names) == len(set(names))


def test_a_relative_cli_does_not_depend_on_the_working_folder_of_the_agent() -> None:
    told = launcher.environment(Path("bin/claude"), "a.b.c")
    assert told["CLAUDE_PATTERN_CLI"] == str(Path.cwd() / "bin" / "claude")


@pytest.mark.parametrize("name", ["A B", "A\nB", "", " "])
def test_a_name_that_would_let_others_pass_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a name of a variable"):
        launcher.environment(Path("/opt/claude"), "a.b.c", keep=[name])


@pytest.mark.parametrize(
    "name",
    [
        "ANTHROPIC_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "CLAUDE_SDK_PATTERN_API_KEY",
        "DATABASE_URL",
        "DBUS_SESSION_BUS_ADDRESS",
        "DOCKER_HOST",
        "KUBECONFIG",
        "LD_PRELOAD",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "SSH_AUTH_SOCK",
        "XDG_RUNTIME_DIR",
    ],
)
def test_what_carries_authority_or_code_does_not_pass_by_itself(name: str) -> None:
    assert name not in {*launcher.KEEP, *launcher.SDK_SETS}
