"""Many requests to one server, a few under way at a time, answers in order."""

import asyncio
import collections
import dataclasses
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from concurrent import futures
from typing import Any

import numpy as np

from emorec.errors import UsageError
from serving.client.errors import ServerError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one of many requests.

    Attributes:
        index: The request's place, from 0.
        outputs: The outputs by name; None where it failed.
        error: Why it failed, else None.
    """

    index: int
    outputs: dict[str, np.ndarray] | None
    error: ServerError | None = None


def in_order(
    call: Callable[[Any], dict], items: Iterable[Any], in_flight: int
) -> Iterator[Outcome]:
    """Yields the outcome of `call` on each item, in the items' order.

    Args:
        call: Gives the outputs or raises ServerError; run by threads.
        items: Read no faster than answers are taken: at most `in_flight`
            items ahead.
        in_flight: Most calls at a time.
    """
    _check(in_flight)

    def outcome(index, item):
        try:
            return Outcome(index, call(item))
        except ServerError as e:
            return Outcome(index, None, e)

    pool = futures.ThreadPoolExecutor(in_flight, thread_name_prefix="many")
    waiting: collections.deque[futures.Future] = collections.deque()
    try:
        for index, item in enumerate(items):
            waiting.append(pool.submit(outcome, index, item))
            if len(waiting) == in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Where the reader stops early, what has not begun is not sent.
        pool.shutdown(wait=True, cancel_futures=True)


async def in_order_async(
    call: Callable[[Any], Awaitable[dict]],
    items: Iterable[Any] | AsyncIterable[Any],
    in_flight: int,
) -> AsyncIterator[Outcome]:
    """As `in_order`, with coroutines."""
    _check(in_flight)

    async def outcome(index, item):
        try:
            return Outcome(index, await call(item))
        except ServerError as e:
            return Outcome(index, None, e)

    waiting: collections.deque[asyncio.Task] = collections.deque()
    index = 0
    try:
        async for item in _each(items):
            waiting.append(asyncio.create_task(outcome(index, item)))
            index += 1
            if len(waiting) == in_flight:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _each(items: Iterable[Any] | AsyncIterable[Any]):
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _check(in_flight: int) -> None:
    if not 1 <= in_flight <= 1024:
        raise UsageError(
            f"`in_flight` must be 1 to 1024. Received: {in_flight}"
        )
