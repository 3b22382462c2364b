"""What the tests of the scripted Messages API send, and how they read the answers."""

from typing import Any

import httpx
import orjson

JSON = dict[str, Any]


def request(prompt: str, **fields: Any) -> JSON:
    return {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": prompt}], **fields}


def said(message: JSON) -> str:
    return "".join(block.get("text", "") for block in message["content"])


def events(response: httpx.Response) -> list[JSON]:
    return [orjson.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
