"""What files about all images (COCO, tables) are made from, kept beside the results so that a stopped run goes on.

A record is written once its image is done, in small files that are whole or not there. Several processes may write at
the same time. The newest record of an image counts.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from distillfss.errors import UsageError
from distillfss.places import Place

FOLDER = ".distillfss-records"
EVERY = 200
SECONDS = 5.0

Record = Mapping[str, Any]
"""Record key (``Output.record_key``) to what the format wants to remember of an image."""


class Records:
    """Records in one folder of results.

    Parameters
    ----------
    place
        The folder of the results.
    class_names
        Of the model; records of a model with other classes are never mixed with its own.
    """

    def __init__(self, place: Place, class_names: Sequence[str]) -> None:
        self._place = place
        self._class_names = list(class_names)
        self._waiting: list[str] = []
        self._since = time.monotonic()
        self._parts: list[str] = []
        self._found: dict[str, dict[str, Any]] = {}

    def load(self, *, forget: bool = False) -> None:
        """Read what is there.

        Parameters
        ----------
        forget
            Drop records of a model with other classes instead of refusing them.

        Raises
        ------
        UsageError
            Results of a model with other classes are there.
        """
        self._parts = [f"{FOLDER}/{name}" for name in self._place.names(FOLDER) if name.endswith(".jsonl")]
        self._found = {}
        for part in self._parts:
            head, *lines = self._place.read(part).decode().splitlines()
            theirs = json.loads(head)["class_names"]
            if theirs == self._class_names:
                for name, record in map(json.loads, lines):
                    self._found.setdefault(name, {}).update(record)
            elif not forget:
                raise UsageError(
                    f"the folder of the results holds those of a model with other classes ({', '.join(theirs)})",
                    cure="Choose another folder, or add --overwrite",
                )

    @property
    def any(self) -> bool:
        """Whether there is any record at all."""
        return bool(self._found)

    def has(self, name: str, key: str) -> bool:
        """Whether there is a record of an image under this key."""
        return key in self._found.get(name, {})

    def of(self, key: str) -> dict[str, Any]:
        """The records under this key by image name."""
        return {name: record[key] for name, record in self._found.items() if key in record}

    def add(self, name: str, record: Record) -> None:
        """Remember an image; on disk within seconds, or with ``flush``."""
        if not record:
            return
        self._found.setdefault(name, {}).update(record)
        self._waiting.append(json.dumps([name, record], separators=(",", ":")))
        if len(self._waiting) >= EVERY or time.monotonic() - self._since > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        self._since = time.monotonic()
        if not self._waiting:
            return
        self._parts.append(self._write(self._waiting))
        self._waiting = []

    def compact(self) -> None:
        """Many small files become one."""
        self.flush()
        if len(self._parts) < 2:
            return
        whole = self._write([json.dumps(item, separators=(",", ":")) for item in self._found.items()])
        for part in self._parts:
            self._place.remove(part)
        self._parts = [whole]

    def _write(self, lines: Sequence[str]) -> str:
        self._place.make_folders([FOLDER])
        part = f"{FOLDER}/{time.time_ns():020d}-{secrets.token_hex(4)}.jsonl"
        head = json.dumps({"class_names": self._class_names})
        self._place.write(part, "\n".join([head, *lines, ""]).encode())
        return part
