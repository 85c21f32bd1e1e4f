"""Steps that look at a part of every view."""

import numpy as np
import pytest
import torch

from distillfss.backbones.base import Layer
from distillfss.models.attention import positional_encoding
from distillfss.models.student import DistilledAttention, Student
from distillfss.models.teacher import Teacher
from distillfss.training.crops import Crops
from distillfss.training.pool import Batch, EncodedView

CANVAS = (192, 288)
LAYERS = (Layer("a", 4, 6), Layer("b", 8, 8), Layer("c", 16, 8), Layer("d", 32, 12))


def maps(stride, count=3):
    """Every pixel a number of its own."""
    height, width = CANVAS[0] // stride, CANVAS[1] // stride
    return [n * 1e6 + torch.arange(1.0 * height * width).view(1, 1, height, width) for n in range(count)]


def test_the_same_rectangle_at_every_stride():
    crops = Crops(CANVAS, 2 / 3, 3, np.random.default_rng(0))
    pixels = crops(maps(1))
    assert pixels.shape == (3, 1, 128, 192)
    corners = []
    for stride in (1, 4, 8, 16, 32):
        found, width = crops(maps(stride)), CANVAS[1] // stride
        assert found.shape == (3, 1, 128 // stride, 192 // stride)
        for number, image in enumerate(found):
            assert int(image.min()) // 1_000_000 == int(image.max()) // 1_000_000 == number
            row, column = divmod(int(image[0, 0, 0]) - number * 1_000_000, width)
            assert (
                int(image[0, -1, -1]) - number * 1_000_000
                == (row + 128 // stride - 1) * width + column + 192 // stride - 1
            )
            corners.append((stride, number, row * stride, column * stride))
    assert len({(number, row, column) for _, number, row, column in corners}) == 3
    assert all(row % 32 == column % 32 == 0 for *_, row, column in corners)


def test_every_pixel_has_its_turn():
    random = np.random.default_rng(1)
    seen = torch.cat([Crops(CANVAS, 2 / 3, 3, random)(maps(32)) for _ in range(20)])
    assert sorted(set((seen % 1_000_000).flatten().int().tolist())) == list(range(6 * 9))


@pytest.mark.parametrize("canvas", [(32, 32), (32, 512)])
def test_a_canvas_of_one_cell_is_left_whole(canvas):
    crops = Crops(canvas, 0.5, 2, np.random.default_rng(0))
    found = crops([torch.zeros(1, *canvas)] * 2)
    assert found.shape == (2, 32, max(32, canvas[1] // 2))


def test_all_of_it():
    crops = Crops(CANVAS, 1.0, 3, np.random.default_rng(0))
    torch.testing.assert_close(crops(maps(8)), torch.cat(maps(8)), rtol=0, atol=0)
    whole = positional_encoding(8, 6, 9)
    torch.testing.assert_close(crops.encoding(8, 6, 9), whole.expand(3, -1, -1), rtol=0, atol=0)


def views(count):
    random = torch.Generator().manual_seed(0)
    return [
        EncodedView(
            [torch.randn(1, at.channels, *(side // at.stride for side in CANVAS), generator=random) for at in LAYERS],
            torch.zeros(1, *CANVAS, dtype=torch.uint8),
            source=number,
            number=number,
            scene=number,
        )
        for number in range(count)
    ]


@torch.no_grad()
def test_coarse_maps_of_a_crop_are_the_crop_of_coarse_maps():
    """Places included: without them the same features would be taken for a smaller image."""
    queries, support = views(3), Batch.of(views(2))
    crops = Crops(CANVAS, 2 / 3, 3, np.random.default_rng(5))
    teacher = Teacher(LAYERS)
    masks = (torch.rand(2, 2, *CANVAS, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    tokens = teacher.support_tokens(support.features, masks)
    part, whole = Batch.of(queries, crops), Batch.of(queries)
    assert part.masks.shape == (3, 128, 192)
    for attention in teacher.attention:
        attention.position_gain.fill_(0.7)
    of_part = teacher.coarse_maps(part.features, tokens, crops.encoding)
    of_whole = teacher.coarse_maps(whole.features, tokens)
    for found, everything in zip(of_part, of_whole, strict=True):
        torch.testing.assert_close(found, crops(everything.split(1)), rtol=1e-4, atol=1e-5)
    lost = teacher.coarse_maps(part.features, tokens)
    assert not torch.allclose(lost[0], of_part[0], atol=1e-3)


@torch.no_grad()
def test_coarse_maps_of_a_students_crop_likewise():
    queries, crops = views(3), Crops(CANVAS, 2 / 3, 3, np.random.default_rng(5))
    torch.manual_seed(2)
    student = Student(LAYERS, 2)
    for attention in student.attention:
        assert isinstance(attention, DistilledAttention)
        attention.attention.position_gain.fill_(0.7)
    _, of_part = student(Batch.of(queries, crops).features, encoding=crops.encoding)
    _, of_whole = student(Batch.of(queries).features)
    for found, everything in zip(of_part, of_whole, strict=True):
        torch.testing.assert_close(found, crops(everything.split(1)), rtol=1e-4, atol=1e-5)
    _, lost = student(Batch.of(queries, crops).features)
    assert not torch.allclose(lost[0], of_part[0], atol=1e-3)
