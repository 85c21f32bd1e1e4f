"""Reading, working and writing at the same time, one item after the other, with little in memory."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")
Result = TypeVar("Result")

AHEAD_BYTES = 256 << 20
"""Reading ahead stops where what waits is larger than about this."""


def overlap(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    work: Callable[[Item, Read], Made],
    write: Callable[[Item, Made], Result],
    done: Callable[[Item, Result | Exception], None],
    *,
    readers: int,
    writers: int,
    size: Callable[[Read], int],
) -> None:
    """``done(item, write(item, work(item, read(item))))`` for every item, in their order.

    ``read`` and ``write`` run in threads, ``work`` and ``done`` in the caller's, ``work`` in the order of the items. So
    results do not depend on the number of threads. An exception of one of the three goes to ``done`` in place of a
    result. If ``done`` raises, or the caller is interrupted, nothing new is begun; what is being written is completed
    and told to ``done`` first.

    Parameters
    ----------
    readers, writers
        Number of threads, at least 1.
    size
        Bytes that something read takes. After a large one, fewer are read ahead.
    """
    upcoming = iter(items)
    waiting: deque[tuple[Item, Future[Read]]] = deque()
    writing: deque[tuple[Item, Future[Result]]] = deque()
    reading_pool = ThreadPoolExecutor(readers, thread_name_prefix="read")
    writing_pool = ThreadPoolExecutor(writers, thread_name_prefix="write")
    ahead = readers + 1

    def read_ahead() -> None:
        while len(waiting) < ahead:
            try:
                item = next(upcoming)
            except StopIteration:
                return
            waiting.append((item, reading_pool.submit(read, item)))

    def settle(keep: int) -> None:
        """Tell of what is written, waiting until at most ``keep`` are not."""
        while writing and (len(writing) > keep or writing[0][1].done()):
            item, future = writing[0]
            error = future.exception()  # waits; interrupted here, the item stays in the queue
            writing.popleft()
            if error is None:
                done(item, future.result())
            elif isinstance(error, Exception):
                done(item, error)
            else:
                raise error

    try:
        read_ahead()
        while waiting:
            item, reading = waiting.popleft()
            made: Future[Result]
            try:
                content = reading.result()
                ahead = max(1, min(readers + 1, AHEAD_BYTES // max(1, size(content))))
                read_ahead()
                made = writing_pool.submit(write, item, work(item, content))
            except Exception as error:
                read_ahead()
                made = Future()
                made.set_exception(error)
            writing.append((item, made))
            settle(keep=min(writers + 1, ahead))
        settle(keep=0)
    except BaseException:
        with contextlib.suppress(Exception):
            settle(keep=0)
        raise
    finally:
        reading_pool.shutdown(wait=False, cancel_futures=True)
        writing_pool.shutdown(wait=True)
