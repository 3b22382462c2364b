"""What operators add to the agents with files: `mcp.json`, `skills/` and `commands/`.

`ExtensionLoader` reads and lints them afresh; `link_into` and `write_mcp_config` hand the good items to the CLI. By
itself the CLI loads broken items, or drops them, without a word (measured), so everything is checked and reported here.
"""

from claude_pattern.extensions.config import Command, ExtensionConfig, Problem, Severity, Skill
from claude_pattern.extensions.handover import link_into, write_mcp_config
from claude_pattern.extensions.loader import ExtensionLoader

__all__ = [
    "Command",
    "ExtensionConfig",
    "ExtensionLoader",
    "Problem",
    "Severity",
    "Skill",
    "link_into",
    "write_mcp_config",
]
