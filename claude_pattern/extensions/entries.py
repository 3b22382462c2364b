"""One MCP server's entry: its variables, its fields, and what of it people may see."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from claude_pattern import logs
from claude_pattern.extensions.config import Server
from claude_pattern.extensions.files import shown

VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
"""`${NAME}` or `${NAME:-default}`, exactly as the CLI reads it: a name that is set to nothing is set."""

EXPANDED: Final = ("command", "args", "env", "url", "headers")
"""The fields in which the CLI expands variables."""

MAX_TEXT: Final = 16 * 1024
"""Characters of one text; Linux takes no argument or variable of more than 128 KiB."""

_TELLING = re.compile(r"key|token|secret|passw|auth|credential|cookie", re.IGNORECASE)
_NAMED = re.compile(r"[\w.-]{1,64}\s{0,8}[:=]\s{0,8}")
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_HARMLESS_HEADERS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
_SHORTEST_SECRET = 8  # characters; shorter values would blacken ordinary words in the logs


class EntryRefused(Exception):
    """The entry cannot be used: for each fault, where in the entry it lies, and a sentence."""

    def __init__(self, *faults: tuple[tuple[str, ...], str]) -> None:
        super().__init__(*faults)
        self.faults = faults


def read(name: str, entry: Any, environ: Mapping[str, str]) -> tuple[Server, tuple[str, ...]]:
    """The server that `entry` describes, and the names of its fields that mean nothing and are ignored.

    Raises:
        EntryRefused: it describes none, or uses a variable that is not in `environ`.
    """
    if not isinstance(entry, dict):
        raise EntryRefused(((), "it is not an object. Write it as {...} with a command or a url"))
    model = _model(entry)
    raw = {**entry, "type": "http"} if entry.get("type") == "streamable-http" else entry
    expansion = _Expansion(environ)
    expanded = {key: expansion.of(value, (key,)) if key in EXPANDED else value for key, value in raw.items()}
    if expansion.missing:
        raise EntryRefused(*((path, _not_set(variable)) for variable, path in expansion.missing.items()))
    try:
        config = model.model_validate(expanded).model_dump(by_alias=True, exclude_unset=True)
    except ValidationError as error:
        raise EntryRefused(*map(_fault, error.errors(include_input=False, include_url=False))) from None
    seen = {key: raw[key] for key in config}
    server = Server(name, config, masked(seen), (*_secrets(config), *expansion.secrets))
    return server, tuple(key for key in raw if key not in config)


def _not_set(variable: str) -> str:
    return f"it uses the variable {variable}, which is not set. Set it, or write ${{{variable}:-default}}"


class _Expansion:
    """Puts the values of variables in, and remembers those that are not set, and the secret ones."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.missing: dict[str, tuple[str, ...]] = {}
        self.secrets: list[str] = []

    def of(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, str):
            return VARIABLE.sub(lambda match: self._value(match, path), value)
        if isinstance(value, list):
            return [self.of(item, path) if isinstance(item, str) else item for item in value]
        if isinstance(value, dict):
            return {key: self.of(item, (*path, key)) if isinstance(item, str) else item for key, item in value.items()}
        return value

    def _value(self, match: re.Match[str], path: tuple[str, ...]) -> str:
        name: str = match[1]
        default: str | None = match[2]
        value = self._environ.get(name, default)
        if value is None:
            self.missing.setdefault(name, path)
            return match[0]
        if _TELLING.search(name):
            self.secrets += _worth_hiding(value)
        return value


