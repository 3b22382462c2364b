"""A session's events reach every subscriber in order; one that does not read never slows the others."""

from claude_pattern import events
from claude_pattern.sessions import feed as feed_module
from claude_pattern.sessions.feed import Feed, Subscription


def published(feed: Feed, count: int, first: int = 1) -> None:
    for seq in range(first, first + count):
        feed.publish(events.StreamDelta(session_id="s", seq=seq, delta=str(seq)))


async def read(subscription: Subscription) -> list[int]:
    return [event.seq async for event in subscription]


async def test_a_subscriber_gets_what_comes_after_it_has_subscribed() -> None:
    feed = Feed()
    published(feed, 2)
    async with feed.subscribe() as subscription:
        published(feed, 2, first=3)
        feed.close()

        assert await read(subscription) == [3, 4]


async def test_a_subscriber_that_comes_back_gets_what_it_missed_once_and_then_goes_on() -> None:
    feed = Feed()
    published(feed, 5)
    subscription = feed.subscribe(after_seq=3)
    published(feed, 2, first=6)
    feed.close()

    assert await read(subscription) == [4, 5, 6, 7]


async def test_a_subscriber_that_does_not_read_is_cut_off_alone() -> None:
    feed = Feed()
    slow = feed.subscribe()
    published(feed, feed_module.QUEUE_EVENTS + 1)
    quick = feed.subscribe(after_seq=feed_module.QUEUE_EVENTS)
    feed.close()

    assert slow.overflowed
    assert await read(slow) == list(range(1, feed_module.QUEUE_EVENTS + 1))
    assert not quick.overflowed
    assert await read(quick) == [feed_module.QUEUE_EVENTS + 1]


async def test_the_feed_knows_how_far_back_it_reaches() -> None:
    feed = Feed()
    published(feed, feed_module.LOG_EVENTS + 10)

    assert feed.reaches(10)
    assert not feed.reaches(9)


async def test_a_closed_subscription_leaves_nothing_behind() -> None:
    feed = Feed()
    async with feed.subscribe():
        assert repr(feed) == "<Feed 0 events | 1 subscribers>"

    assert repr(feed) == "<Feed 0 events | 0 subscribers>"


async def test_subscribing_to_a_session_that_has_ended_ends_at_once() -> None:
    feed = Feed()
    published(feed, 2)
    feed.close()

    assert await read(feed.subscribe(after_seq=0)) == [1, 2]
    assert await read(feed.subscribe()) == []
