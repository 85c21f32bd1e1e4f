"""What meta-training is asked to do, and what it tells on the way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from distillfss import __version__
from distillfss.backbones import weights_sha256
from distillfss.meta.config import MetaConfig
from distillfss.meta.sources import open_sources


@dataclass(frozen=True)
class Job:
    """What every process needs to know.

    Attributes
    ----------
    sources
        Labelled folders.
    config
        Settings.
    cache
        Folder of the feature cache.
    cache_bytes
        Most it may take.
    state
        File of the checkpoint; the result is read from it as well.
    """

    sources: tuple[Path, ...]
    config: MetaConfig
    cache: Path
    cache_bytes: int
    state: Path

    def fingerprint(self) -> str:
        """Hex digest of what decides the result: settings, source files, versions."""
        identity = f"{self.config.fingerprint()} {self.views_fingerprint(0)} {__version__} {torch.__version__}"
        return hashlib.sha256(identity.encode()).hexdigest()

    def views_fingerprint(self, views: int) -> str:
        """Hex digest of what decides the features: settings that concern views, source files by size, drawn masks."""
        c = self.config
        weights = weights_sha256(c.backbone, c.backbone_weights)
        made_of = (c.backbone, weights, c.size, c.views, c.synthetic, c.hold_out, c.seed, views)
        digest = hashlib.sha256(repr(made_of).encode())
        for folder in open_sources(self.sources):
            for index, name in enumerate(folder.names):
                sizes = folder.image_path(index).stat().st_size, folder.mask_path(index).stat().st_size
                digest.update(f"{name} {sizes}".encode())
                if folder.format != "index-png":  # a file may annotate many images, or an image have many files
                    digest.update(repr(folder.class_names).encode() + folder.raw_mask(index).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class MetaProgress:
    """Where meta-training stands: phase (``features``, ``train``, ``validate``), how far, and what there is to say."""

    phase: str
    done: int
    total: int
    message: str = ""