def _text(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise ValueError(f"is longer than {MAX_TEXT // 1024} KiB. Shorten it")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("holds a character that no program accepts. Remove it")
    return value


def _command(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty. Write the program to start")
    return value


def _variable_name(value: str) -> str:
    if not value or "=" in value:
        raise ValueError("has a name that no variable can have. Correct it")
    return value


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value):
        raise ValueError("has a name that no header can have. Correct it")
    return value


def _header_value(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError("holds a line break, which no header can. Remove it")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ValueError("is no address. Write one that begins with https:// or http://")
    return value


Text = Annotated[str, AfterValidator(_text)]


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    timeout: PositiveInt = 1
    always_load: bool = Field(False, alias="alwaysLoad")


class _Program(_Entry):
    type: Literal["stdio"] = "stdio"
    command: Annotated[Text, AfterValidator(_command)]
    args: list[Text] = []
    env: dict[Annotated[Text, AfterValidator(_variable_name)], Text] = {}


class _Service(_Entry):
    type: Literal["http", "sse"]
    url: Annotated[Text, AfterValidator(_url)]
    headers: dict[Annotated[Text, AfterValidator(_header_name)], Annotated[Text, AfterValidator(_header_value)]] = {}
    headers_helper: Text = Field("", alias="headersHelper")
    oauth: dict[str, Any] = {}


def _model(entry: dict[str, Any]) -> type[_Program] | type[_Service]:
    kind = entry.get("type", "stdio")
    if "type" not in entry and "url" in entry and "command" not in entry:
        raise EntryRefused((("url",), 'it has a url but no type. Add "type": "http", or "sse"'))
    if kind == "stdio":
        return _Program
    if kind in ("http", "streamable-http", "sse"):
        return _Service
    found = repr(shown(kind)) if isinstance(kind, str) else "no text"
    raise EntryRefused((("type",), f"it has a type that is {found}. Write stdio, http or sse"))


def _fault(error: Any) -> tuple[tuple[str, ...], str]:
    """One of pydantic's errors as a place in the entry and a sentence, never with the value."""
    path = tuple(str(part) for part in error["loc"] if part != "[key]")
    place = shown(".".join(path))
    what = {
        "missing": "is missing. Add it",
        "string_type": "is not a text. Put it in quotes",
        "string_unicode": "holds a character that no program accepts. Remove it",
        "list_type": "is not a list. Put it in square brackets",
        "dict_type": "is not an object. Write it as {...}",
        "bool_type": "is neither true nor false. Write one of them",
        "int_type": "is not a whole number. Write one",
        "greater_than": "is not above zero. Write a larger number",
    }.get(error["type"], error["msg"].removeprefix("Value error, "))
    return path, f"{place} {what}"


def masked(entry: Mapping[str, Any]) -> dict[str, Any]:
    """`entry` as people may see it: every value of `env` and `headers` masked, and what looks secret elsewhere."""
    seen = dict(entry)
    for field in {"env", "headers", "oauth"} & seen.keys():
        seen[field] = dict.fromkeys(seen[field], logs.MASK)
    if "args" in seen:
        seen["args"] = list(seen["args"])
        for index, kept in _telling(seen["args"]):
            seen["args"][index] = kept + logs.MASK
    if "url" in seen:
        seen["url"] = _masked_url(seen["url"])
    scrubbed: dict[str, Any] = logs.scrubber.value(seen)
    return scrubbed


def _masked_url(url: str) -> str:
    address, mark, query = url.partition("?")
    parts = [part.partition("=") for part in query.split("&")]
    parts = [(name, equals, logs.MASK if _TELLING.search(name) else value) for name, equals, value in parts]
    return _USER.sub(logs.MASK, address) + mark + "&".join(map("".join, parts))


def _telling(args: list[str]) -> Iterator[tuple[int, str]]:
    """The arguments that hold a secret by their name or by the option before them, and the part to keep of each."""
    after_option = False
    for index, argument in enumerate(args):
        named = _NAMED.match(argument)
        if named and _TELLING.search(named[0]):
            yield index, named[0]
        elif after_option and not argument.startswith("-"):
            yield index, ""
        after_option = argument.startswith("-") and "=" not in argument and bool(_TELLING.search(argument))


def _secrets(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.get("headers", {}).items():
        if name.lower() not in _HARMLESS_HEADERS:
            yield from _worth_hiding(value)
    for name, value in config.get("env", {}).items():
        if _TELLING.search(name):
            yield from _worth_hiding(value)
    args = config.get("args", [])
    for index, kept in _telling(args):
        yield from _worth_hiding(args[index].removeprefix(kept))


def _worth_hiding(value: str) -> list[str]:
    """`value`, and its last word when it is of the form "Bearer abc"."""
    return [part for part in {value, *value.split()[-1:]} if len(part) >= _SHORTEST_SECRET]
