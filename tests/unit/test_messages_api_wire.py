"""The events of a scripted reply: their order, their pauses and their faults."""

from typing import Any

import orjson
import pytest

from claude_pattern.testing import sse
from claude_pattern.testing.answers import Reply, Text, Thinking, ToolUse
from claude_pattern.testing.commands import numbered


def items(reply: Reply, pace: float = 0.0) -> list[bytes | sse.Pause | sse.Cut]:
    return list(sse.stream(reply, "m", 7, pace))


def parsed(reply: Reply) -> list[dict[str, Any]]:
    return [orjson.loads(i.partition(b"\ndata: ")[2]) for i in items(reply) if isinstance(i, bytes)]


def kinds(reply: Reply) -> list[str]:
    return [event.get("delta", {}).get("type") or event["type"] for event in parsed(reply)]


def test_a_text_is_streamed_in_the_order_of_the_real_api() -> None:
    assert kinds(Reply((Text("a b"),))) == [
        "message_start",
        "content_block_start",
        "ping",
        "text_delta",
        "text_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_each_event_is_named_like_its_type() -> None:
    for item in items(Reply((Text("a"),))):
        assert isinstance(item, bytes)
        name, data = item.removesuffix(b"\n\n").split(b"\n")
        assert orjson.loads(data.removeprefix(b"data: "))["type"] == name.removeprefix(b"event: ").decode()


@pytest.mark.parametrize("text", ["a", "  spaces  around ", "two\n\nlines\tand tabs", "", " ", "äöü 🙂 中文"])
def test_no_character_of_a_text_is_lost(text: str) -> None:
    deltas = [event["delta"]["text"] for event in parsed(Reply((Text(text),))) if "text" in event.get("delta", {})]
    assert "".join(deltas) == text


def test_a_tool_call_streams_its_input_in_pieces_and_stops_for_the_tool() -> None:
    given = {"command": "echo " + "x" * 200, "nested": {"list": [1, None, "é"]}}
    events = parsed(Reply((Text("I call."), ToolUse("Bash", given))))
    start = next(e for e in events if e["type"] == "content_block_start" and e["index"] == 1)
    pieces = [e["delta"]["partial_json"] for e in events if e.get("delta", {}).get("type") == "input_json_delta"]

    assert start["content_block"]["name"] == "Bash"
    assert start["content_block"]["input"] == {}
    assert len(pieces) > 1
    assert orjson.loads("".join(pieces)) == given
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_thinking_is_signed_at_its_end() -> None:
    assert kinds(Reply((Thinking("hm hm"),)))[3:7] == [
        "thinking_delta",
        "thinking_delta",
        "signature_delta",
        "content_block_stop",
    ]


def test_no_two_answers_share_an_id() -> None:
    reply = Reply((ToolUse("Bash"),))
    first, second = parsed(reply), parsed(reply)
    assert first[0]["message"]["id"] != second[0]["message"]["id"]
    assert first[1]["content_block"]["id"] != second[1]["content_block"]["id"]


def test_usage_and_stop_reason_may_be_given() -> None:
    events = parsed(Reply((Text("a"),), stop="max_tokens", usage=(1000, 50)))
    assert events[0]["message"]["usage"]["input_tokens"] == 1000
    assert events[-2]["usage"]["output_tokens"] == 50
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"


def test_the_pace_follows_each_delta_unless_the_reply_has_its_own() -> None:
    reply = Reply((Text("a b c"),))
    assert items(reply, 0.5).count(sse.Pause(0.5)) == 3
    assert not [i for i in items(Reply((Text("a b c"),), pace=0.0), 0.5) if isinstance(i, sse.Pause)]


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_a_cut_comes_after_so_many_deltas(count: int) -> None:
    got = items(Reply((Text(numbered(20)),), cut_deltas=count))

    assert isinstance(got[-1], sse.Cut)
    assert sum(b"text_delta" in item for item in got if isinstance(item, bytes)) == count
    assert not [item for item in got if isinstance(item, bytes) and b"content_block_stop" in item]


@pytest.mark.parametrize("size", [1, 100, 321, 1000])
def test_a_cut_comes_after_so_many_bytes(size: int) -> None:
    got = items(Reply((Text(numbered(50)),), cut_bytes=size))

    assert isinstance(got[-1], sse.Cut)
    assert sum(len(item) for item in got if isinstance(item, bytes)) == size


def test_a_cut_leaves_the_client_time_to_read_what_came_before() -> None:
    assert isinstance(items(Reply((Text("a b c"),), cut_deltas=1))[-2], sse.Pause)


def test_a_cut_beyond_the_end_does_not_happen() -> None:
    for reply in (Reply((Text("a"),), cut_deltas=5), Reply((Text("a"),), cut_bytes=100_000)):
        assert kinds(reply)[-1] == "message_stop"


def test_a_stall_is_in_the_middle_of_the_deltas() -> None:
    got = items(Reply((Text("a b c d"),), stall=3))
    at = got.index(sse.Pause(3))
    assert [sum(b"text_delta" in i for i in part if isinstance(i, bytes)) for part in (got[:at], got[at:])] == [2, 2]


def test_a_malformed_event_is_no_json_and_the_stream_goes_on() -> None:
    broken = 0
    for item in items(Reply((Text("a b c d"),), malformed=True)):
        try:
            assert isinstance(item, bytes)
            orjson.loads(item.partition(b"\ndata: ")[2])
        except orjson.JSONDecodeError:
            broken += 1
    assert broken == 1


def test_an_error_event_is_the_last_one() -> None:
    events = parsed(Reply((Text("a b c d"),), error_event="api_error"))
    assert events[-1]["error"]["type"] == "api_error"
    assert sum("delta" in event for event in events) == 2


def test_a_whole_message_has_every_block() -> None:
    reply = Reply((Thinking("hm"), Text("a"), ToolUse("Read", {"file_path": "x"})))
    assert [block["type"] for block in sse.message(reply, "m", 1)["content"]] == ["thinking", "text", "tool_use"]
