"""What holds for every test: nothing of this machine's own accounts, keys and settings is seen."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import claude_pattern
from claude_pattern.settings import Settings

TESTS = Path(__file__).parent

_FOREIGN = (
    *("ANTHROPIC_", "CLAUDE", "API_TIMEOUT", "DISABLE_", "ENABLE_", "MCP_"),  # steer Claude Code
    *("AWS_", "AZURE_", "CLOUD_ML_", "GCLOUD_", "GCP_", "GOOGLE_", "VERTEX_"),  # the clouds' credentials
    *("OPENAI_", "GH_", "GITHUB_TOKEN", "SSH_", "REDIS_", "PG", "KUBE"),  # other people's doors
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NODE_OPTIONS", "OTEL_", "XDG_"),
)
_OTHER_NAMES = {"chromium": ("chromium", "chromium-browser", "google-chrome")}


def pytest_addoption(parser: pytest.Parser) -> None:
    """How hard the fault tests try, and where they write what they measured."""
    parser.addoption("--faults", type=int, default=2, help="how often each fault is made (scripts/soak: many times)")
    parser.addoption("--figures", type=Path, help="append what fault tests measure to this file, a JSON line each")


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> int:
    """How often a fault test makes its fault."""
    return int(request.config.getoption("--faults"))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Notes a measurement: `figures("name", seconds=1.5)`."""
    path: Path | None = request.config.getoption("--figures")

    def note(name: str, **values: object) -> None:
        if path is not None:
            with path.open("a") as file:
                file.write(json.dumps({"name": name, **values}) + "\n")

    return note


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home of its own, an empty working folder (no `.env`), and no variable that opens or steers anything."""
    home = tmp_path_factory.mktemp("home")
    settings = {name.upper() for name in Settings.model_fields}
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(_FOREIGN) or name in settings:
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("CLAUDE_CONFIG_DIR", str(home / ".claude"))
        patch.chdir(tmp_path_factory.mktemp("empty"))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What tells most in the least time runs first; the browser last, for Playwright keeps an event loop running."""
    folders = ("unit", "integration", "browser")
    items.sort(key=lambda item: folders.index(item.path.relative_to(TESTS).parts[0]))


def pytest_report_header() -> str:
    """Tell which copy of the package is tested: the checkout's or an installed wheel's."""
    return f"claude_pattern: {claude_pattern.__path__[0]}"


def require_program(name: str, debian_package: str) -> str:
    """The path of a program that the test needs; where it is missing the test fails in CI and is skipped elsewhere."""
    for candidate in _OTHER_NAMES.get(name, (name,)):
        if path := shutil.which(candidate):
            return path
    missing = f"The program {name} is not installed. On Debian: apt-get install {debian_package}"
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(missing)
    pytest.fail(missing, pytrace=False)
