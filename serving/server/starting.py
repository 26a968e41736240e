"""Waits until models serve: at a server's start, and in a reload."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from emorec.errors import ModelError, ServerError

if TYPE_CHECKING:
    from serving.server.versions import VersionManager

# Seconds between two looks whether the one who waits is still there.
_LOOK_S = 1.0


def start_all(
    managers: Iterable["VersionManager"],
    timeout_s: float | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Waits until each model serves, then lets all watch for versions.

    A base path that is missing or empty is waited for, with a warning at
    each look.

    Args:
        managers: The models.
        timeout_s: Longest wait in seconds; None waits for ever.
        is_over: Whether nobody waits any more.

    Raises:
        ModelError: The wanted versions of a model do not load.
        ServerError: `timeout_s` has passed, a model was stopped meanwhile,
            nobody waits any more, or the only look has found nothing.
    """
    managers = list(managers)
    ends = None if timeout_s is None else time.monotonic() + timeout_s
    waiting = managers
    while True:
        for manager in waiting:
            manager.poll()
            _check(manager)
        waiting = [m for m in waiting if not m.is_serving]
        if not waiting:
            break
        late = ends is not None and time.monotonic() >= ends
        if late:
            raise ServerError(f"after {timeout_s:g} s: {waiting[0].complaint}")
        if is_over():
            raise ServerError(f"nobody waits: {waiting[0].complaint}")
        _pause(waiting[0], ends)
    for manager in managers:
        manager.watch()


def _check(manager: "VersionManager") -> None:
    if manager.is_stopping:
        raise ServerError(f"stopped before model {manager.name!r} was loaded")
    failure = manager.failure()
    if failure:
        raise ModelError(failure)
    if not manager.is_serving and manager.poll_s == 0:
        raise ServerError(
            f"{manager.complaint}, and with a poll wait of 0 s there is no "
            "second look"
        )


def _pause(manager: "VersionManager", ends: float | None) -> None:
    wait_s = _LOOK_S if manager.poll_s < 0 else manager.poll_s
    if ends is not None:
        wait_s = min(wait_s, max(0.0, ends - time.monotonic()))
    manager.wait_stopping(wait_s)
