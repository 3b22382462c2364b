"""The shipped helpers at the edge of this machine: the isolated CLI, and the scripted API as a program."""

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

from claude_pattern.testing import cli, messages_api
from claude_pattern.testing.messages_api import MessagesAPI

pytestmark = pytest.mark.integration


async def test_nothing_of_this_machine_reaches_the_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "MY_SECRET", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "FOREIGN")
    async with (
        MessagesAPI() as api,
        cli.client(tmp_path, api, allowed_tools=["Bash"], env={"GIVEN": "yes"}) as client,
    ):
        await client.query('!tool Bash {"command": "set"}')
        async for _message in client.receive_response():
            pass

    first, second = api.requests
    (result,) = second.call.results
    assert "FOREIGN" not in result.text
    assert f"HOME={tmp_path / 'home'}" in result.text
    assert "GIVEN=yes" in result.text
    assert first.headers["x-api-key"] == messages_api.DUMMY_KEY
    assert "authorization" not in first.headers


async def test_it_runs_as_a_program_until_it_is_told_to_end(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- reply: from the script\n")
    command = (sys.executable, "-m", messages_api.__name__, "--port", "0", "--script", str(script), "--pace", "0")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().strip()
        body = {"messages": [{"role": "user", "content": "hello"}]}
        async with httpx.AsyncClient(base_url=address) as client:
            answer = (await client.post("/v1/messages", json=body)).json()
    finally:
        process.terminate()
        code = await process.wait()

    assert answer["content"][0]["text"] == "from the script"
    assert code == 0
