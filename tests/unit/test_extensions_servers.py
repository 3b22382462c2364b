"""`mcp.json`: good entries are kept with their variables expanded, bad ones named with their line, secrets hidden."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_pattern import logs
from claude_pattern.extensions import ExtensionConfig, ExtensionLoader


def read(folder: Path, content: str | bytes | dict[str, Any], **environ: str) -> ExtensionConfig:
    """What the loader makes of a `mcp.json`."""
    text = json.dumps(content, indent=2) if isinstance(content, dict) else content
    (folder / "mcp.json").write_bytes(text.encode() if isinstance(text, str) else text)
    return ExtensionLoader(folder, environ=environ, clock=lambda: 0.0).read()


def read_entry(folder: Path, entry: Any, **environ: str) -> ExtensionConfig:
    """The same for a file with the one server `x`; its fields begin on line 4."""
    return read(folder, {"mcpServers": {"x": entry}}, **environ)


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "program"},
        {"command": "program", "args": ["-a", ""], "env": {"A": "b", "EMPTY": ""}},
        {"type": "stdio", "command": "program", "timeout": 5000, "alwaysLoad": True},
        {"type": "http", "url": "https://example.com:8443/mcp?a=b", "headers": {"X-Key": "k"}},
        {"type": "sse", "url": "http://127.0.0.1/sse", "headersHelper": "print-headers", "oauth": {"clientId": "c"}},
    ],
)
def test_a_good_entry_is_kept_as_it_is(tmp_path: Path, entry: dict[str, Any]) -> None:
    config = read_entry(tmp_path, entry)

    assert config.mcp_servers == {"x": entry}
    assert config.problems == ()


def test_the_other_spelling_of_http_is_understood(tmp_path: Path) -> None:
    config = read_entry(tmp_path, {"type": "streamable-http", "url": "https://example.com/"})

    assert config.mcp_servers["x"]["type"] == "http"
    assert config.problems == ()


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("", 1, "not valid JSON"),
        ('{\n "mcpServers": {\n  "x": {"command": "y",}\n }\n}', 3, "not valid JSON"),
        ('{\n "mcpServers": {}\n} trailing', 3, "extra data at column 3"),
        ("[]", 1, "no mcpServers"),
        ('{"servers": {}}', 1, "no mcpServers"),
        ('{"mcpServers": []}', 1, "not an object"),
        (b'{"mcpServers": {}}\n\xff', 2, "not UTF-8"),
        ("[" * 40_000, None, "nested too deeply"),
        ("[" * 60_000, None, "far too many"),
        ('{"mcpServers": ' + "1" * 5_000 + "}", None, "number that is too long"),
        (" " * (1024 * 1024 + 1), None, "larger than 1024 KiB"),
    ],
)
def test_a_malformed_file_is_reported_and_gives_no_server(
    tmp_path: Path, content: str | bytes, line: int | None, says: str
) -> None:
    config = read(tmp_path, content)

    assert config.mcp_servers == {}
    [problem] = config.problems
    assert (problem.file, problem.line, problem.severity) == ("mcp.json", line, "error")
    assert says in problem.what


@pytest.mark.parametrize(
    ("entry", "line", "says"),
    [
        ("npx server", 3, "'x' was left out: it is not an object"),
        ({}, 3, "command is missing"),
        ({"args": []}, 3, "command is missing"),
        ({"command": 5}, 4, "command is not a text"),
        ({"command": " "}, 4, "command is empty"),
        ({"command": "a\0b"}, 4, "command holds a character"),
        ({"command": "a" * 20_000}, 4, "command is longer than 16 KiB"),
        ({"command": "y", "args": "z"}, 5, "args is not a list"),
        ({"command": "y", "args": ["--port", 8080]}, 5, "args.1 is not a text"),
        ({"command": "y", "env": ["A=b"]}, 5, "env is not an object"),
        ({"command": "y", "env": {"A": "b", "DEBUG": True}}, 7, "env.DEBUG is not a text"),
        ({"command": "y", "env": {"A=B": "c"}}, 6, "no variable can have"),
        ({"command": "y", "timeout": 0}, 5, "timeout is not above zero"),
        ({"command": "y", "timeout": "1"}, 5, "timeout is not a whole number"),
        ({"command": "y", "alwaysLoad": "yes"}, 5, "alwaysLoad is neither true nor false"),
        ({"type": "nope", "command": "y"}, 4, "'nope'"),
        ({"type": 5, "command": "y"}, 4, "Write stdio, http or sse"),
        ({"url": "https://example.com/"}, 4, "no type"),
        ({"type": "http"}, 3, "url is missing"),
        ({"type": "http", "url": "example.com"}, 5, "no address"),
        ({"type": "http", "url": "file:///etc/passwd"}, 5, "no address"),
        ({"type": "http", "url": "https://[::1"}, 5, "no address"),
        ({"type": "http", "url": "https://x:99999/"}, 5, "no address"),
        ({"type": "sse", "url": "https://x/", "headers": {"A b": "c"}}, 7, "no header can have"),
        ({"type": "sse", "url": "https://x/", "headers": {"A": "b\r\nC: d"}}, 7, "line break"),
    ],
)
def test_a_bad_entry_is_left_out_and_named_with_its_line(tmp_path: Path, entry: Any, line: int, says: str) -> None:
    config = read(tmp_path, {"mcpServers": {"x": entry, "good": {"command": "y"}}})

    assert list(config.mcp_servers) == ["good"]
    [problem] = config.problems
    assert (problem.file, problem.line, problem.severity) == ("mcp.json", line, "error")
    assert says in problem.what
    assert problem.what.startswith("server 'x' was left out: ")


def test_every_fault_of_an_entry_is_reported(tmp_path: Path) -> None:
    config = read_entry(tmp_path, {"command": 1, "args": 2, "env": 3})

    assert [problem.line for problem in config.problems] == [4, 5, 6]


@pytest.mark.parametrize("name", ["with space", "dot.dot", "ü", "", "a" * 65, "\ud800", "workspace", "computer-use"])
def test_a_name_that_the_cli_does_not_take_is_left_out(tmp_path: Path, name: str) -> None:
    config = read(tmp_path, {"mcpServers": {name: {"command": "y"}}})

    assert config.mcp_servers == {}
    [problem] = config.problems
    assert problem.what.encode()


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ('{"mcpServers": {"x": {"command": "y"}},\n "inputs": []}', 2, "unknown field 'inputs'"),
        ('{"mcpServers": {"x":\n {"command": "y",\n "arg": ["z"]}}}', 3, "unknown field 'arg'"),
        (
            '{"mcpServers": {"x": {"command": "y"},\n\n "x": {"command": "z"}}}',
            3,
            "'mcpServers.x' twice, first in line 1",
        ),
        ('{"mcpServers": {"x": {"command": "y",\n "command": "z"}}}', 2, "'mcpServers.x.command' twice"),
        ('{"mcpServers": {"x": {"command": "y", "env": {"A": "1",\n "A": "2"}}}}', 2, "'mcpServers.x.env.A' twice"),
        ('{"mcpServers": {"z": {"command": "y"}},\n "mcpServers": {"x": {"command": "y"}}}', 2, "'mcpServers' twice"),
    ],
)
def test_unknown_fields_and_duplicates_are_warnings_and_the_entry_is_kept(
    tmp_path: Path, content: str, line: int, says: str
) -> None:
    config = read(tmp_path, content)

    assert list(config.mcp_servers) == ["x"]
    [problem] = config.problems
    assert (problem.line, problem.severity) == (line, "warning")
    assert says in problem.what


def test_lines_are_right_where_strings_look_like_keys_and_brackets(tmp_path: Path) -> None:
    content = '{"mcpServers": {"a": {"command": "\\"x\\": {[", "args": ["x", "{",\n"]"]},\n"x"\n:\n{"command": 5}}}'

    [problem] = read(tmp_path, content).problems

    assert (problem.line, "'x'" in problem.what) == (5, True)


def test_unknown_fields_are_not_handed_to_the_cli(tmp_path: Path) -> None:
    assert read_entry(tmp_path, {"command": "y", "cwd": "/"}).mcp_servers == {"x": {"command": "y"}}


def test_more_than_500_servers_are_cut_off_and_reported(tmp_path: Path) -> None:
    config = read(tmp_path, {"mcpServers": {f"s{number}": {"command": "y"} for number in range(502)}})

    assert len(config.mcp_servers) == 500
    assert ["more than 500 servers" in problem.what for problem in config.problems] == [True]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${HOST}", "h"),
        ("a${HOST}b${HOST}", "ahbh"),
        ("${HOST:-d}", "h"),
        ("${EMPTY:-d}", ""),
        ("${GONE:-d}", "d"),
        ("${GONE:-}", ""),
        ("${GONE:-${HOST}", "${HOST"),
        ("$HOST", "$HOST"),
        ("${1}", "${1}"),
        ("${REF}", "${HOST}"),
    ],
)
def test_variables_are_expanded_once_as_the_cli_would(tmp_path: Path, text: str, expanded: str) -> None:
    environ = {"HOST": "h", "EMPTY": "", "REF": "${HOST}"}
    entry = {"command": f"c{text}", "args": [text], "env": {"A": text}}
    service = {"type": "http", "url": f"https://x/{text}", "headers": {"A": text}}
    config = read(tmp_path, {"mcpServers": {"x": entry, "y": service}}, **environ)

    assert config.problems == ()
    assert config.mcp_servers["x"] == {"command": f"c{expanded}", "args": [expanded], "env": {"A": expanded}}
    assert config.mcp_servers["y"] == {"type": "http", "url": f"https://x/{expanded}", "headers": {"A": expanded}}


def test_a_variable_that_is_not_set_leaves_the_entry_out(tmp_path: Path) -> None:
    config = read_entry(tmp_path, {"command": "y", "env": {"A": "${ONE}${TWO}", "B": "${TWO}"}})

    assert config.mcp_servers == {}
    assert [problem.line for problem in config.problems] == [6, 6]
    assert "ONE" in config.problems[0].what
    assert "${TWO:-default}" in config.problems[1].what


def test_the_own_python_is_always_a_variable(tmp_path: Path) -> None:
    config = read_entry(tmp_path, {"command": "${CLAUDE_PATTERN_PYTHON}"})

    assert Path(config.mcp_servers["x"]["command"]).is_file()


def test_variables_come_from_the_environment_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = ExtensionLoader(tmp_path)
    monkeypatch.setenv("TOOL", "from-the-environment")
    read_entry(tmp_path, {"command": "${TOOL}"})

    assert loader.read().mcp_servers == {"x": {"command": "from-the-environment"}}


SECRETS = {f"CANARY_{number}_TOKEN": f"canary-{number}-value" for number in range(10)}


def guarded(folder: Path) -> ExtensionConfig:
    """Servers with secrets in every place: literal ones "literal-...", and variables."""
    return read(
        folder,
        {
            "mcpServers": {
                "program": {
                    "command": "npx",
                    "args": [
                        "-y",
                        "x",
                        "--api-key",
                        "literal-a1",
                        "--token=literal-a2",
                        "--header",
                        "Auth: literal-a3",
                    ],
                    "env": {"SECRET": "literal-e1", "PATH_LIKE": "literal-e2", "KEY": "${CANARY_1_TOKEN}"},
                },
                "service": {
                    "type": "http",
                    "url": "https://literal-user:literal-pw@example.com/${CANARY_2_TOKEN}?api_key=literal-q1&page=2",
                    "headers": {"Authorization": "Bearer ${CANARY_3_TOKEN}", "X-Other": "literal-h1"},
                },
                "bad": {"command": 5, "env": {"SECRET": "literal-b1", "${CANARY_4_TOKEN}": 5}},
                "worse": {"type": "http", "url": "literal-b2 ${CANARY_5_TOKEN}"},
            }
        },
        **SECRETS,
    )


def test_nothing_secret_is_in_what_people_see(tmp_path: Path) -> None:
    config = guarded(tmp_path)
    seen = json.dumps(config.masked()) + "".join(map(str, config.problems)) + repr(config) + config.fingerprint

    assert "literal" not in seen
    assert "canary-" not in seen
    assert len(config.problems) == 3


def test_what_is_not_secret_stays_readable(tmp_path: Path) -> None:
    seen = guarded(tmp_path).masked()

    assert seen["program"]["args"][:3] == ["-y", "x", "--api-key"]
    assert seen["program"]["args"][3:] == [logs.MASK, f"--token={logs.MASK}", "--header", f"Auth: {logs.MASK}"]
    assert seen["program"]["env"] == dict.fromkeys(["SECRET", "PATH_LIKE", "KEY"], logs.MASK)
    assert seen["service"]["url"] == f"https://{logs.MASK}@example.com/${{CANARY_2_TOKEN}}?api_key={logs.MASK}&page=2"


def test_the_secrets_for_the_log_scrubber_are_those_that_were_used(tmp_path: Path) -> None:
    secrets = set(guarded(tmp_path).secrets())

    assert {"canary-1-value", "canary-2-value", "Bearer canary-3-value", "canary-3-value"} <= secrets
    assert {"literal-a1", "literal-a2", "literal-a3", "literal-e1", "literal-h1"} <= secrets
    assert "literal-e2" not in secrets


def test_a_reader_cannot_change_the_configuration(tmp_path: Path) -> None:
    config = read_entry(tmp_path, {"command": "y", "args": ["a"]})
    config.mcp_servers["x"]["args"].append("b")
    config.masked()["x"]["args"].append("b")

    assert config.mcp_servers["x"]["args"] == config.masked()["x"]["args"] == ["a"]


def test_a_file_mounted_from_elsewhere_is_read(tmp_path: Path) -> None:
    (tmp_path / "mounted").write_text('{"mcpServers": {"x": {"command": "y"}}}')
    (tmp_path / "project").mkdir()
    (tmp_path / "project/mcp.json").symlink_to(tmp_path / "mounted")

    assert list(ExtensionLoader(tmp_path / "project").read().mcp_servers) == ["x"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["${A}", "${B:-c}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["type", "command", "args", "env", "url", "headers", "timeout", "oauth", "x"])
ENTRY = JSON | st.dictionaries(FIELDS, JSON | st.sampled_from(["http", "sse", "stdio", "https://x/"]), max_size=5)


@settings(deadline=None)
@given(named=st.dictionaries(st.text(max_size=5) | st.sampled_from("abc"), ENTRY, max_size=3))
def test_no_entry_makes_the_loader_raise(tmp_path_factory: pytest.TempPathFactory, named: Mapping[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("mcp")
    config = read(folder, {"mcpServers": dict(named)}, A="a")

    assert set(config.mcp_servers) <= set(named)
    left_out = [name for name in named if name not in config.mcp_servers]
    assert len([problem for problem in config.problems if problem.severity == "error"]) >= len(left_out)
    assert json.dumps([config.masked(), [str(problem) for problem in config.problems]], ensure_ascii=False).encode()
