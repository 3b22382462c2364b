"""Background tasks are kept, named, and their failures are logged."""

import asyncio

from structlog.testing import capture_logs

from claude_pattern import tasks


async def test_a_failed_task_is_logged_with_its_name() -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    with capture_logs() as lines:
        task = tasks.spawn(fail(), name="worker")
        await asyncio.wait([task])

    assert [(line["event"], line["task"]) for line in lines] == [("task_failed", "worker")]


async def test_a_cancelled_task_is_no_failure_and_cancel_waits_for_its_end() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    with capture_logs() as lines:
        task = tasks.spawn(work(), name="worker")
        await asyncio.sleep(0)
        await tasks.cancel(task)

    assert ended == [True]
    assert lines == []


async def test_a_task_gives_its_result_to_who_waits_for_it() -> None:
    async def answer() -> int:
        return 42

    assert await tasks.spawn(answer(), name="answer") == 42


async def test_cancelling_a_task_that_has_ended_is_fine() -> None:
    async def nothing() -> None:
        return None

    task = tasks.spawn(nothing(), name="nothing")
    await task
    await tasks.cancel(task)

    assert not task.cancelled()
