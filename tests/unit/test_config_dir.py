"""Nothing that somebody plants in the CLI's configuration folder is obeyed by a later session."""

from pathlib import Path

from claude_pattern.process import config_dir


def test_the_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    config_dir.prepare(tmp_path / "data" / "claude")

    assert (tmp_path / "data" / "claude").stat().st_mode & 0o777 == 0o700


def test_what_the_cli_would_obey_is_moved_aside_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"hooks": {}}')
    (tmp_path / "CLAUDE.md").symlink_to("/nowhere")
    (tmp_path / "agents").mkdir()
    (tmp_path / "projects").mkdir()
    config_dir.prepare(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["projects", "set-aside"]
    (aside,) = (tmp_path / "set-aside").iterdir()
    assert sorted(path.name for path in aside.iterdir()) == ["CLAUDE.md", "agents", "settings.json"]


def test_a_clean_folder_stays_as_it_is(tmp_path: Path) -> None:
    config_dir.prepare(tmp_path)
    config_dir.prepare(tmp_path)

    assert list(tmp_path.iterdir()) == []
