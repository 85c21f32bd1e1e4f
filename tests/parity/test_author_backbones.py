"""ResNet and Swin pyramids at small widths: shapes at any size, published names, windows that do not leak."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from distillfss.backbones.imagenet import normalise
from distillfss.backbones.resnet import FrozenBatchNorm, ResNet
from distillfss.backbones.swin import PatchMerging, Swin, WindowAttention, Windows, relative_position


def tiny(name: str) -> ResNet | Swin:
    torch.manual_seed(0)
    if name == "resnet50":
        backbone: ResNet | Swin = ResNet(depths=(1, 2, 1, 1), width=4)
    else:
        backbone = Swin(depths=(2, 2, 4, 2), heads=(1, 2, 4, 8), width=8, window=4)
    for tensor in backbone.parameters():
        if tensor.ndim > 1:
            torch.nn.init.normal_(tensor, std=tensor[0].numel() ** -0.5)
    return backbone


@pytest.fixture(params=["resnet50", "swin_b"])
def backbone(request: pytest.FixtureRequest) -> ResNet | Swin:
    return tiny(request.param)


@pytest.mark.parametrize("size", [(96, 128), (97, 131), (33, 250), (31, 1), (1, 1)])
def test_layers_have_the_announced_shapes_at_any_size(backbone, size):
    features = backbone(torch.rand(2, 3, *size) * 255)
    assert len(features) == len(backbone.layers)
    for feature, layer in zip(features, backbone.layers, strict=True):
        assert feature.shape == (2, layer.channels, *(math.ceil(side / layer.stride) for side in size))
        assert feature.isfinite().all()


def test_frozen_whatever_mode_is_asked_for(backbone):
    backbone.train()
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())
    image = torch.rand(1, 3, 64, 64) * 255
    for a, b in zip(backbone(image), backbone(image), strict=True):
        assert torch.equal(a, b)


def test_images_of_a_batch_do_not_touch_each_other(backbone):
    images = torch.rand(2, 3, 72, 100) * 255
    for together, alone in zip(backbone(images), backbone(images[1:]), strict=True):
        torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)


def test_pixels_are_normalised_once(backbone):
    image = torch.rand(1, 3, 64, 64) * 255
    for whole, part in zip(backbone(image), backbone.features(normalise(image)), strict=True):
        assert torch.equal(whole, part)
    white = normalise(torch.full((1, 3, 1, 1), 255.0)).flatten()
    torch.testing.assert_close(white, torch.tensor([2.248908, 2.428571, 2.64]))


@pytest.mark.parametrize(
    ("name", "strides"),
    [("resnet50", [4] * 3 + [8] * 4 + [16] * 6 + [32] * 3), ("swin_b", [4] * 2 + [8] * 2 + [16] * 18 + [32] * 2)],
)
def test_layers_of_the_full_networks(name, strides):
    with torch.device("meta"):
        backbone = {"resnet50": ResNet, "swin_b": Swin}[name]()
    first = {"resnet50": 256, "swin_b": 128}[name]
    assert backbone.name == name
    assert [layer.stride for layer in backbone.layers] == strides
    assert [layer.channels for layer in backbone.layers] == [first * stride // 4 for stride in strides]


def test_features_are_taken_before_the_relu():
    assert all(float(feature.min()) < 0 for feature in tiny("resnet50")(torch.rand(1, 3, 64, 64) * 255))


def test_batch_norm_uses_the_stored_statistics():
    norm, theirs = FrozenBatchNorm(3), torch.nn.BatchNorm2d(3).eval()
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    norm.load_state_dict({k: v for k, v in theirs.state_dict().items() if k != "num_batches_tracked"})
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(norm.train()(x), theirs(x))


def test_published_names_are_read_and_the_classifier_passed_over(backbone):
    published = {name.replace("stages.", "layers."): tensor + 1 for name, tensor in backbone.state_dict().items()}
    if backbone.name == "resnet50":
        extra = {"fc.weight": torch.ones(1), "fc.bias": torch.ones(1), "bn1.num_batches_tracked": torch.tensor(3)}
    else:
        extra = {
            "norm.weight": torch.ones(1),
            "head.bias": torch.ones(1),
            "layers.0.blocks.1.attn_mask": torch.ones(1),
            "layers.0.blocks.0.attn.relative_position_index": torch.ones(1),
        }
    backbone.load_pretrained(published | extra)
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, published[name.replace("stages.", "layers.")])
    with pytest.raises(RuntimeError, match=r"Unexpected key.*surprise"):
        backbone.load_pretrained(published | {"surprise": torch.ones(1)})
    first = next(iter(published))
    with pytest.raises(RuntimeError, match="Missing key"):
        backbone.load_pretrained({name: tensor for name, tensor in published.items() if name != first})


# Swin's windows


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (4, 4), (6, 11), (3, 9), (1, 1)])
def test_joining_undoes_cutting(size, shifted):
    x = torch.randn(2, *size, 5)
    windows = Windows(*size, 4, shifted, x.device)
    cut = windows.cut(x)
    assert cut.shape[1:] == (16, 5)
    assert torch.equal(windows.join(cut), x)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (12, 8), (4, 4), (6, 11), (3, 9)])
def test_a_token_sees_its_window_only(size, shifted):
    """Against the definition: cells of a grid that is moved by half a window, along sides longer than one window."""
    height, width = size
    windows = Windows(height, width, 4, shifted, torch.device("cpu"))
    number = torch.arange(1, height * width + 1).reshape(1, height, width, 1)
    cut = windows.cut(number)[..., 0]  # 0 is padding
    row_shift, column_shift = (2 if shifted and side > 4 else 0 for side in size)
    seen = {}
    for window, tokens in enumerate(cut.tolist()):
        for i, token in enumerate(tokens):
            open_to = [j for j in range(16) if windows.masked is None or windows.masked[window, i, j] == 0]
            if token:
                seen[token] = {tokens[j] for j in open_to}
    assert len(seen) == height * width
    for token, visible in seen.items():
        row, column = divmod(token - 1, width)
        cell = ((row - row_shift) // 4, (column - column_shift) // 4)
        wanted = {
            r * width + c + 1
            for r in range(height)
            for c in range(width)
            if ((r - row_shift) // 4, (c - column_shift) // 4) == cell
        }
        assert visible == wanted


def test_windows_of_the_published_size_need_no_padding():
    plain, moved = (Windows(96, 96, 12, shifted, torch.device("cpu")) for shifted in (False, True))
    assert plain.masked is None
    assert moved.masked is not None
    assert moved.masked.shape == (64, 144, 144)
    assert Windows(12, 12, 12, True, torch.device("cpu")).masked is None


def test_relative_positions():
    index = relative_position(3)
    assert index.shape == (9, 9)
    for query in range(9):
        for key in range(9):
            down, right = query // 3 - key // 3, query % 3 - key % 3
            assert index[query, key] == (down + 2) * 5 + right + 2


def test_window_attention_against_the_formula():
    torch.manual_seed(0)
    attention = WindowAttention(6, 2, 3).requires_grad_(False)
    attention.relative_position_bias_table.normal_()
    x, masked = torch.randn(4, 4, 6), torch.zeros(2, 4, 4)
    masked[1, 0, 3] = -torch.inf
    q, k, v = F.linear(x, attention.qkv.weight, attention.qkv.bias).reshape(4, 4, 3, 3, 2).unbind(2)
    wanted = torch.zeros(4, 4, 3, 2)
    for window in range(4):
        for head in range(3):
            logits = q[window, :, head] @ k[window, :, head].T / math.sqrt(2)
            logits += attention.relative_position_bias_table[relative_position(2), head] + masked[window % 2]
            wanted[window, :, head] = logits.softmax(-1) @ v[window, :, head]
    torch.testing.assert_close(attention(x, masked), attention.proj(wanted.flatten(2)))


def test_patch_merging_takes_columns_of_rows():
    merge = PatchMerging(1)
    seen = []
    merge.norm.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    merge(torch.arange(9.0).reshape(1, 3, 3, 1))
    assert seen[0].tolist() == [[[[0, 3, 1, 4], [2, 5, 0, 0]], [[6, 0, 7, 0], [8, 0, 0, 0]]]]
