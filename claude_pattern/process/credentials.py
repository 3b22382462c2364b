"""Which credential the agents use: exactly one, decided by a fixed order.

Given two, the CLI sends both to the service or bills the one that was not meant (measured: an API key beside a
subscription token wins without a word). So the first source in the order is taken and the others are withheld by name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from claude_pattern.errors import ConfigurationError
from claude_pattern.settings import Settings

_BEDROCK = (
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONFIG_FILE",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "ANTHROPIC_BEDROCK_BASE_URL",
)
_VERTEX = (
    "ANTHROPIC_VERTEX_PROJECT_ID",
    "ANTHROPIC_VERTEX_BASE_URL",
    "CLOUD_ML_REGION",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
)
_FOUNDRY = (
    "ANTHROPIC_FOUNDRY_API_KEY",
    "ANTHROPIC_FOUNDRY_BASE_URL",
    "ANTHROPIC_FOUNDRY_RESOURCE",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
)

MISSING = (
    "No credential for the model's service. Set one of ANTHROPIC_API_KEY (Anthropic console), ANTHROPIC_AUTH_TOKEN "
    "(gateway), CLAUDE_CODE_OAUTH_TOKEN (subscription, made by `claude setup-token`), CLAUDE_CODE_USE_BEDROCK=1, "
    "CLAUDE_CODE_USE_VERTEX=1, CLAUDE_CODE_USE_FOUNDRY=1 or ANTHROPIC_BASE_URL (a gateway without a key), in the "
    "environment or in .env. To look around without any, run: claude-pattern demo"
)


@dataclass(frozen=True, slots=True)
class Credential:
    """The one source that reaches the agents.

    `source` is the name of the variable that decided; `environment` what the CLI gets; `set_aside` the names of
    sources that were given too and are withheld.
    """

    source: str
    environment: Mapping[str, str] = field(repr=False)
    set_aside: tuple[str, ...] = ()


def resolve(settings: Settings, environ: Mapping[str, str]) -> Credential:
    """Choose the credential. `environ` supplies the cloud providers' own variables.

    Raises:
        ConfigurationError: there is none; the message lists the choices.
    """
    sources = dict(_sources(settings, environ))
    if not sources:
        raise ConfigurationError(MISSING)
    chosen, *others = sources
    # A base address alone is a source of last resort; beside a key or token it only says where to send it.
    set_aside = tuple(name for name in others if name != "ANTHROPIC_BASE_URL")
    return Credential(chosen, sources[chosen], set_aside)


def _sources(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Every source that is given, in the order of precedence."""
    base = {"ANTHROPIC_BASE_URL": settings.anthropic_base_url} if settings.anthropic_base_url else {}
    for name, secret in (
        ("ANTHROPIC_API_KEY", settings.anthropic_api_key),
        ("ANTHROPIC_AUTH_TOKEN", settings.anthropic_auth_token),
        ("CLAUDE_CODE_OAUTH_TOKEN", settings.claude_code_oauth_token),
    ):
        if secret is not None and secret.get_secret_value().strip():
            yield name, {**base, name: secret.get_secret_value().strip()}
    for name, wanted, own in (
        ("CLAUDE_CODE_USE_BEDROCK", settings.claude_code_use_bedrock, _BEDROCK),
        ("CLAUDE_CODE_USE_VERTEX", settings.claude_code_use_vertex, _VERTEX),
        ("CLAUDE_CODE_USE_FOUNDRY", settings.claude_code_use_foundry, _FOUNDRY),
    ):
        if wanted:
            yield name, {name: "1", **{variable: environ[variable] for variable in own if variable in environ}}
    if base:
        # The CLI says "Not logged in" without any token, also to a gateway that asks for none.
        yield "ANTHROPIC_BASE_URL", {**base, "ANTHROPIC_AUTH_TOKEN": "unused"}
