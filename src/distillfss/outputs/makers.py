"""Which model made the results in a folder, kept beside them, so that those of two models are never mixed unnoticed.

Remembered by output, as a run with ``--overwrite`` and fewer outputs leaves the others as they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from distillfss.errors import UsageError
from distillfss.outputs.records import FOLDER
from distillfss.places import Place

FILE = f"{FOLDER}/model.json"

Settings = Mapping[str, Any]
"""What decides about masks besides the model, such as tiles, by the option that sets it; JSON-safe."""


def fingerprint_of(segmenter: object) -> str:
    """What tells the model from others; empty where it cannot say, and nothing is then remembered or refused."""
    return str(getattr(segmenter, "fingerprint", None) or "")


class Makers:
    """The models whose results are in one place. A folder that says nothing, as older ones, is anybody's.

    Parameters
    ----------
    place
        The folder of the results.
    where
        What errors call it.
    model
        Fingerprint of the model of this run.

    Raises
    ------
    UsageError
        What the folder says of itself is damaged.
    """

    def __init__(self, place: Place, where: str, model: str) -> None:
        self._place, self._where, self._model = place, where, model
        self._models: dict[str, str] = {}
        self._settings: dict[str, Any] | None = None
        if model and place.exists(FILE):
            try:
                found = json.loads(place.read(FILE))
                self._models = {str(name): str(model) for name, model in found["models"].items()}
                self._settings = found.get("settings")
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UsageError(
                    f"{where}/{FILE}: is damaged, so nobody knows which model made the results there",
                    cure="Choose another --out, or delete that file",
                ) from None

    @property
    def others(self) -> list[str]:
        """Outputs there that are another model's."""
        return [name for name, model in self._models.items() if model != self._model]

    def refuse_others(self) -> None:
        """Raise ``UsageError`` if results of another model are there."""
        if self.others:
            raise UsageError(
                f"{self._where}: holds results of another model ({', '.join(self.others)})",
                cure="Add --overwrite, or choose another --out",
            )

    def differing(self, settings: Settings) -> list[str]:
        """Of the settings that decide about masks, those under which the results there were not made."""
        if self._settings is None:
            return []
        return [name for name in {**self._settings, **settings} if self._settings.get(name) != settings.get(name)]

    def claim(self, names: Iterable[str], settings: Settings | None = None, *, overwrite: bool = False) -> None:
        """Remember that outputs are this model's from now on.

        The settings are those of the first run, or of the last one with ``overwrite``.
        """
        if not self._model:
            return
        models = {**self._models, **dict.fromkeys(names, self._model)}
        kept = settings if settings is not None and (overwrite or self._settings is None) else self._settings
        if (models, kept) == (self._models, self._settings):
            return
        self._models, self._settings = models, None if kept is None else dict(kept)
        self._place.make_folders([FOLDER])
        self._place.write(FILE, json.dumps({"models": self._models, "settings": self._settings}).encode())
