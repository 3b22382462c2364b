"""Exactly one credential reaches the agents; the order decides, and those set aside are named."""

from typing import Any

import pytest

from claude_pattern.errors import ConfigurationError
from claude_pattern.process import credentials
from claude_pattern.settings import Settings, load

ALL = {
    "anthropic_api_key": "key-1",
    "anthropic_auth_token": "token-2",
    "claude_code_oauth_token": "oauth-3",
    "claude_code_use_bedrock": True,
    "claude_code_use_vertex": True,
    "claude_code_use_foundry": True,
    "anthropic_base_url": "http://gateway:4000",
}
ORDER = [name.upper() for name in ALL]


def given(**values: Any) -> Settings:
    empty: dict[str, Any] = dict.fromkeys(ALL)
    empty |= {name: False for name in ALL if "use_" in name}
    return load(env_file=None, **{**empty, **values})


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_first_source_in_the_order_is_taken_and_the_later_ones_are_set_aside(first: int) -> None:
    chosen = credentials.resolve(given(**dict(list(ALL.items())[first:])), {})

    assert chosen.source == ORDER[first]
    assert chosen.set_aside == tuple(name for name in ORDER[first + 1 :] if name != "ANTHROPIC_BASE_URL")


@pytest.mark.parametrize("name", ["anthropic_api_key", "anthropic_auth_token", "claude_code_oauth_token"])
def test_the_environment_of_the_agent_holds_that_one_secret(name: str) -> None:
    chosen = credentials.resolve(given(**{**ALL, name: "chosen"} | {n: None for n in ALL if n < name}), {})

    secrets = {"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"}
    assert len(secrets & set(chosen.environment)) == 1


def test_a_gateway_address_goes_with_the_key() -> None:
    chosen = credentials.resolve(given(anthropic_api_key=" key \n", anthropic_base_url="http://g"), {})

    assert chosen.environment == {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": "http://g"}
    assert chosen.set_aside == ()


def test_a_gateway_without_a_key_gets_a_token_that_means_nothing() -> None:
    chosen = credentials.resolve(given(anthropic_base_url="http://g"), {})

    assert chosen.environment == {"ANTHROPIC_BASE_URL": "http://g", "ANTHROPIC_AUTH_TOKEN": "unused"}


def test_a_cloud_provider_gets_its_own_variables_and_no_others() -> None:
    environ = {"AWS_REGION": "eu-west-1", "AWS_SECRET_ACCESS_KEY": "s", "GOOGLE_CLOUD_PROJECT": "p", "OTHER": "o"}
    chosen = credentials.resolve(given(claude_code_use_bedrock=True), environ)

    assert chosen.environment == {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "AWS_REGION": "eu-west-1",
        "AWS_SECRET_ACCESS_KEY": "s",
    }


def test_none_at_all_lists_the_choices() -> None:
    with pytest.raises(ConfigurationError) as caught:
        credentials.resolve(given(anthropic_api_key="  "), {})

    for choice in [*ORDER, "claude-pattern demo"]:
        assert choice in caught.value.message


def test_the_secret_does_not_show_when_the_credential_is_printed() -> None:
    assert "key-1" not in repr(credentials.resolve(given(**ALL), {}))
