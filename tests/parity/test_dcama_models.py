"""The authors' teacher and student against their formulas, on small pyramids."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from distillfss.backbones.base import Layer
from distillfss.models.dcama import DcamaMixer, DcamaStudent, DcamaTeacher
from distillfss.models.dcama.attention import CrossAttention, positional_encoding
from distillfss.models.dcama.mixer import skip_layers
from distillfss.models.student import Student

LAYERS = (
    Layer("a", 4, 4),
    Layer("b", 4, 4),
    Layer("c", 8, 8),
    Layer("d", 16, 16),
    Layer("e", 16, 16),
    Layer("f", 32, 24),
)


def pyramid(count: int, height: int = 64, width: int = 96, seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(count, k.channels, height // k.stride, width // k.stride, generator=random) for k in LAYERS]


def masks(count: int, ways: int) -> torch.Tensor:
    return (torch.rand(count, ways, 64, 96, generator=torch.Generator().manual_seed(9)) > 0.6).float()


def test_positions_count_row_by_row():
    code = positional_encoding(6, 5)
    assert code.shape == (5, 6)
    for position in range(5):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            assert code[position, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-6)
            assert code[position, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_attention_against_the_formula():
    torch.manual_seed(0)
    attention = CrossAttention(16, heads=4)
    query, support = torch.randn(2, 16, 3, 2), torch.randn(3, 16, 2, 4)
    values = torch.rand(3, 2, 2, 4)
    wanted = torch.zeros(2, 2, 6)
    rows = torch.cat([s.flatten(1).T + positional_encoding(16, 8) for s in support])  # positions start anew
    flat = torch.cat([v.flatten(1).T for v in values])
    for b in range(2):
        q = attention.query(query[b].flatten(1).T + positional_encoding(16, 6)).unflatten(1, (4, 4))
        k = attention.key(rows).unflatten(1, (4, 4))
        for head in range(4):
            wanted[b] += ((q[:, head] @ k[:, head].T / 2).softmax(-1) @ flat).T / 4
    torch.testing.assert_close(attention(query, support, values), wanted.reshape(2, 2, 3, 2), rtol=1e-4, atol=1e-6)


def test_unknown_tokens_are_not_attended_to():
    attention = CrossAttention(16, heads=4)
    query, support = torch.randn(1, 16, 3, 2), torch.randn(2, 16, 2, 4)
    values = torch.rand(2, 1, 2, 4)
    values[1] = torch.nan
    torch.testing.assert_close(attention(query, support, values), attention(query, support[:1], values[:1]))


@pytest.mark.parametrize("concat", [False, True])
def test_shapes_of_teacher_and_student(concat):
    teacher, student = DcamaTeacher(LAYERS, concat), DcamaStudent(LAYERS, 3)
    query = pyramid(2)
    for logits, maps in (teacher(query, teacher.support_tokens(pyramid(4, seed=1), masks(4, 3))), student(query)):
        assert logits.shape == (2, 3, 2, 64, 96)
        assert [tuple(m.shape) for m in maps] == [(2, 3, 8, 12), (2, 3, 4, 6), (2, 3, 4, 6), (2, 3, 2, 3)]


def test_support_is_concatenated_as_its_highest_values():
    assert skip_layers(LAYERS) == (2, 1)
    teacher, support = DcamaTeacher(LAYERS, concat_support=True), pyramid(4, seed=1)
    skips = teacher.support_tokens(support, masks(4, 1)).skips
    assert skips is not None
    assert torch.equal(skips[0], support[2].max(0, keepdim=True).values)
    assert torch.equal(skips[1], support[1].max(0, keepdim=True).values)
    assert DcamaTeacher(LAYERS).support_tokens(support, masks(4, 1)).skips is None


def test_masks_are_resized_with_aligned_corners():
    teacher, masked = DcamaTeacher(LAYERS), masks(1, 2)
    shares = teacher.support_tokens(pyramid(1), masked).masks
    wanted = F.interpolate(masked, (2, 3), mode="bilinear", align_corners=True)
    assert torch.equal(shares[-1], wanted)
    assert torch.equal(shares[-1][..., -1, -1], masked[..., -1, -1])


def test_classes_do_not_touch_each_other():
    student, query = DcamaStudent(LAYERS, 3).eval(), pyramid(2)
    before, _ = student(query)
    with torch.no_grad():
        student.conv_dist[1]["8"][2].bias += 5
    after, maps = student(query)
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
    assert not torch.equal(after[:, 1], before[:, 1])
    alone = DcamaStudent(LAYERS, 1)
    alone.conv_dist[0].load_state_dict(student.conv_dist[2].state_dict())
    alone.mixer.load_state_dict(student.mixer.state_dict())
    torch.testing.assert_close(alone(query)[0][:, 0], after[:, 2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone(query)[1][0][:, 0], maps[0][:, 2])


def test_layers_of_a_stride_share_attention_and_convolutions():
    assert set(DcamaTeacher(LAYERS).attention) == {"8", "16", "32"}
    assert [set(c) for c in DcamaStudent(LAYERS, 2).conv_dist] == [{"8", "16", "32"}] * 2


def test_grids_that_do_not_double_exactly():
    """64 x 96 pixels minus a few: grids of 1/32 and 1/16 are rounded up."""
    sizes = {4: (15, 23), 8: (8, 12), 16: (4, 6), 32: (2, 3)}
    features = [torch.randn(1, k.channels, *sizes[k.stride]) for k in LAYERS]
    coarse = [torch.randn(1, 1, *sizes[k.stride]) for k in LAYERS if k.stride > 4]
    assert DcamaMixer(LAYERS)(coarse, features).shape == (1, 1, 2, 60, 92)


def test_the_students_interface_is_that_of_the_default_one():
    mine, default = DcamaStudent(LAYERS, 2), Student(LAYERS, 2)
    query = pyramid(1)
    (logits, maps), (others, other_maps) = mine(query), default(query)
    assert logits.shape[:3] == others.shape[:3]
    # ours has two kinds of map per layer, none finer than stride 16
    assert [m.shape[:2] for m in maps] == [m.shape[:2] for m in other_maps]
    assert mine.ways == default.ways


def test_gradients_reach_every_parameter():
    teacher, student = DcamaTeacher(LAYERS, concat_support=True), DcamaStudent(LAYERS, 2)
    teacher(pyramid(1), teacher.support_tokens(pyramid(2, seed=1), masks(2, 2)))[0].square().mean().backward()
    student(pyramid(1))[0].square().mean().backward()
    for model in (teacher, student):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert float(teacher.attention["8"].query.weight.grad.abs().max()) > 0
