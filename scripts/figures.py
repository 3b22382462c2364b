"""Prints what the fault tests have measured: `scripts/figures.py FILE`, the file that pytest wrote by `--figures`.

Words and truth values tell measurements of one name apart; each number gets a line of its own.
"""

import json
import platform
import sys
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from typing import Any

from claude_agent_sdk._cli_version import __cli_version__

PACKAGES = ("claude-pattern", "claude-agent-sdk", "nicegui")


def where() -> str:
    """The day, the machine and the versions, as the documents name them."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {versions}, CLI {__cli_version__}"


def grouped(lines: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """The numbers of every kind of measurement, by the names of the numbers."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        name = str(line.pop("name"))
        kind = " ".join([name, *(f"{key}={value}" for key, value in line.items() if isinstance(value, str | bool))])
        for key, value in line.items():
            if not isinstance(value, str | bool):
                found[kind][key].append(value)
    return found


def table(lines: list[dict[str, Any]]) -> str:
    """The measurements in Markdown."""
    rows = ["| measured | figure | times | least | p50 | p95 | most |", "|---|---|---|---|---|---|---|"]
    for kind, figures in grouped(lines).items():
        for key, values in figures.items():
            at = quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
            shown = " | ".join(f"{value:.4g}" for value in (min(values), at[9], at[18], max(values)))
            rows.append(f"| {kind} | {key} | {len(values)} | {shown} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(f"{where()}\n")
    print(table([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]))
