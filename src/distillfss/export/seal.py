"""A file's own digest within its metadata: ONNX has none, and a flipped bit in a weight is another mask, or none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

KEY, EMPTY = "sha256", "0" * 64
_BEFORE = b"\x0a\x06" + KEY.encode() + b"\x12\x40"
"""What stands before the digest in the file: Protocol Buffers write a pair of key and value so."""


def sealed(content: bytes) -> bytes:
    """A file whose metadata holds ``KEY: EMPTY``, with the SHA-256 of all of it in place of ``EMPTY``."""
    place = content.index(_BEFORE + EMPTY.encode()) + len(_BEFORE)
    return _with(content, place, hashlib.sha256(content).hexdigest())


def is_intact(content: bytes, metadata: Mapping[str, str]) -> bool:
    """Whether a file is what was written; one without a digest, of an older version, is taken as it is."""
    told = metadata.get(KEY)
    if told is None:
        return True
    place = content.find(_BEFORE + told.encode())
    if place < 0:
        return False
    return hashlib.sha256(_with(content, place + len(_BEFORE), EMPTY)).hexdigest() == told


def _with(content: bytes, place: int, digest: str) -> bytes:
    return content[:place] + digest.encode() + content[place + len(digest) :]
