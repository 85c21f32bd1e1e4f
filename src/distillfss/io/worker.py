"""The process that decodes pictures for another one (see ``isolation``)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import tempfile
from typing import IO, Any

import numpy as np
from PIL import Image

from distillfss.errors import DataError
from distillfss.io.decode import decode_image
from distillfss.io.isolation import MAX_HEADER, READY, Decode
from distillfss.io.limits import MAX_MEGAPIXELS_VARIABLE
from distillfss.io.masks import decode_mask
from distillfss.io.opening import decoding

OPERATIONS: dict[str, Decode] = {"image": decode_image, "mask": decode_mask}
BYTES_PER_PIXEL = 64
LEAST_MEMORY = 4 << 30
"""Address space: so many bytes for every pixel allowed (16-bit colour, decoded twice, takes 30), and at least this."""


def serve(descriptor: int) -> None:
    """Answer requests on a socket until its other end is closed.

    A request is ``{"operation", "pixels", "seconds"}`` as JSON along with an open file. An answer is four bytes of
    length and a JSON header, ``{"problem", "cure"}`` or ``{"shape", "notes"}`` with the pixels after it. A note is a
    pair of its text and its kind.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
        score.write("1000")  # if the memory runs out, it is this process that has to go
    Image.preinit()
    with socket.socket(fileno=descriptor) as line:
        line.sendall(READY)
        while True:
            request, files, _, _ = socket.recv_fds(line, MAX_HEADER, 1)
            if not request:
                return
            _answer(line, json.loads(request), files[0])


def _answer(line: socket.socket, request: dict[str, Any], handle: int) -> None:
    pixels = int(request["pixels"])
    _restrain(pixels, float(request["seconds"]))
    os.environ[MAX_MEGAPIXELS_VARIABLE] = str(pixels / 1e6)
    Image.MAX_IMAGE_PIXELS = pixels  # Pillow's own limit must not be lower
    with os.fdopen(handle, "rb") as file:
        try:
            try:
                array, notes = OPERATIONS[request["operation"]](file)
            except MemoryError:
                with decoding(None):  # says it in words
                    raise
        except DataError as fault:
            _send(line, {"problem": fault.problem, "cure": fault.cure})
            return
    _send(line, {"shape": array.shape, "notes": [(note.text, note.kind.value) for note in notes]})
    with _nameless_file() as file:
        file.write(np.ascontiguousarray(array).data)
        file.flush()
        socket.send_fds(line, [b"\0"], [file.fileno()])


def _nameless_file() -> IO[bytes]:
    """In memory where the system can do that (Linux)."""
    return os.fdopen(os.memfd_create("pixels"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def _send(line: socket.socket, header: dict[str, Any]) -> None:
    data = json.dumps(header).encode()
    line.sendall(struct.pack(">I", len(data)) + data)


def _restrain(pixels: int, seconds: float) -> None:
    """Bound memory and processor time; the kernel keeps the bounds also when nobody is left who watches."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime + seconds) + 1
    for kind, bound in (
        (resource.RLIMIT_CPU, until),
        (resource.RLIMIT_AS, max(LEAST_MEMORY, BYTES_PER_PIXEL * pixels)),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))
