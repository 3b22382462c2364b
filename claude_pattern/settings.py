"""The one Settings class: environment first, then `.env`.

The field names are the variables of the environment in lower case. `load` turns every mistake into one readable line.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from claude_pattern.errors import ConfigurationError

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
PermissionMode = Literal["default", "acceptEdits", "plan", "bypassPermissions"]


class Settings(BaseSettings):
    """Everything an operator can choose; the description of each field is the text of the README's table."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    # who may use the server
    claude_sdk_pattern_api_key: SecretStr | None = Field(
        None,
        description="Key for the UI, REST and WebSocket (1-256 printable ASCII). Made and kept in DATA_DIR if unset.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Host names the server answers to besides loopback names, the machine's own name and IP addresses; "
        "comma-separated.",
    )

    # the model's service; exactly one credential reaches the agents, in this order
    anthropic_api_key: SecretStr | None = Field(None, description="API key of the Anthropic console.")
    anthropic_auth_token: SecretStr | None = Field(
        None, description="Bearer token of a gateway (LiteLLM, Ollama, vLLM, ...)."
    )
    claude_code_oauth_token: SecretStr | None = Field(
        None, description="Long-lived token made by `claude setup-token` with a subscription."
    )
    claude_code_use_bedrock: bool = Field(False, description="Use Amazon Bedrock with the machine's AWS credentials.")
    claude_code_use_vertex: bool = Field(
        False, description="Use Google Vertex AI with the machine's Google credentials."
    )
    claude_code_use_foundry: bool = Field(
        False, description="Use Microsoft Foundry with the machine's Azure credentials."
    )
    anthropic_base_url: str | None = Field(
        None, description="Address of a gateway that speaks Anthropic's Messages API."
    )
    anthropic_model: str | None = Field(None, description="Model of new sessions; the service's default if unset.")
    api_max_retries: int = Field(
        4, ge=0, le=20, description="How often a failed call to the model's service is repeated."
    )

    # the agents
    project_dir: Path = Field(
        Path(), description="Root of `mcp.json`, `skills/` and `commands/`, and the agents' working folder."
    )
    permission_mode: PermissionMode = Field(
        "default",
        description="Permission mode of new sessions; `default` asks for everything that changes something.",
    )
    trust_project_settings: bool = Field(
        False,
        description="Also honour hooks, settings and MCP servers that the working folder itself brings. "
        "They run commands on this machine without asking.",
    )

    # sessions
    prewarm_pool_size: int = Field(2, ge=0, le=100, description="Agent processes kept ready; 0 turns the pool off.")
    prewarm_timeout_seconds: int = Field(60, ge=1, description="Longest wait for one agent process to become ready.")
    max_sessions: int = Field(10, ge=1, le=10_000, description="Live sessions at once.")
    max_session_duration_seconds: int = Field(14_400, ge=1, description="A session ends after this time (4 hours).")
    max_session_rss_mb: int = Field(2048, ge=1, description="Memory of one session's whole process tree, in MiB.")
    session_idle_timeout_seconds: int = Field(1800, ge=1, description="A session without activity becomes idle.")

    # the server
    host: str = Field("0.0.0.0", description="Address to bind.")  # noqa: S104 - the contract's default; the guard stands in front
    port: int = Field(8000, ge=0, le=65_535, description="Port to bind; 0 takes a free one.")
    data_dir: Path = Field(Path("data"), description="Where the server keeps its database, transcripts and keys.")
    database_url: str = Field(
        "sqlite:///data/sessions.db",
        description="SQLite or Postgres; the async driver is filled in. Unset: `sessions.db` in DATA_DIR.",
    )
    log_level: LogLevel = Field("INFO", description="Lowest level that is logged.")
    claude_cli_path: Path | None = Field(
        None, description="Another Claude Code executable than the one inside claude-agent-sdk."
    )

    @field_validator("claude_sdk_pattern_api_key")
    @classmethod
    def _printable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is None:
            return None
        text = key.get_secret_value()
        if not (1 <= len(text) <= 256 and text.isascii() and text.isprintable()):
            raise ValueError("1 to 256 printable ASCII characters are accepted")
        return key

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, hosts: Any) -> Any:
        return tuple(part.strip() for part in hosts.split(",") if part.strip()) if isinstance(hosts, str) else hosts

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level

    @model_validator(mode="after")
    def _database_in_data_dir(self) -> Self:
        """Without a DATABASE_URL of its own the database lives in DATA_DIR."""
        if "database_url" not in self.model_fields_set:
            object.__setattr__(self, "database_url", f"sqlite:///{self.data_dir / 'sessions.db'}")
        return self

    def secrets(self) -> tuple[str, ...]:
        """Every secret value that the settings know, for the scrubber."""
        values = (getattr(self, name) for name in type(self).model_fields)
        found = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        if "@" in self.database_url and (password := self.database_url.rsplit("@", 1)[0].rsplit(":", 1)[-1]):
            found.append(password)
        return tuple(found)


def load(*, env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """Read the settings from the environment and `env_file`; `overrides` are field names that win over both.

    Raises:
        ConfigurationError: one line that names the variable, what was found and what is accepted.
    """
    try:
        return Settings(**{"_env_file": env_file, **overrides})
    except ValidationError as error:
        raise ConfigurationError(_one_line(error)) from None


def forget_environment(settings: Settings) -> None:
    """Take every secret of the settings out of `os.environ`, where agents and their tools would see it.

    Their initial values stay readable in /proc for processes of the same user; see docs/decisions for what closes that.
    """
    for name, field in type(settings).model_fields.items():
        if isinstance(getattr(settings, name), SecretStr) or "SecretStr" in str(field.annotation):
            os.environ.pop(name.upper(), None)


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_input=True, include_url=False, include_context=False)[0]
    name = str(first["loc"][0])
    field = Settings.model_fields.get(name.lower())
    secret = field is not None and "SecretStr" in str(field.annotation)
    found = "a value that is not shown" if secret else repr(first["input"])
    accepted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    rest = f" ({len(error.errors()) - 1} more problems follow)" if len(error.errors()) > 1 else ""
    return f"{name.upper()}: found {found}; accepted: {accepted}{rest}"
