"""No test sees this machine's accounts, and none is skipped in CI for want of a program."""

import os
from pathlib import Path

import pytest

from claude_pattern import settings
from tests.conftest import require_program


def test_the_home_of_the_tests_is_empty_and_their_own() -> None:
    assert "pytest" in str(Path.home())
    assert Path(os.environ["CLAUDE_CONFIG_DIR"]).is_relative_to(Path.home())
    assert not (Path.home() / ".aws").exists()


def test_no_credential_and_no_setting_of_this_machine_is_seen() -> None:
    found = settings.load()

    assert found.secrets() == ()
    assert found.model_fields_set == set()


def test_a_program_that_is_there_is_found_by_its_path() -> None:
    assert Path(require_program("sh", "dash")).is_absolute()


def test_a_missing_program_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="apt-get install some-package"):
        require_program("no-such-program", "some-package")


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_a_missing_program_skips_the_test_elsewhere(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CI", value)

    with pytest.raises(pytest.skip.Exception, match="apt-get install some-package"):
        require_program("no-such-program", "some-package")


def test_chromium_goes_by_several_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "google-chrome"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert require_program("chromium", "chromium") == str(program)
