"""Skills and commands: what is good is found, what is not is reported, and nothing else happens."""

import asyncio
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_pattern.extensions import Command, ExtensionConfig, ExtensionLoader, Problem, Skill

GREETER = "---\nname: greeter\ndescription: Greets people.\n---\nSay hello.\n"


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Make `files` below `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def read(root: Path, files: Mapping[str, str | bytes] | None = None) -> ExtensionConfig:
    """What the loader finds below `root`."""
    return ExtensionLoader(write(root, files or {}), environ={}, clock=lambda: 0.0).read()


def only_problem(config: ExtensionConfig) -> Problem:
    """The one problem, after a check that no item was kept."""
    assert not config.skills
    assert not config.commands
    [problem] = config.problems
    return problem


async def test_a_folder_without_extension_files_is_empty_and_without_problems(tmp_path: Path) -> None:
    config = await ExtensionLoader(tmp_path).load()

    assert (config.skills, config.commands, config.mcp_servers, config.problems) == ((), (), {}, ())
    assert config.setting_sources == ("user",)


def test_a_project_folder_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    assert "PROJECT_DIR" in only_problem(ExtensionLoader(tmp_path / "typo").read()).what


def test_good_items_are_found_with_their_names_paths_and_descriptions(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        {
            "skills/greeter/SKILL.md": GREETER,
            "skills/greeter/scripts/helper.py": "print()",
            "commands/fix.md": "---\ndescription: Fix it\nargument-hint: <issue>\nmodel: haiku\n---\nFix $ARGUMENTS\n",
            "commands/sub/deep/nested.md": "\n# Do nested things\nwith $ARGUMENTS",
        },
    )

    assert [(skill.name, skill.path, skill.description) for skill in config.skills] == [
        ("greeter", "skills/greeter/SKILL.md", "Greets people.")
    ]
    assert [(c.name, c.path, c.description, c.argument_hint) for c in config.commands] == [
        ("fix", "commands/fix.md", "Fix it", "<issue>"),
        ("sub:deep:nested", "commands/sub/deep/nested.md", "Do nested things", ""),
    ]
    assert config.skill_directories == (tmp_path / "skills/greeter",)
    assert config.problems == ()


async def test_every_load_reads_the_files_afresh(tmp_path: Path) -> None:
    loader = ExtensionLoader(tmp_path)
    assert (await loader.load()).commands == ()

    write(tmp_path, {"commands/new.md": "New."})

    assert [command.name for command in (await loader.load()).commands] == ["new"]


@pytest.mark.parametrize(
    ("files", "file", "line", "says"),
    [
        ({"skills/a/SKILL.md": "Just text"}, "skills/a/SKILL.md", 1, "no frontmatter"),
        ({"skills/a/SKILL.md": ""}, "skills/a/SKILL.md", 1, "no frontmatter"),
        ({"skills/a/SKILL.md": "---\nname: a\n"}, "skills/a/SKILL.md", 1, "never closed"),
        ({"skills/a/SKILL.md": "---\nname: a\nx: [unclosed\n---\nb"}, "skills/a/SKILL.md", 3, "not valid YAML"),
        ({"skills/a/SKILL.md": "---\nname: [unclosed\n---\nb"}, "skills/a/SKILL.md", 2, "not valid YAML"),
        ({"skills/a/SKILL.md": "---\n- name\n---\nb"}, "skills/a/SKILL.md", 2, "without keys"),
        ({"skills/a/SKILL.md": "---\n\n---\nb"}, "skills/a/SKILL.md", 1, "no name"),
        ({"skills/a/SKILL.md": "---\nx: 1\nname: b\ndescription: d\n---\nb"}, "skills/a/SKILL.md", 3, "named 'b'"),
        ({"skills/a/SKILL.md": "---\nname: {a: b}\n---\nb"}, "skills/a/SKILL.md", 2, "name that is not a text"),
        ({"skills/a/SKILL.md": "---\nname: a\n---\nb"}, "skills/a/SKILL.md", 1, "no description"),
        ({"skills/a/SKILL.md": "---\nname: a\ndescription:\n---\nb"}, "skills/a/SKILL.md", 1, "no description"),
        (
            {"skills/a/SKILL.md": "---\nname: a\ndescription: d\nallowed-tools: {x: y}\n---\nb"},
            "skills/a/SKILL.md",
            4,
            "allowed-tools",
        ),
        ({"skills/a/SKILL.md": b"---\nname: a\n\xff\n---\n"}, "skills/a/SKILL.md", 3, "not UTF-8"),
        ({"skills/a/SKILL.md": "---\nname: a\n---\n\0"}, "skills/a/SKILL.md", 4, "NUL"),
        ({"skills/a/SKILL.md": "---\nname: a\x07\n---\n"}, "skills/a/SKILL.md", 2, "YAML does not accept"),
        ({"skills/a/SKILL.md": GREETER + "x" * 256 * 1024}, "skills/a/SKILL.md", None, "larger than 256 KiB"),
        ({"skills/a/SKILL.md": f"---\nx: {'y' * 20_000}\n---\nb"}, "skills/a/SKILL.md", 1, "more than 16 KiB"),
        ({"skills/a/SKILL.md": f"---\nx: {'[' * 9_000}\n---\nb"}, "skills/a/SKILL.md", 1, "more than 200 brackets"),
        ({"skills/a/SKILL.md": f"---\n{'- ' * 8_000}\n---\nb"}, "skills/a/SKILL.md", 2, "nested too deeply"),
        ({"skills/a/skill.md": GREETER}, "skills/a", None, "no file SKILL.md"),
        ({"skills/a/sub/SKILL.md": GREETER}, "skills/a", None, "no file SKILL.md"),
        ({"skills/README.txt": "x"}, "skills/README.txt", None, "not a folder"),
        ({"skills/Big_Name/SKILL.md": GREETER}, "skills/Big_Name", None, "no name for a skill"),
        ({"skills/" + "a" * 65 + "/SKILL.md": GREETER}, "skills/" + "a" * 65, None, "no name for a skill"),
        ({"skills/compact/SKILL.md": GREETER}, "skills/compact", None, "/compact"),
        ({"skills": "x"}, "skills", None, "cannot be listed"),
        ({"commands": "x"}, "commands", None, "cannot be listed"),
        ({"commands/a.md": " \n"}, "commands/a.md", None, "no text"),
        ({"commands/a.md": "---\ndescription: d\n---\n"}, "commands/a.md", None, "no text"),
        ({"commands/a.md": "---\ndescription: d\nbody"}, "commands/a.md", 1, "never closed"),
        ({"commands/a.md": "---\ndescription: [unclosed\n---\nb"}, "commands/a.md", 2, "not valid YAML"),
        ({"commands/a.md": "---\na: &x d\ndescription: *x\n---\nb"}, "commands/a.md", 3, "aliases"),
        ({"commands/a.md": "---\ndescription: [a, b]\n---\nb"}, "commands/a.md", 2, "description that is not a text"),
        ({"commands/a.md": "---\nmodel: [a, b]\n---\nb"}, "commands/a.md", 2, "model that is not a text"),
        ({"commands/a b.md": "b"}, "commands/a b.md", None, "'a b'"),
        ({"commands/a:b.md": "b"}, "commands/a:b.md", None, "'a:b'"),
        ({"commands/x y/b.md": "b"}, "commands/x y/b.md", None, "'x y'"),
        ({"commands/tool/SKILL.md": GREETER}, "commands/tool/SKILL.md", None, "Move its folder to skills/"),
        ({"commands/clear.md": "b"}, "commands/clear.md", None, "/clear"),
        ({"commands/1/2/3/4/5/6/7/a.md": "b"}, "commands/1/2/3/4/5/6/7", None, "folders deep"),
    ],
)
def test_a_bad_item_is_left_out_and_reported(
    tmp_path: Path, files: dict[str, str | bytes], file: str, line: int | None, says: str
) -> None:
    problem = only_problem(read(tmp_path, files))

    assert (problem.file, problem.line, problem.severity) == (file, line, "error")
    assert says in problem.what
    assert problem.what.endswith(".")


def test_a_bad_item_does_not_take_the_good_ones_with_it(tmp_path: Path) -> None:
    config = read(tmp_path, {"skills/bad/SKILL.md": "x", "skills/greeter/SKILL.md": GREETER, "commands/c.md": "c"})

    assert [skill.name for skill in config.skills] == ["greeter"]
    assert [command.name for command in config.commands] == ["c"]
    assert [problem.file for problem in config.problems] == ["skills/bad/SKILL.md"]


def test_an_empty_skill_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "skills/hollow").mkdir(parents=True)

    assert str(only_problem(read(tmp_path))).startswith("skills/hollow: has no file SKILL.md")


def test_a_command_with_the_name_of_a_skill_is_reported_since_the_cli_hides_it(tmp_path: Path) -> None:
    config = read(tmp_path, {"skills/greeter/SKILL.md": GREETER, "commands/greeter.md": "b"})

    assert config.commands == ()
    assert [problem.file for problem in config.problems] == ["commands/greeter.md"]


def test_hidden_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    names = ("skills/.git/x", "skills/.DS_Store", "commands/.hidden.md", "commands/.git/a.md", "commands/notes.txt")
    config = read(tmp_path, dict.fromkeys(names, "x"))

    assert (config.skills, config.commands, config.problems) == ((), (), ())


@pytest.mark.parametrize(
    ("head", "description", "hint"),
    [
        ("description: d\nargument-hint: [file] [mode]", "d", "[file] [mode]"),
        ("description: d\nargument-hint: [it's]", "d", "[it's]"),
        ('description: d\nargument-hint: "[file]"', "d", "[file]"),
        ("description: >\n  two\n  lines\nargument-hint: |\n  x", "two lines", "x"),
        ("description: 5\nargument-hint: 2024-99-99", "5", "2024-99-99"),
        ("description:\nargument-hint:", "body", ""),
    ],
)
def test_frontmatter_is_read_as_claude_code_documents_it(
    tmp_path: Path, head: str, description: str, hint: str
) -> None:
    config = read(tmp_path, {"commands/a.md": f"---\n{head}\n---\nbody"})

    assert config.problems == ()
    [command] = config.commands
    assert (command.description, command.argument_hint) == (description, hint)


@pytest.mark.parametrize("text", ["\ufeff" + GREETER, GREETER.replace("\n", "\r\n"), GREETER.replace("---", "---  ")])
def test_byte_order_marks_and_windows_line_ends_do_no_harm(tmp_path: Path, text: str) -> None:
    config = read(tmp_path, {"skills/greeter/SKILL.md": text})

    assert config.problems == ()
    assert [skill.description for skill in config.skills] == ["Greets people."]


@pytest.mark.parametrize(
    ("head", "line", "says"),
    [
        ("name: a\ndescription: Use when: asked", 3, "colon"),
        ("description: x\nname: a\ndescription: y", 4, "twice"),
    ],
)
def test_a_harmless_fault_is_a_warning_and_the_item_is_kept(tmp_path: Path, head: str, line: int, says: str) -> None:
    config = read(tmp_path, {"skills/a/SKILL.md": f"---\n{head}\n---\nbody"})

    assert [skill.name for skill in config.skills] == ["a"]
    [problem] = config.problems
    assert (problem.line, problem.severity) == (line, "warning")
    assert says in problem.what


@pytest.mark.parametrize("place", ["skills/greeter/SKILL.md", "skills/greeter", "skills"])
def test_a_link_out_of_the_project_folder_is_refused(tmp_path: Path, place: str) -> None:
    write(tmp_path / "outside", {"skills/greeter/SKILL.md": GREETER})
    link = tmp_path / "project" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "outside" / place)

    problem = only_problem(read(tmp_path / "project"))

    assert problem.file == place
    assert "out of the project folder" in problem.what
    assert "Greets" not in problem.what


@pytest.mark.parametrize("place", ["commands/a.md", "commands/sub", "commands"])
def test_a_command_link_out_of_the_project_folder_is_refused(tmp_path: Path, place: str) -> None:
    write(tmp_path / "outside", {"commands/a.md": "a", "commands/sub/b.md": "b"})
    link = tmp_path / "project" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "outside" / place)

    assert "out of the project folder" in only_problem(read(tmp_path / "project")).what


def test_links_within_the_project_folder_are_followed(tmp_path: Path) -> None:
    write(tmp_path, {"shared/greeter/SKILL.md": GREETER, "shared/a.md": "a", "skills/.keep": "", "commands/.keep": ""})
    (tmp_path / "skills/greeter").symlink_to("../shared/greeter")
    (tmp_path / "commands/a.md").symlink_to("../shared/a.md")

    config = read(tmp_path)

    assert config.problems == ()
    assert [skill.name for skill in config.skills] == ["greeter"]
    assert [command.name for command in config.commands] == ["a"]


def test_circles_and_broken_links_are_reported_and_end(tmp_path: Path) -> None:
    write(tmp_path, {"commands/a.md": "a", "skills/loop/.keep": "", "skills/gone/.keep": ""})
    (tmp_path / "commands/again").symlink_to(".")
    (tmp_path / "commands/self.md").symlink_to("self.md")
    (tmp_path / "commands/gone.md").symlink_to("nowhere")
    (tmp_path / "skills/loop/SKILL.md").symlink_to("SKILL.md")
    (tmp_path / "skills/gone/SKILL.md").symlink_to("nowhere")

    config = read(tmp_path)

    assert [command.name for command in config.commands] == ["a"]
    assert {problem.file for problem in config.problems} == {
        "commands/again",
        "commands/gone.md",
        "commands/self.md",
        "skills/gone/SKILL.md",
        "skills/loop/SKILL.md",
    }


@pytest.mark.parametrize("place", ["skills", "commands"])
def test_a_folder_that_is_a_link_to_itself_is_reported(tmp_path: Path, place: str) -> None:
    (tmp_path / place).symlink_to(place)

    problem = only_problem(read(tmp_path))

    assert problem.file == place
    assert "symbolic links" in problem.what


@pytest.mark.parametrize("place", ["skills/a/SKILL.md", "commands/a.md", "mcp.json"])
def test_a_fifo_is_reported_and_never_waited_for(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / place)

    problem = only_problem(read(tmp_path))

    assert problem.file == place
    assert "not a regular file" in problem.what


def test_a_device_is_reported_and_never_read(tmp_path: Path) -> None:
    write(tmp_path, {"commands/.keep": ""})
    (tmp_path / "commands/zero.md").symlink_to("/dev/zero")
    (tmp_path / "mcp.json").symlink_to("/dev/zero")

    config = read(tmp_path)

    assert [(problem.file, problem.line) for problem in config.problems] == [
        ("mcp.json", None),
        ("commands/zero.md", None),
    ]


def test_names_that_are_no_unicode_are_reported_in_printable_form(tmp_path: Path) -> None:
    names = [os.fsdecode(name) for name in (b"skills/\xff\n/SKILL.md", b"commands/\xfe.md")]
    write(tmp_path, dict.fromkeys(names, GREETER))

    config = read(tmp_path)

    assert len(config.problems) == 2
    assert all(str(problem).encode() and str(problem).isprintable() for problem in config.problems)


@pytest.mark.parametrize("folder", ["skills", "commands"])
def test_more_than_500_entries_are_cut_off_and_reported(tmp_path: Path, folder: str) -> None:
    for number in range(502):
        (tmp_path / folder / f"d{number:03}").mkdir(parents=True)

    config = read(tmp_path)

    assert any("more than 500 entries" in problem.what for problem in config.problems)
    assert len(config.problems) <= 501


def test_a_reading_that_takes_too_long_ends_with_what_it_has(tmp_path: Path) -> None:
    write(tmp_path, {f"commands/c{number}.md": "x" for number in range(9)})
    now = iter(range(100))
    loader = ExtensionLoader(tmp_path, environ={}, clock=lambda: next(now) / 5)

    config = loader.read()

    assert 0 < len(config.commands) < 9
    assert "longer than 2 s" in config.problems[-1].what


async def test_a_file_system_that_hangs_is_left_alone_after_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("claude_pattern.extensions.loader._HANGS", 0.01)
    loader = ExtensionLoader(tmp_path)
    monkeypatch.setattr(loader, "read", lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result())
    try:
        config = await loader.load()
    finally:
        release.set()

    assert ["longer than 2 s" in problem.what for problem in config.problems] == [True]


async def test_the_files_are_read_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[threading.Thread] = []
    loader = ExtensionLoader(tmp_path)
    read_now = loader.read

    def observed() -> ExtensionConfig:
        readers.append(threading.current_thread())
        return read_now()

    monkeypatch.setattr(loader, "read", observed)

    configs = await asyncio.gather(*(loader.load() for _ in range(20)))

    assert len({config.fingerprint for config in configs}) == 1
    assert len(readers) == 20
    assert threading.current_thread() not in readers


def test_the_fingerprint_is_equal_for_equal_content_wherever_it_lies(tmp_path: Path) -> None:
    files = {
        "skills/greeter/SKILL.md": GREETER,
        "commands/a.md": "a",
        "mcp.json": '{"mcpServers": {"x": {"command": "y"}}}',
    }

    assert read(tmp_path / "one", files).fingerprint == read(tmp_path / "two", files).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"skills/greeter/SKILL.md": GREETER + "More."},
        {"commands/a.md": "b"},
        {"commands/b.md": "a"},
        {"mcp.json": '{"mcpServers": {"x": {"command": "z"}}}'},
    ],
)
def test_the_fingerprint_changes_with_everything_that_a_process_fixes_at_its_start(
    tmp_path: Path, change: dict[str, str]
) -> None:
    files = {
        "skills/greeter/SKILL.md": GREETER,
        "commands/a.md": "a",
        "mcp.json": '{"mcpServers": {"x": {"command": "y"}}}',
    }
    before = read(tmp_path, files).fingerprint

    assert read(tmp_path, change).fingerprint != before


def test_the_fingerprint_does_not_change_with_files_that_no_process_reads_at_its_start(tmp_path: Path) -> None:
    before = read(tmp_path, {"skills/greeter/SKILL.md": GREETER}).fingerprint

    assert (
        read(tmp_path, {"skills/greeter/more.md": "x", "skills/bad/SKILL.md": "x", "README": "x"}).fingerprint == before
    )


def test_a_loader_and_a_problem_tell_what_they_are_about() -> None:
    assert repr(ExtensionLoader(Path("/srv/work"))) == "ExtensionLoader('/srv/work')"
    assert str(Problem("mcp.json", "is bad.", 3)) == "mcp.json:3: is bad."


def test_items_can_be_made_by_hand() -> None:
    assert Skill("a", "skills/a/SKILL.md", "d").digest == ""
    assert Command("a", "commands/a.md", "d").argument_hint == ""


NAMES = st.sampled_from(["a", "SKILL.md", "a.md", "ü.md", "b c.md", ".x", "skills", "commands", "\udcff", "x" * 200])
CONTENTS = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.builds(
        lambda name, rest: f"---\nname: {name}\n{rest}\n---\nbody".encode("utf-8", "replace"),
        st.sampled_from(["a", "'", "[", "{}", "*x", "&x y", "? ", "!!python/object:os.system x", "\t"]),
        st.text(max_size=40),
    ),
    st.sampled_from([b"fifo", b"-> ..", b"-> .", b"-> /etc/passwd", b"-> /dev/zero", b"-> nowhere"]),
)


def grow(root: Path, path: str, content: bytes | None) -> None:
    """Make one odd thing at `path`, unless another one is in its way."""
    place = root / path
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            place.mkdir()
        elif content == b"fifo":
            os.mkfifo(place)
        elif content.startswith(b"-> "):
            place.symlink_to(content[3:].decode())
        elif not os.path.lexists(place):
            place.write_bytes(content)
    except OSError:
        assert os.path.lexists(root)


@settings(max_examples=150, deadline=None)
@given(
    tree=st.lists(
        st.tuples(st.sampled_from(["skills", "commands", "mcp.json"]), st.lists(NAMES, max_size=3), CONTENTS),
        max_size=8,
    ),
    servers=st.binary(max_size=80),
)
def test_no_tree_of_files_makes_the_loader_raise(
    tmp_path_factory: pytest.TempPathFactory, tree: list[tuple[str, list[str], bytes | None]], servers: bytes
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for top, names, content in tree:
        grow(root, "/".join([top, *names]), content)
    grow(root, "mcp.json", servers)

    config = read(root)

    assert all(problem.what and problem.file and str(problem).encode() for problem in config.problems)
    left_out = {problem.file for problem in config.problems if problem.severity == "error"}
    assert left_out.isdisjoint(skill.path for skill in config.skills)
    assert left_out.isdisjoint(command.path for command in config.commands)
