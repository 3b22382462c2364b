"""The real CLI sees exactly the good items, by the names we publish, and starts exactly the good servers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from claude_agent_sdk import ClaudeSDKClient, ResultMessage

from claude_pattern.extensions import ExtensionConfig, ExtensionLoader, link_into, write_mcp_config
from claude_pattern.testing.cli import client
from claude_pattern.testing.messages_api import MessagesAPI

ROOT = Path(__file__).parents[2]
PRINTER = """
import json, os, sys
json.dump({"args": sys.argv[2:], "value": os.environ["VALUE"]}, open(sys.argv[1], "w"))
"""


@asynccontextmanager
async def session(
    tmp_path: Path, api: MessagesAPI, config: ExtensionConfig, **options: Any
) -> AsyncIterator[ClaudeSDKClient]:
    """A CLI that was given `config`, in a working folder that is not the project's."""
    link_into(config, tmp_path / "claude")
    servers = tmp_path / "run" / "mcp.json"
    write_mcp_config(config, servers)
    async with client(tmp_path, api, mcp_servers=str(servers), **options) as connected:
        yield connected


async def own_commands(connected: ClaudeSDKClient) -> dict[str, dict[str, Any]]:
    """What the CLI lists besides its own commands."""
    info = await connected.get_server_info() or {}
    listed = {command["name"]: command for command in info["commands"]}
    return {name: command for name, command in listed.items() if "(user)" in command["description"]}


async def turn(connected: ClaudeSDKClient, api: MessagesAPI, text: str) -> str:
    """Send `text`; the last message of the first request that it led to, as text."""
    before = len(api.requests)
    await connected.query(text)
    [*_, result] = [message async for message in connected.receive_response()]
    assert isinstance(result, ResultMessage)
    assert not result.is_error
    said = [message for message in api.requests[before].body["messages"] if message["role"] == "user"]
    return json.dumps(said[-1]["content"])


async def servers(connected: ClaudeSDKClient) -> dict[str, str]:
    """The state of every MCP server once none is starting any more."""
    async with asyncio.timeout(30):
        while True:
            status = await connected.get_mcp_status()
            found = {server["name"]: str(server["status"]) for server in status["mcpServers"]}
            if "pending" not in found.values():
                return found
            await asyncio.sleep(0.02)


async def test_exactly_the_good_items_are_listed_under_our_names(tmp_path: Path, api: MessagesAPI) -> None:
    project = tmp_path / "project"
    files = {
        "skills/good/SKILL.md": "---\nname: good\ndescription: Is good.\n---\nDo it.",
        "skills/headless/SKILL.md": "No frontmatter.",
        "skills/broken/SKILL.md": "---\nname: [unclosed\n---\nb",
        "skills/other/SKILL.md": "---\nname: different\ndescription: d\n---\nb",
        "commands/hello.md": "---\ndescription: Says hello.\nargument-hint: [who] [how]\n---\nSay hello to $ARGUMENTS",
        "commands/sub/deep/nested.v1.md": "Nested $ARGUMENTS",
        "commands/broken.md": "---\ndescription: [unclosed\n---\nb",
        "commands/with space.md": "b",
        "commands/compact.md": "b",
        "commands/empty.md": "",
    }
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    config = await ExtensionLoader(project).load()

    async with session(tmp_path, api, config) as connected:
        listed = await own_commands(connected)
        nested = await turn(connected, api, "/sub:deep:nested.v1 a b")

    assert set(listed) == {skill.name for skill in config.skills} | {command.name for command in config.commands}
    assert set(listed) == {"good", "hello", "sub:deep:nested.v1"}
    assert listed["hello"]["argumentHint"] == config.commands[0].argument_hint == "[who] [how]"
    assert "Nested a b" in nested


