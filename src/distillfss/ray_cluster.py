"""Being connected to a Ray cluster: one that is there, or one of this machine's own for the time of a run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from distillfss.errors import UsageError


@contextlib.contextmanager
def connected(address: str | None, cores: int) -> Iterator[None]:
    """Be connected to a Ray cluster; one that is connected already is used and stays.

    Parameters
    ----------
    address
        Of an existing cluster (see ``ray.init``); None starts one of ``cores`` cores on this machine, and ends it.

    Raises
    ------
    UsageError
        No cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    if address is not None:
        _refuse_silent(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(address or "this machine", error) from error
    finally:
        # Ray would end the process on SIGTERM; ours is the same as Ctrl-C
        if threading.current_thread() is threading.main_thread() and on_sigterm is not None:
            signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silent(address: str) -> None:
    """Ray itself tries for five minutes, and then ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(where: str, error: Exception) -> UsageError:
    cure = "Start one with 'ray start --head', or leave --ray-address out to compute on this machine"
    return UsageError(f"no Ray cluster answers at {where} ({error})", cure=cure)
