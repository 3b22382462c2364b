"""Writes the settings of `claude_pattern.settings.Settings` into README.md and .env.example; --check only compares."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from claude_pattern.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- settings: written by scripts/settings_docs.py -->\n", "<!-- end of settings -->"
HEAD = """\
# Copy this file to .env and uncomment what you need. What is set in the environment wins over it.
# Every value shown is the default; no value means that there is none. Made by scripts/settings_docs.py.
"""


def groups() -> Iterator[tuple[str, list[str]]]:
    """The headings of the class's body, each with the names of its fields, in the order of the class."""
    body = re.split(r"^    # (.+)\n", inspect.getsource(Settings), flags=re.MULTILINE)
    for heading, text in zip(body[1::2], body[2::2], strict=True):
        yield heading[:1].upper() + heading[1:], re.findall(r"^    (\w+): .*Field\(", text, re.MULTILINE)


def default(name: str) -> str:
    """The default as it is written in the environment."""
    value: Any = Settings.model_fields[name].default
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in (None, ()) else str(value)


def table() -> str:
    """The table of README.md."""
    lines = ["", "| Variable | Default | Meaning |", "|---|---|---|"]
    for heading, names in groups():
        lines.append(f"| **{heading}** | | |")
        for name in names:
            value = f"`{default(name)}`" if default(name) else "none"
            lines.append(f"| `{name.upper()}` | {value} | {Settings.model_fields[name].description} |")
    return "\n".join([*lines, "", ""])


def example() -> str:
    """The whole text of .env.example."""
    parts = [HEAD]
    for heading, names in groups():
        parts.append(f"\n\n# ---- {heading}\n")
        parts += [f"\n# {Settings.model_fields[name].description}\n#{name.upper()}={default(name)}\n" for name in names]
    return "".join(parts)


def main() -> None:
    """Write both files, or say which of them is out of date."""
    readme, env = ROOT / "README.md", ROOT / ".env.example"
    before, _, rest = readme.read_text().partition(BEGIN)
    wanted = {readme: before + BEGIN + table() + END + rest.partition(END)[2], env: example()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"Run scripts/fix: out of date: {', '.join(path.name for path in stale)}")
        return
    for path in stale:
        path.write_text(wanted[path])
        print(f"written: {path.name}")


if __name__ == "__main__":
    main()
