"""Decoding in a process of its own: a decoder that crashes, hangs or eats the memory costs one picture, not the run.

The decoders are C libraries fed with strangers' bytes. A fault in one ends the whole process, and nothing in Python can
catch that. So a worker (``worker.py``) decodes: it is given the open file and gives back pixels or a refusal. It is
started at the first picture and serves all that follow; one that crashes or takes too long is replaced. The price was
measured (docs/security.md) and is small, so every picture goes this way, not only suspicious ones: whether a file is
harmless is not known before it is decoded.

Where no worker can be started (Windows, no right to start processes), or with ``DISTILLFSS_ISOLATE=0``, pictures are
decoded in this process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.limits import SECONDS_VARIABLE, Limits, limits
from distillfss.io.opening import open_file
from distillfss.notices import Notice, NoticeKind

Decoded = tuple[NDArray[np.uint8], list[Notice]]
Decode = Callable[[BinaryIO], Decoded]
"""Open file → pixels, notes."""

START_SECONDS = 60.0
WALL_FACTOR = 5.0
"""A worker is stopped after its seconds of processor time, or after this many times as long by the clock (it may have
to share the processor, or to wait for a disk)."""
MAX_IDLE = 4
MAX_SERVED = 2000
"""Pictures until a worker is replaced, in case a decoder loses memory."""
MAX_HEADER = 1 << 16
READY = b"ready"
# It finds the modules that this process finds. -P, and no empty entry: a numpy.py in the folder someone happens to work
# in is not ours to run.
FIND = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
BOOT = FIND + "from distillfss.io.worker import serve; serve(int(sys.argv[1]))"

_GONE = (
    "Remove it, or open it in another program and save it as PNG. If the decoder fails on a sound picture, report it"
)


def decode_apart(operation: str, here: Decode, path: Path) -> Decoded:
    """Decode a file in a worker, or here where there can be none.

    Parameters
    ----------
    operation
        A key of ``worker.OPERATIONS``.
    here
        What it stands for.
    path
        The file.

    Raises
    ------
    DataError
        Naming ``path``: whatever ``here`` refuses, and a decoder that crashed or took too long.
    """
    within = limits()
    with open_file(path) as file:
        try:
            worker = _pool.take() if within.isolated else None
            if worker is None:
                return here(file)
            try:
                answer = worker.ask(operation, file, within)
            except BaseException:  # Ctrl-C too: whatever it sends now would be taken for the next answer
                worker.stop()
                raise
            _pool.give_back(worker)
            if isinstance(answer, DataError):
                raise answer
            return answer
        except DataError as fault:
            raise DataError(fault.problem, cure=fault.cure, path=path) from fault


class _Worker:
    """One process and our end of the line to it."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    BOOT,
                    str(theirs.fileno()),
                    _importable(),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # decoders write complaints there that mean nothing to anybody
                start_new_session=True,  # Ctrl-C is for us to handle
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self.served = 0
        self._deadline = time.monotonic() + START_SECONDS
        try:
            if self._receive(len(READY)) != READY:
                raise EOFError
        except BaseException:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, operation: str, file: BinaryIO, within: Limits) -> Decoded | DataError:
        """Let it decode an open file. If this raises, the worker is of no more use: it crashed or took too long."""
        self.served += 1
        self._deadline = time.monotonic() + WALL_FACTOR * within.seconds
        request = json.dumps({"operation": operation, "pixels": within.pixels, "seconds": within.seconds})
        try:
            self._line.settimeout(START_SECONDS)
            socket.send_fds(self._line, [request.encode()], [file.fileno()])
            header = self._header()
            if "problem" in header:
                return DataError(str(header["problem"]), cure=str(header["cure"]))
            pixels = self._pixels(_checked_shape(header["shape"], within.pixels))
            notes = [Notice(str(text), NoticeKind(kind)) for text, kind in header["notes"]]
        except TimeoutError:
            raise _too_long(within) from None
        except (EOFError, OSError):
            raise self._crashed(within) from None
        except (ValueError, LookupError, TypeError, RecursionError):  # nothing it says is trusted
            raise DataError("the decoder gave an impossible answer", cure=_GONE) from None
        return pixels, notes

    def stop(self) -> None:
        self._line.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """In a forked process, whose parent goes on talking with it."""
        self._line.close()
        self._process.returncode = 0  # not our child: nothing to wait for

    def _header(self) -> dict[str, Any]:
        (length,) = struct.unpack(">I", self._receive(4))
        if length > MAX_HEADER:
            raise ValueError("no worker of ours")
        header: dict[str, Any] = json.loads(self._receive(length))
        return header

    def _pixels(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """What it left in a file without a name: one read, where a socket would take turns for every few pages."""
        _, files, _, _ = socket.recv_fds(self._line, 1, 1)
        with os.fdopen(files[0], "rb", buffering=0) as file:
            file.seek(0)
            pixels = np.empty(shape, np.uint8)
            view = pixels.data.cast("B")
            while len(view):
                count = file.readinto(view)
                if not count:
                    raise EOFError
                view = view[count:]
        return pixels

    def _receive(self, count: int) -> bytes:
        data = bytearray(count)
        self._receive_into(memoryview(data))
        return bytes(data)

    def _receive_into(self, view: memoryview) -> None:
        while len(view):
            self._line.settimeout(max(0.001, self._deadline - time.monotonic()))
            count = self._line.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]

    def _crashed(self, within: Limits) -> DataError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.poll()
        if code == -signal.SIGXCPU:
            return _too_long(within)
        how = f"exit code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        return DataError(f"the decoder crashed on it ({how})", cure=_GONE)


def _importable() -> str:
    return json.dumps([entry for entry in sys.path if entry])


def _too_long(within: Limits) -> DataError:
    return DataError(
        f"decoding it took more than {within.seconds:g} seconds and was given up",
        cure=f"Save it as PNG in another program, or raise {SECONDS_VARIABLE} if you trust it",
    )


def _checked_shape(shape: list[int], pixels: int) -> tuple[int, ...]:
    if len(shape) not in (2, 3) or any(type(side) is not int or side < 1 for side in shape):
        raise ValueError("no shape of a picture")
    if math.prod(shape[:2]) > pixels or shape[2:] not in ([], [3]):
        raise ValueError("no shape of a picture")
    return tuple(shape)


class _Pool:
    """Workers that wait for a picture; as many are at work as threads ask at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._impossible = os.name != "posix" or not sys.executable

    def take(self) -> _Worker | None:
        """A worker that nobody else has; None where none can be started."""
        while not self._impossible:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                return self._started()
            if worker.alive:
                return worker
            worker.stop()
        return None

    def give_back(self, worker: _Worker) -> None:
        with self._lock:
            kept = worker.served < MAX_SERVED and len(self._idle) < MAX_IDLE
            if kept:
                self._idle.append(worker)
        if not kept:
            worker.stop()

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().stop()

    def forget(self) -> None:
        self._lock = threading.Lock()
        while self._idle:
            self._idle.pop().forget()

    def _started(self) -> _Worker | None:
        try:
            return _Worker()
        except (OSError, EOFError):
            self._impossible = True
            return None


_pool = _Pool()
atexit.register(_pool.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)
