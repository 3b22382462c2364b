"""What the CLI gets to see: exactly the good items, atomically, and the MCP servers in a file of one's own."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from claude_pattern.extensions import ExtensionConfig, ExtensionLoader, handover, link_into, write_mcp_config

SKILL = "---\nname: {0}\ndescription: Does {0}.\n---\nDo it.\n"


def read(project: Path) -> ExtensionConfig:
    return ExtensionLoader(project, environ={"SECRET": "a${HOME}b"}).read()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("one", "two"):
        (folder / "skills" / name).mkdir(parents=True)
        (folder / "skills" / name / "SKILL.md").write_text(SKILL.format(name))
    (folder / "skills/bad").mkdir()
    (folder / "skills/bad/SKILL.md").write_text("bad")
    (folder / "commands/sub/deep").mkdir(parents=True)
    for name in ("a", "sub/b", "sub/deep/c"):
        (folder / f"commands/{name}.md").write_text(name)
    (folder / "commands/bad name.md").write_text("bad")
    return folder


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    return tmp_path / "claude"


def visible(config_dir: Path) -> set[str]:
    """The files that the CLI finds below `skills/` and `commands/`."""
    skills = {
        f"skills/{folder.name}" for folder in (config_dir / "skills").iterdir() if (folder / "SKILL.md").is_file()
    }
    commands = {str(file.relative_to(config_dir)) for file in (config_dir / "commands").rglob("*.md")}
    return skills | commands


ALL = {"skills/one", "skills/two", "commands/a.md", "commands/sub/b.md", "commands/sub/deep/c.md"}


def test_exactly_the_good_items_are_visible(project: Path, config_dir: Path) -> None:
    link_into(read(project), config_dir)

    assert visible(config_dir) == ALL
    assert (config_dir / "skills/one/SKILL.md").read_text() == SKILL.format("one")
    assert {entry.name for entry in config_dir.iterdir()} == {"skills", "commands", ".extensions.lock"}


def test_items_that_went_or_went_bad_disappear_with_their_empty_folders(project: Path, config_dir: Path) -> None:
    link_into(read(project), config_dir)
    (project / "skills/one/SKILL.md").write_text("bad now")
    (project / "commands/sub/b.md").unlink()
    (project / "commands/sub/deep/c.md").unlink()

    link_into(read(project), config_dir)

    assert visible(config_dir) == {"skills/two", "commands/a.md"}
    assert not (config_dir / "commands/sub").exists()


def test_links_that_are_right_are_not_touched(project: Path, config_dir: Path) -> None:
    link_into(read(project), config_dir)
    before = {path: path.lstat().st_ino for path in config_dir.rglob("*") if path.is_symlink()}
    (project / "commands/new.md").write_text("new")

    link_into(read(project), config_dir)

    assert before
    assert {path: path.lstat().st_ino for path in before} == before
    assert (config_dir / "commands/new.md").is_symlink()


def test_links_to_another_project_are_replaced(project: Path, config_dir: Path, tmp_path: Path) -> None:
    link_into(read(project), config_dir)
    moved = project.rename(tmp_path / "moved")

    link_into(read(moved), config_dir)

    assert visible(config_dir) == ALL
    assert (config_dir / "skills/one").readlink() == moved / "skills/one"


def test_links_of_the_whole_folders_are_replaced_and_the_operators_files_stay(project: Path, config_dir: Path) -> None:
    config_dir.mkdir()
    for name in ("skills", "commands"):
        (config_dir / name).symlink_to(project / name)

    link_into(read(project), config_dir)

    assert visible(config_dir) == ALL
    assert (project / "skills/bad/SKILL.md").read_text() == "bad"
    assert not (project / "skills/one").is_symlink()


def test_what_an_agent_planted_is_moved_out_of_sight_and_kept(project: Path, config_dir: Path) -> None:
    planted = {
        "skills/evil/SKILL.md": SKILL.format("evil"),
        "skills/one/SKILL.md": SKILL.format("one") + "and evil",
        "commands/a.md": "evil",
        "commands/other/x.md": "evil",
    }
    for name, text in planted.items():
        (config_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (config_dir / name).write_text(text)

    with capture_logs() as lines:
        link_into(read(project), config_dir)

    assert visible(config_dir) == ALL
    assert sorted(line["found"] for line in lines) == ["a.md", "evil", "one", "other"]
    kept = sorted(path.read_text() for path in (config_dir / "set-aside").rglob("*.md"))
    assert kept == sorted(planted.values())


def test_a_file_in_the_place_of_the_folder_is_moved_away(project: Path, config_dir: Path) -> None:
    config_dir.mkdir()
    (config_dir / "skills").write_text("?")

    link_into(read(project), config_dir)

    assert visible(config_dir) == ALL


def test_sessions_that_start_at_once_do_not_disturb_each_other(project: Path, config_dir: Path) -> None:
    config = read(project)
    (project / "commands/late.md").write_text("late")
    newer = read(project)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(link_into, each, config_dir) for each in [config, newer] * 16]:
            done.result()

    assert visible(config_dir) == ALL | {"commands/late.md"}


def test_an_older_reading_does_not_undo_a_newer_one(project: Path, config_dir: Path) -> None:
    older = read(project)
    (project / "commands/a.md").unlink()
    link_into(read(project), config_dir)

    link_into(older, config_dir)

    assert "commands/a.md" not in visible(config_dir)


@pytest.mark.parametrize("record", ["", "nonsense", "2020-01-01T00:00:00", "{future}"])
def test_a_clock_that_was_set_back_or_a_damaged_record_does_no_harm(
    project: Path, config_dir: Path, record: str
) -> None:
    future = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    config_dir.mkdir()
    (config_dir / ".extensions.lock").write_text(record.format(future=future))

    link_into(read(project), config_dir)

    assert visible(config_dir) == ALL


def test_a_lock_that_is_never_given_back_ends_in_an_error(
    project: Path, config_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "LOCK_WAIT", 0.0)
    config_dir.mkdir()

    with handover._locked(config_dir / ".extensions.lock"), pytest.raises(TimeoutError, match="locked"):
        link_into(read(project), config_dir)


def test_the_server_file_is_private_complete_and_replaced_in_one_step(project: Path, tmp_path: Path) -> None:
    (project / "mcp.json").write_text('{"mcpServers": {"x": {"command": "y"}, "bad": {}}}')
    path = tmp_path / "run" / "session.mcp.json"

    for _ in range(2):
        write_mcp_config(read(project), path)

    assert json.loads(path.read_text()) == {"mcpServers": {"x": {"command": "y"}}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_server_file_without_servers_is_still_one_that_the_cli_takes(project: Path, tmp_path: Path) -> None:
    write_mcp_config(read(project), tmp_path / "x.json")

    assert json.loads((tmp_path / "x.json").read_text()) == {"mcpServers": {}}


def test_a_server_file_that_cannot_be_written_leaves_nothing_behind(project: Path, tmp_path: Path) -> None:
    (tmp_path / "run/x.json/full").mkdir(parents=True)

    with pytest.raises(OSError, match="directory"):
        write_mcp_config(read(project), tmp_path / "run/x.json")

    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["x.json"]


def test_values_that_look_like_variables_are_spelled_so_that_the_cli_leaves_them(project: Path, tmp_path: Path) -> None:
    entry = {"command": "y", "args": ["${SECRET}"], "env": {"A": "${SECRET}"}, "timeout": 5}
    (project / "mcp.json").write_text(json.dumps({"mcpServers": {"x": entry}}))

    write_mcp_config(read(project), tmp_path / "x.json")

    escaped = "a${CLAUDE_PATTERN_LITERAL:-$}{HOME}b"
    written = json.loads((tmp_path / "x.json").read_text())["mcpServers"]["x"]
    assert written == {"command": "y", "args": [escaped], "env": {"A": escaped}, "timeout": 5}


def test_a_config_without_items_empties_the_folders(project: Path, config_dir: Path) -> None:
    link_into(read(project), config_dir)

    link_into(replace(read(project), skills=(), commands=()), config_dir)

    assert visible(config_dir) == set()
