"""The reference page at /api/docs, made from the OpenAPI description.

The usual viewers load their scripts from another company's server, with this server's cookie in reach, and show nothing
where there is no internet; this page is plain HTML and needs neither.
"""

from collections.abc import Iterator
from html import escape
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from claude_pattern.api.describe import signed_in
from claude_pattern.api.requests import DOCS_PATH

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
section { border-top: 1px solid #8886; padding: .5rem 0 1rem; }
h2 code { font-size: 1.05rem; } table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8883; }
pre { overflow-x: auto; padding: .75rem; border-radius: .5rem; background: #8882; }
"""


def router() -> APIRouter:
    """The reference page."""
    routes = APIRouter(dependencies=[Depends(signed_in)], include_in_schema=False)

    @routes.get(DOCS_PATH)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(page(request.app.openapi()))

    return routes


def page(description: dict[str, Any]) -> str:
    """The whole reference as HTML."""
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    schemas = description.get("components", {}).get("schemas", {})
    operations = "".join(
        _operation(method, path, operation, schemas)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f"<h1>{title} API</h1><p>Send the key in the header <code>X-API-Key</code>. Every error is "
        '<code>{"error": code, "message": text}</code>. Machine-readable: '
        '<a href="/api/openapi.json">openapi.json</a>. The WebSocket is at <code>/ws/v1/chat</code>.</p>'
        f"{operations}</main></body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    anchor = escape(operation["operationId"])
    needs_key = " <em>(open to everybody)</em>" if not operation.get("security") else ""
    return (
        f'<section id="{anchor}"><h2><code>{method.upper()} {escape(path)}</code></h2>'
        f"<p><strong>{escape(operation.get('summary', ''))}</strong>{needs_key}<br>"
        f"{escape(operation.get('description', ''))}</p>"
        f"<pre>{escape(_curl(method, path, operation))}</pre><table><tr><th>Status</th><th>Answer</th></tr>"
        f"{''.join(_answers(operation, schemas))}</table></section>"
    )


def _curl(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = ["curl"]
    if method != "get":
        parts.append(f"-X {method.upper()}")
    if operation.get("security"):
        parts.append('-H "X-API-Key: $KEY"')
    if "requestBody" in operation:
        parts.append("-H 'Content-Type: application/json' -d '{}'")
    return " ".join([*parts, f"http://localhost:8000{path}"])


def _answers(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    for status, answer in sorted(operation["responses"].items()):
        content = answer.get("content", {}).get("application/json", {})
        example = content.get("example") or _schema_example(content.get("schema", {}), schemas)
        body = f"<pre>{escape(orjson.dumps(example, option=orjson.OPT_INDENT_2).decode())}</pre>" if example else ""
        yield f"<tr><td>{escape(status)}</td><td>{escape(answer.get('description', ''))}{body}</td></tr>"


def _schema_example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """The example of a model; of one without, the values that are fixed."""
    found = schemas.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
    if examples := found.get("examples"):
        return examples[0]
    properties = found.get("properties", {})
    return {name: value["const"] for name, value in properties.items() if "const" in value}
