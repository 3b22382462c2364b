"""The isolated environment for the real CLI: what is in it, and what of this machine is not."""

from pathlib import Path

import pytest

from claude_pattern.testing import cli
from claude_pattern.testing.messages_api import MessagesAPI

OURS = {"HOME", "CLAUDE_CONFIG_DIR", "TMPDIR"}


@pytest.fixture
def api() -> MessagesAPI:
    return MessagesAPI()


def test_the_bundled_cli_is_a_program() -> None:
    assert cli.bundled_cli().is_file()


def test_everything_of_the_cli_is_kept_under_the_folder_given(tmp_path: Path, api: MessagesAPI) -> None:
    environment = cli.isolated_environment(tmp_path, api)
    for name in OURS:
        assert Path(environment[name]).parent == tmp_path
        assert Path(environment[name]).is_dir()
    assert environment.items() >= api.env().items()


@pytest.mark.parametrize(
    "name",
    ["ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "AWS_PROFILE", "https_proxy"],
)
def test_credentials_and_redirections_of_this_machine_are_emptied(
    tmp_path: Path, api: MessagesAPI, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "mine")
    assert cli.isolated_environment(tmp_path, api)[name] == ""


def test_only_path_and_locale_are_taken_from_this_machine(
    tmp_path: Path, api: MessagesAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("MY_OWN_VARIABLE", "mine")
    environment = cli.isolated_environment(tmp_path, api)
    assert environment["LANG"] == "C.UTF-8"
    assert "MY_OWN_VARIABLE" not in environment
    assert "mine" not in environment.values()
