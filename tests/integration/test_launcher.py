"""The wrapper that becomes the CLI: process id, environment, and what ends it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_pattern.process import identity, launcher

PROGRAMS = Path(__file__).parent.parent / "programs"
CANARY = "canary-0123456789"
SHELLS: list[list[str]] = [[]] + [[found] for name in ("dash", "bash", "busybox") if (found := shutil.which(name))]
MARKER = "launcher.session.1-1-1"
GONE_S = 1.0


@pytest.fixture
def cli(tmp_path: Path) -> Path:
    """An executable that tells what it was given."""
    return executable(tmp_path / "claude", (PROGRAMS / "tells.py").read_text())


def executable(path: Path, text: str, interpreter: str = f"{sys.executable} -S") -> Path:
    path.write_text(f"#!{interpreter}\n{text}")
    path.chmod(0o755)
    return path


def environment(cli: Path, **more: str) -> dict[str, str]:
    return {**os.environ, **launcher.environment(cli, MARKER), **more}


def launch(
    cli: Path, *arguments: str, shell: list[str] | None = None, env: dict[str, str] | None = None, **options: Any
) -> tuple[int, dict[str, Any]]:
    """Run the wrapper to its end; its process id, and what the CLI told."""
    with subprocess.Popen(
        [*(shell or []), str(launcher.wrapper()), *arguments],
        env=environment(cli) if env is None else env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    ) as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return process.pid, json.loads(out)


def tools(folder: Path, *names: str) -> str:
    """A PATH with these programs and no others."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return str(folder)