async def test_the_sample_commands_and_skills_reach_the_model_with_their_arguments(
    tmp_path: Path, api: MessagesAPI
) -> None:
    config = await ExtensionLoader(ROOT).load()
    environment = {"CLAUDE_CODE_DISABLE_BUNDLED_SKILLS": "1"}

    async with session(tmp_path, api, config, env=environment) as connected:
        listed = await own_commands(connected)
        said = {name: await turn(connected, api, f"/{name} the red door") for name in listed}

    assert set(listed) == {
        "code-review",
        "explain-project",
        "release-notes",
        "fix",
        "git:commit",
        "plan",
        "write-tests",
    }
    assert [name for name, text in said.items() if "<command-args>the red door" not in text] == []
    assert "Something goes wrong: the red door" in said["fix"]
    assert "Commit the present work. About it: the red door" in said["git:commit"]
    assert "What to review: the red door" in said["code-review"]


async def test_the_sample_server_connects_and_its_tools_run_in_any_working_folder(
    tmp_path: Path, api: MessagesAPI
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "json.py").write_text("raise SystemExit('a module of the working folder was imported')")
    config = await ExtensionLoader(ROOT).load()

    async with session(tmp_path, api, config, allowed_tools=["mcp__notebook"]) as connected:
        assert await servers(connected) == {"notebook": "connected"}
        note = {"text": "The key is under the mat", "tags": ["home"]}
        await turn(connected, api, f"!tool mcp__notebook__add_note {json.dumps(note)}")
        await turn(connected, api, '!tool mcp__notebook__search_notes {"query": "mat home"}')

    [line] = (work / "notes.jsonl").read_text().splitlines()
    assert json.loads(line) | note == json.loads(line)
    assert "The key is under the mat" in json.dumps(api.requests[-1].body["messages"][-1])


async def test_good_servers_start_beside_bad_ones_with_their_values_exactly(tmp_path: Path, api: MessagesAPI) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "printer.py").write_text(PRINTER)
    out = tmp_path / "printed.json"
    entry = {
        "command": "${CLAUDE_PATTERN_PYTHON:-python3}",
        "args": [str(project / "printer.py"), str(out), "${ODD}", "${HOME_OF_NOBODY:-d}"],
        "env": {"VALUE": "x${ODD}y"},
    }
    named = {"good": entry, "bad": {"args": []}, "unset": {"command": "${GONE}"}, "workspace": {"command": "x"}}
    (project / "mcp.json").write_text(json.dumps({"mcpServers": named}))
    odd = "${HOME} ${A:-${B}} $${PATH}"
    config = await ExtensionLoader(project, environ={"ODD": odd}).load()

    async with session(tmp_path, api, config) as connected:
        state = await servers(connected)

    assert list(state) == list(config.mcp_servers) == ["good"]
    assert json.loads(out.read_text()) == {"args": [odd, "d"], "value": f"x{odd}y"}
    assert len(config.problems) == 3


async def test_a_malformed_file_costs_its_servers_and_not_the_session(tmp_path: Path, api: MessagesAPI) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "mcp.json").write_text('{"mcpServers": {"x": }}')
    config = await ExtensionLoader(project).load()

    async with session(tmp_path, api, config) as connected:
        assert await servers(connected) == {}
        assert "hello" in await turn(connected, api, "hello")

    assert [problem.line for problem in config.problems] == [1]


async def test_a_running_session_keeps_its_commands_when_another_one_starts_with_more(
    tmp_path: Path, api: MessagesAPI
) -> None:
    project = tmp_path / "project"
    (project / "commands").mkdir(parents=True)
    (project / "commands/old.md").write_text("Old $ARGUMENTS")
    loader = ExtensionLoader(project)
    before = await loader.load()

    async with session(tmp_path, api, before) as running:
        (project / "commands/new.md").write_text("New $ARGUMENTS")
        after = await loader.load()
        async with session(tmp_path, api, after) as started:
            assert set(await own_commands(started)) == {"old", "new"}
            assert "New a" in await turn(started, api, "/new a")
        assert "Old b" in await turn(running, api, "/old b")

    assert before.fingerprint != after.fingerprint
