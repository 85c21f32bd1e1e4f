"""The meta-trained teachers in the package: they load, they are small, and a fit starts from them."""

from __future__ import annotations

import re

import pytest
import torch

from distillfss import FitConfig, SupportSet, fit
from distillfss.backbones import load_backbone, weights_sha256
from distillfss.checkpoints.teacher_file import load_start
from distillfss.models.teacher import Teacher
from distillfss.sample import support_tiles
from distillfss.training.initial import start_file
from distillfss.weights import SHIPPED, shipped_start

LARGEST = 8_000_000


@pytest.mark.parametrize("backbone", SHIPPED)
def test_the_file_is_small_and_fits_the_backbone(backbone):
    path = shipped_start(backbone)
    assert path is not None
    assert path.stat().st_size <= LARGEST
    teacher = Teacher(load_backbone(backbone).layers)
    before = {name: t.clone() for name, t in teacher.state_dict().items()}
    info = load_start(path, teacher, backbone, weights_sha256(backbone))
    assert all(bool(t.isfinite().all()) for t in teacher.state_dict().values())
    assert not any(torch.equal(t, before[n]) for n, t in teacher.state_dict().items() if n.endswith("query.weight"))
    assert info.summary["settings"]["backbone"] == backbone


@pytest.mark.parametrize("backbone", SHIPPED)
def test_the_card_says_what_the_file_says(backbone):
    path = shipped_start(backbone)
    assert path is not None
    card = path.with_suffix(".md").read_text()
    info = load_start(path, Teacher(load_backbone(backbone).layers), backbone, weights_sha256(backbone))
    settings = info.summary["settings"]
    assert f"{settings['steps'] * settings['episodes']:,} ({settings['steps']:,} steps" in card
    for name, row in info.summary["held_out"].items():
        cells = [row[f"{who} {k}"] for k in (1, 5) for who in ("teacher", "untrained", "prototypes")]
        shown = " | ".join("–" if v is None else f"{100 * v:.1f}" for v in cells)
        assert f"| {name} | {shown} |" in card
    command = re.search(r"```\n(distillfss meta-train .*)\n```", card)
    assert command is not None
    assert f"--steps {settings['steps']}" in command[1]


def test_a_fit_starts_from_it_unless_told_otherwise():
    assert start_file("auto", "efficientnet_lite0", weights_sha256("efficientnet_lite0")) == shipped_start(
        "efficientnet_lite0"
    )
    assert start_file("scratch", "efficientnet_lite0", weights_sha256("efficientnet_lite0")) is None
    assert start_file("auto", "efficientnet_lite0", "other weights") is None
    assert start_file("auto", "efficientnet_lite1", weights_sha256("efficientnet_lite1")) is None
    tiles = support_tiles()
    support = SupportSet.from_arrays([tile.image for tile in tiles], [tile.mask for tile in tiles])
    segmenter = fit(support, FitConfig(size=64, effort=0.02, pool_views=4, distill_batch=2))
    assert segmenter.summary["start"] == "dcama-lite0"
