"""The attention against an explicit softmax in float64."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillfss.models.attention import CoarseAttention, attend, positional_encoding, tokens


def explicit(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """mean over heads of softmax(q k^T + bias) v, one query at a time, nothing clever."""
    batch, heads, count, _ = q.shape
    out = torch.zeros(batch, count, v.shape[1], dtype=torch.float64)
    for b in range(batch):
        for i in range(count):
            for h in range(heads):
                scores = (k[h].double() * q[b, h, i].double()).sum(-1)
                scores = scores if bias is None else scores + bias.double()
                weights = (scores - scores.max()).exp()
                out[b, i] += (weights[:, None] * v.double()).sum(0) / weights.sum() / heads
    return out


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 4),
    count=st.integers(1, 9),
    keys=st.integers(1, 40),
    ways=st.integers(1, 20),
    seed=st.integers(0, 1000),
)
def test_attend_equals_the_explicit_softmax(batch, heads, count, keys, ways, seed):
    generator = torch.Generator().manual_seed(seed)
    q = 4 * torch.randn(batch, heads, count, 8, generator=generator)
    k = torch.randn(heads, keys, 8, generator=generator)
    v = torch.rand(keys, ways, generator=generator)
    torch.testing.assert_close(attend(q, k, v).double(), explicit(q, k, v), rtol=1e-5, atol=1e-6)
    bias = 2 * torch.randn(keys, generator=generator)
    found = attend(q, k, v, bias=bias).double()
    torch.testing.assert_close(found, explicit(q, k, v, bias), rtol=1e-5, atol=1e-6)


def test_attend_gradients_equal_the_explicit_ones():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 3, 5, 8, generator=generator), torch.randn(3, 11, 8, generator=generator)
    v, weight = torch.rand(11, 2, generator=generator), torch.randn(2, 5, 2, generator=generator)
    bias = torch.randn(11, generator=generator)
    grads = []
    for function in (attend, explicit):
        parts = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
        (function(*parts, bias=bias) * weight).sum().backward()
        grads.append([part.grad for part in parts])
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-6)


def test_constant_masks_come_back_constant():
    layer = CoarseAttention(12)
    query, support = torch.randn(2, 12, 5, 3), torch.randn(4, 12, 6, 7)
    masks = torch.stack([torch.zeros(4, 6, 7), torch.full((4, 6, 7), 0.25), torch.ones(4, 6, 7)], dim=1)
    maps = layer(query, support, masks)
    assert maps.shape == (2, 3, 5, 3)
    for index, value in enumerate((0.0, 0.25, 1.0)):
        torch.testing.assert_close(maps[:, index], torch.full((2, 5, 3), value))


def test_a_query_finds_its_own_copy_in_the_support():
    """Distinct tokens, a hard temperature: the coarse map is the mask itself."""
    torch.manual_seed(0)
    layer = CoarseAttention(32)
    with torch.no_grad():
        layer.log_scale.fill_(6.0)
    image = torch.randn(1, 32, 6, 6)
    mask = (torch.rand(1, 2, 6, 6) > 0.5).float()
    torch.testing.assert_close(layer(image, image, mask), mask, rtol=0, atol=0.05)


def test_the_key_starts_as_the_query():
    layer = CoarseAttention(8)
    assert torch.equal(layer.query.weight, layer.key.weight)
    assert layer.query.weight is not layer.key.weight


def test_scale_of_the_features_does_not_matter():
    layer = CoarseAttention(16)
    query, support, masks = torch.randn(1, 16, 4, 4), torch.randn(2, 16, 4, 4), torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(
        layer(query, support, masks), layer(50 * query, 0.1 * support, masks), rtol=1e-3, atol=1e-4
    )


def test_ignored_tokens_take_no_part():
    layer = CoarseAttention(16)
    query, support, masks = torch.randn(1, 16, 4, 4), torch.randn(2, 16, 4, 4), torch.rand(2, 2, 4, 4)
    masks[1] = torch.nan
    torch.testing.assert_close(layer(query, support, masks), layer(query, support[:1], masks[:1]))


def test_nothing_known_gives_zeros_not_nan():
    layer = CoarseAttention(16)
    maps = layer(torch.randn(1, 16, 4, 4), torch.randn(1, 16, 4, 4), torch.full((1, 1, 4, 4), torch.nan))
    assert torch.equal(maps, torch.zeros(1, 1, 4, 4))


def test_support_of_several_images_is_attended_jointly():
    """The order of the support images cannot matter, and a doubled support changes nothing."""
    layer = CoarseAttention(16)
    query, support, masks = torch.randn(2, 16, 4, 4), torch.randn(3, 16, 4, 4), torch.rand(3, 1, 4, 4)
    maps = layer(query, support, masks)
    torch.testing.assert_close(layer(query, support.flip(0), masks.flip(0)), maps)
    torch.testing.assert_close(layer(query, support.repeat(2, 1, 1, 1), masks.repeat(2, 1, 1, 1)), maps)


def test_tokens_are_row_major():
    assert torch.equal(tokens(torch.arange(6.0).view(1, 1, 2, 3)).flatten(), torch.arange(6.0))


def test_positional_encoding_values():
    code = positional_encoding(8, 2, 4)
    assert code.shape == (8, 8)
    row, column = (1 + 0.5) * 100 / 2, (2 + 0.5) * 100 / 4
    token = code[1 * 4 + 2]
    second = 10_000 ** (-1 / 2)
    wanted = torch.stack(
        [
            torch.sin(torch.tensor(row)),
            torch.sin(torch.tensor(row * second)),
            torch.cos(torch.tensor(row)),
            torch.cos(torch.tensor(row * second)),
            torch.sin(torch.tensor(column)),
            torch.sin(torch.tensor(column * second)),
            torch.cos(torch.tensor(column)),
            torch.cos(torch.tensor(column * second)),
        ]
    )
    torch.testing.assert_close(token, wanted, rtol=1e-4, atol=1e-4)


PEAK = """
import sys, torch
from pathlib import Path
from distillfss.backbones import build_backbone
from distillfss.models.teacher import Teacher
layers = build_backbone("efficientnet_lite0").layers
k = int(sys.argv[1])
def pyramid(n):
    return [torch.randn(n, l.channels, 384 // l.stride, 384 // l.stride) for l in layers]
teacher = Teacher(layers)
support = pyramid(k)
masks = torch.rand(k, 1, 384, 384).round()
tokens = teacher.support_tokens(support, masks)
logits, _ = teacher(pyramid(1), tokens)
logits.sum().backward()
# not ru_maxrss: that one starts at the size of the process this was started from
print(*(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.fixture(scope="module")
def peaks() -> dict[int, int]:
    """Peak memory in KiB of a process that takes a training step of the teacher, by support images at 384 px."""
    found = {}
    for shots in (1, 80, 160):
        out = subprocess.run([sys.executable, "-c", PEAK, str(shots)], capture_output=True, text=True, check=True)
        found[shots] = int(out.stdout)
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")


@needs_proc
def test_eighty_shots_at_384_px_fit_in_three_gigabytes(peaks):
    assert peaks[80] < 3 * 2**20


@needs_proc
def test_memory_grows_at_most_linearly_in_k(peaks):
    assert peaks[160] - peaks[1] < 2.2 * (peaks[80] - peaks[1])


def test_codes_of_places_are_kept_and_serve_prediction_and_training_alike():
    with torch.inference_mode():
        first = positional_encoding(8, 3, 5)
    gain = torch.zeros((), requires_grad=True)
    again = positional_encoding(8, 3, 5)
    assert again is first
    (gain * again).sum().backward()
    assert gain.grad is not None
    torch.testing.assert_close(gain.grad, again.sum())
