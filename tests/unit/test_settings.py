"""Settings come from the environment, then `.env`; every mistake is one line that says what to write instead."""

import os
from pathlib import Path

import pytest

from claude_pattern import settings
from claude_pattern.errors import ConfigurationError
from claude_pattern.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("prewarm_pool_size", 2),
        ("max_sessions", 10),
        ("max_session_duration_seconds", 14400),
        ("max_session_rss_mb", 2048),
        ("session_idle_timeout_seconds", 1800),
        ("prewarm_timeout_seconds", 60),
        ("database_url", "sqlite:///data/sessions.db"),
        ("host", "0.0.0.0"),
        ("port", 8000),
        ("log_level", "INFO"),
        ("project_dir", Path()),
        ("claude_sdk_pattern_api_key", None),
        ("anthropic_api_key", None),
    ],
)
def test_the_defaults_are_those_of_the_contract(name: str, default: object) -> None:
    assert getattr(settings.load(), name) == default


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=1111\nMAX_SESSIONS=3\n")
    monkeypatch.setenv("PORT", "2222")
    found = settings.load()

    assert (found.port, found.max_sessions) == (2222, 3)


def test_options_of_the_command_win_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "2222")

    assert settings.load(port=3333).port == 3333


def test_the_database_follows_the_data_folder_unless_it_has_an_address_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATA_DIR", "/srv/agents")
    assert settings.load().database_url == "sqlite:////srv/agents/sessions.db"

    monkeypatch.setenv("DATABASE_URL", "postgresql://db/agents")
    assert settings.load().database_url == "postgresql://db/agents"


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("PORT", "abc", "a valid integer"),
        ("PORT", "70000", "less than or equal to 65535"),
        ("MAX_SESSIONS", "0", "greater than or equal to 1"),
        ("PREWARM_POOL_SIZE", "-1", "greater than or equal to 0"),
        ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
        ("PERMISSION_MODE", "yolo", "'default', 'acceptEdits', 'plan' or 'bypassPermissions'"),
    ],
)
def test_a_bad_value_is_one_line_with_name_value_and_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, accepted: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        settings.load()

    assert caught.value.message.startswith(f"{name}: found {value!r}; accepted: ")
    assert accepted in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("key", ["x" * 257, "smörgås-key-1234", "tab\tkey"])
def test_an_unusable_key_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("CLAUDE_SDK_PATTERN_API_KEY", key)
    with pytest.raises(ConfigurationError) as caught:
        settings.load()

    assert key not in caught.value.message
    assert "1 to 256 printable ASCII characters" in caught.value.message


def test_several_mistakes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "abc")
    monkeypatch.setenv("MAX_SESSIONS", "many")

    with pytest.raises(ConfigurationError, match=r"1 more problem"):
        settings.load()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")

    assert settings.load().port == 8000


def test_host_names_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "agents.example.org, ,box")

    assert settings.load().allowed_hosts == ("agents.example.org", "box")


def test_secrets_do_not_show_when_the_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-0001")
    found = settings.load()

    assert "canary" not in repr(found)
    assert "canary" not in str(found.model_dump())


def test_the_secrets_known_to_the_scrubber_include_the_databases_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-0001")
    monkeypatch.setenv("DATABASE_URL", "postgresql://agents:pass-canary@db/agents")

    assert set(settings.load().secrets()) == {"sk-ant-canary-0001", "pass-canary"}


def test_secrets_leave_the_environment_once_they_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-0001")
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "canary-0002")
    monkeypatch.setenv("PORT", "2222")
    settings.forget_environment(settings.load())

    assert "ANTHROPIC_API_KEY" not in os.environ
    assert "CLAUDE_CODE_OAUTH_TOKEN" not in os.environ
    assert os.environ["PORT"] == "2222"


def test_every_setting_stands_in_the_readme_with_its_default() -> None:
    readme = (ROOT / "README.md").read_text()
    rows = {line.split("|")[1].strip(" `"): line for line in readme.splitlines() if line.startswith("| `")}
    for name, field in Settings.model_fields.items():
        assert field.description
        row = rows[name.upper()]
        assert field.description in row, f"{name.upper()}: the README says something else"


def test_the_example_file_names_exactly_the_settings() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    names = [line.lstrip("# ").split("=")[0] for line in lines if "=" in line and line.lstrip("# ")[:1].isupper()]

    assert sorted(names) == sorted(name.upper() for name in Settings.model_fields)