class TestProcess:
    def test_the_process_id_stays_and_the_process_leads_a_session_of_its_own(self, cli: Path) -> None:
        pid, told = launch(cli)
        assert told["pid"] == told["group"] == told["session"] == pid

    @pytest.mark.parametrize("options", [{"process_group": 0}, {"start_new_session": True}])
    def test_the_process_id_stays_where_it_leads_a_group_already(self, cli: Path, options: dict[str, Any]) -> None:
        pid, told = launch(cli, **options)
        assert told["pid"] == told["group"] == pid

    def test_arguments_pass_unchanged(self, cli: Path) -> None:
        arguments = ["--flag", "two words", "it's", '"$(id)"', "line\nbreak", "", "*", "-u", "--", "x" * 100_000]
        assert launch(cli, *arguments)[1]["arguments"] == arguments

    @pytest.mark.parametrize("name", ["cl=aude", "cl aude's", "-claude"])
    def test_the_cli_may_have_an_odd_path(self, cli: Path, name: str) -> None:
        odd = cli.with_name(name)
        cli.rename(odd)
        assert launch(odd, "hello")[1]["arguments"] == ["hello"]

    @pytest.mark.parametrize("cli_path", ["", "/nowhere/claude", "/tmp"])
    def test_a_missing_cli_is_one_sentence(self, cli: Path, cli_path: str) -> None:
        env = environment(cli, CLAUDE_PATTERN_CLI=cli_path)
        done = subprocess.run([launcher.wrapper()], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 127
        assert done.stderr == "claude-pattern: CLAUDE_PATTERN_CLI is not an executable file\n"


@pytest.mark.parametrize("shell", SHELLS, ids=str)
class TestEnvironment:
    def test_only_the_named_variables_reach_the_cli(self, cli: Path, shell: list[str]) -> None:
        odd = {
            "SECRET": CANARY,
            "A-B": CANARY,
            "two words": CANARY,
            "line\nbreak": CANARY,
            "it's": CANARY,
            "-u": CANARY,
            "$(touch pwned)": CANARY,
            "BASH_FUNC_ls%%": "() { echo " + CANARY + "; }",
            "é": CANARY,
            "MULTI": f"first\nSECOND={CANARY}\n",
            "LAST": CANARY + "\n",
            # read-only or special in one shell or another
            "UID": "7",
            "EUID": "7",
            "PPID": "7",
            "SHELLOPTS": "braceexpand",
            "BASHOPTS": "cmdhist",
            "BASH_VERSINFO": CANARY,
            "IFS": "AEIOU",
            "ENV": "/nowhere/" + CANARY,
            "PS4": CANARY,
            "POSIXLY_CORRECT": "1",
        }
        kept = {"KEPT": f"first\nSECOND={CANARY}\n", "EMPTY": "", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
        steering = launcher.environment(cli, MARKER, keep=["KEPT", "EMPTY"])
        _, told = launch(cli, shell=shell, env={**odd, **kept, **steering}, cwd=cli.parent)
        assert told["environment"] == {**kept, "CLAUDE_PATTERN_MARKER": MARKER} | pwd(told)
        assert not (cli.parent / "pwned").exists()

    def test_nothing_passes_when_nothing_is_named(self, cli: Path, shell: list[str]) -> None:
        env = {"CLAUDE_PATTERN_CLI": str(cli), "PATH": os.environ["PATH"], "SECRET": CANARY}
        assert launch(cli, shell=shell, env=env)[1]["environment"] == {}

    def test_the_wrapper_does_not_tell_its_own_variables_even_if_asked_to(self, cli: Path, shell: list[str]) -> None:
        env = environment(cli, CLAUDE_PATTERN_KEEP="PATH CLAUDE_PATTERN_KEEP CLAUDE_PATTERN_CLI")
        assert launch(cli, shell=shell, env=env)[1]["environment"].keys() == {"PATH", "CLAUDE_PATTERN_MARKER"}

    def test_many_variables_are_no_problem(self, cli: Path, shell: list[str]) -> None:
        env = environment(cli, **{f"SERVICE_{number}_HOST": CANARY for number in range(3000)})
        told = launch(cli, shell=shell, env=env)[1]
        assert not [name for name in told["environment"] if name.startswith("SERVICE_")]


def pwd(told: dict[str, Any]) -> dict[str, str]:
    """PWD passes, since the SDK sets it; some shells set it by themselves."""
    return {name: value for name, value in told["environment"].items() if name == "PWD"}


class TestSystemsThatLackSomething:
    def test_without_setsid_and_setpriv_perl_gives_the_process_its_session(self, cli: Path, tmp_path: Path) -> None:
        env = environment(cli, PATH=tools(tmp_path / "bin", "sh", "awk", "env", "perl"), SECRET=CANARY)
        pid, told = launch(cli, "-e", "two words", env=env)
        assert told["pid"] == told["session"] == pid
        assert told["arguments"] == ["-e", "two words"]
        assert "SECRET" not in told["environment"]

    def test_with_nothing_but_the_shell_the_environment_is_still_filtered(self, cli: Path, tmp_path: Path) -> None:
        odd = cli.with_name("cl=aude")
        cli.rename(odd)
        env = environment(odd, PATH=tools(tmp_path / "bin", "sh", "awk", "env"), SECRET=CANARY)
        pid, told = launch(odd, "two words", env=env)
        assert told["pid"] == pid
        assert told["arguments"] == ["two words"]
        assert "SECRET" not in told["environment"]

    def test_with_an_odd_path_and_nothing_to_add_the_cli_still_starts(self, cli: Path, tmp_path: Path) -> None:
        odd = cli.with_name("cl=aude")
        cli.rename(odd)
        env = environment(odd, PATH=tools(tmp_path / "bin", "sh", "awk", "env", "setsid"))
        pid, told = launch(odd, env=env, process_group=0)
        assert told["pid"] == told["group"] == pid

    def test_a_setpriv_that_knows_no_death_signal_is_not_used(self, cli: Path, tmp_path: Path) -> None:
        path = tools(tmp_path / "bin", "sh", "awk", "env", "setsid")
        executable(tmp_path / "bin" / "setpriv", "echo 'unrecognized option' >&2; exit 1", "/bin/sh")
        pid, told = launch(cli, env=environment(cli, PATH=path))
        assert told["pid"] == told["session"] == pid

    def test_without_awk_nothing_is_started(self, cli: Path, tmp_path: Path) -> None:
        env = environment(cli, PATH=tools(tmp_path / "bin", "sh", "env", "setsid", "setpriv"))
        done = subprocess.run([launcher.wrapper()], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (127, "")
        assert done.stderr.splitlines()[-1] == "claude-pattern: awk is missing: the environment cannot be filtered"

    def test_a_path_that_may_not_pass_is_still_used_to_find_the_tools(self, cli: Path) -> None:
        env = environment(cli, CLAUDE_PATTERN_KEEP="HOME")
        pid, told = launch(cli, env=env)
        assert told["session"] == pid
        assert "PATH" not in told["environment"]


class TestEnd:
    @pytest.fixture
    def start(self, cli: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[int, int]]]:
        """Starts a stand-in for the server that starts the CLI; their two process ids."""
        children: list[int] = []
        servers: list[subprocess.Popen[str]] = []

        def start(command: Path) -> tuple[int, int]:
            with (tmp_path / "told").open("w") as told:
                server = subprocess.Popen(
                    [sys.executable, str(PROGRAMS / "starter.py"), str(command), "stay"],
                    env=environment(cli),
                    stdout=subprocess.PIPE,
                    stderr=told,
                    text=True,
                    start_new_session=True,
                )
            servers.append(server)
            assert server.stdout is not None
            child = int(json.loads(server.stdout.readline())["child"])
            children.append(child)
            server.stdout.close()
            assert happens(lambda: (tmp_path / "told").read_text().endswith("\n"), 10.0)
            return server.pid, child

        yield start
        for child in children:
            if runs(child):
                os.kill(child, signal.SIGKILL)
        for server in servers:
            server.kill()
            server.wait()

    def test_it_dies_with_a_killed_server(self, start: Callable[..., tuple[int, int]]) -> None:
        server, child = start(launcher.wrapper())
        os.kill(server, signal.SIGKILL)
        assert happens(lambda: not runs(child), GONE_S)

    def test_without_the_wrapper_it_would_live_on(self, start: Callable[..., tuple[int, int]], cli: Path) -> None:
        """What the test above is worth."""
        server, child = start(cli)
        os.kill(server, signal.SIGKILL)
        assert not happens(lambda: not runs(child), GONE_S / 2)

    def test_ctrl_c_in_the_terminal_of_the_server_does_not_reach_it(
        self, start: Callable[..., tuple[int, int]]
    ) -> None:
        server, child = start(launcher.wrapper())
        os.killpg(server, signal.SIGINT)
        assert not happens(lambda: not runs(child), GONE_S / 2)

    def test_without_the_wrapper_ctrl_c_would_end_it(self, start: Callable[..., tuple[int, int]], cli: Path) -> None:
        """What the test above is worth."""
        server, child = start(cli)
        os.killpg(server, signal.SIGINT)
        assert happens(lambda: not runs(child), 10.0)


def runs(pid: int) -> bool:
    seen = identity.look(pid)
    return seen is not None and not seen.zombie


def happens(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it happens within so many seconds."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= ends:
            return False
        time.sleep(0.005)
    return True
