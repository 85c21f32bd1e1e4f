"""The contract of every backbone, over timm's architectures with random weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from distillfss.backbones import Backbone, build_backbone
from distillfss.backbones.timm_backbone import BLOCKS
from distillfss.backbones.torchvision_bridge import import_timm
from distillfss.errors import UsageError

# Every kind of net there is: convolutions, windows, plain tokens of 16, 14 and 8 pixels, registers, rotary positions,
# one size only, no stride 4, no stride 8. By block: maps in both orders of axes, stages with and without `blocks`.
NETS = {
    "resnet18": (4, 8, 16, 32),
    "resnet18@blocks": (4, 8, 8, 16, 16, 32, 32),
    "convnext_atto": (4, 8, 16, 32),
    "convnext_atto@blocks": (4, 8, 8, *6 * (16,), 32, 32),
    "convnext_tiny.dinov3_lvd1689m": (4, 8, 16, 32),
    "efficientnet_b0": (4, 8, 16, 32),
    # two stages at stride 16, of which timm's own extraction knows one, and so for stride 32
    "efficientnet_b0@blocks": (4, 8, 8, *6 * (16,), *5 * (32,)),
    "mobilenetv3_small_050": (4, 8, 16, 32),
    "regnetx_002@blocks": (4, 8, *4 * (16,), *7 * (32,)),
    "hgnetv2_b0": (4, 8, 16, 32),
    "pvt_v2_b0": (4, 8, 16, 32),
    "swin_tiny_patch4_window7_224": (4, 8, 16, 32),
    "swin_tiny_patch4_window7_224@blocks": (4, 8, 8, *6 * (16,), 32, 32),
    "swinv2_cr_tiny_ns_224": (4, 8, 16, 32),
    "maxvit_nano_rw_256": (4, 8, 16, 32),
    "shvit_s1": (4, 8, 16, 32),
    "volo_d1_224": (4, 8, 16, 16, 16, 32),
    "vit_tiny_patch16_224": (4, 8, 16, 32),
    "deit_tiny_distilled_patch16_224": (4, 8, 16, 32),
    "xcit_nano_12_p8_224": (4, 8, 16, 32),
    "vit_small_patch14_dinov2": (4, 8, 16, 32),
    "vit_small_patch14_reg4_dinov2": (4, 8, 16, 32),
    "vit_small_patch16_dinov3": (4, 8, 16, 32),
}
SIZES = ((97, 131), (33, 64), (1, 1))


@pytest.fixture(scope="module", params=NETS)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(f"timm:{request.param}")


def noise(*size: int) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(3)) * 255


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_layers_have_the_announced_shapes_at_any_size(backbone: Backbone, size: tuple[int, int]) -> None:
    maps = backbone(noise(1, 3, *size))
    assert len(maps) == len(backbone.layers)
    for feature, layer in zip(maps, backbone.layers, strict=True):
        grid = tuple(math.ceil(side / layer.stride) for side in size)
        assert feature.shape == (1, layer.channels, *grid)
        assert feature.isfinite().all()


def test_layers_come_finest_first_at_all_four_strides(backbone: Backbone) -> None:
    assert tuple(layer.stride for layer in backbone.layers) == NETS[backbone.name.removeprefix("timm:")]


@torch.no_grad()
def test_frozen_and_images_of_a_batch_do_not_touch_each_other(backbone: Backbone) -> None:
    """In training mode, batch normalisation and dropped paths would make these differ."""
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    images = noise(2, 3, 64, 96)
    both = backbone(images)
    assert all(not torch.allclose(one[0], one[1], rtol=1e-3, atol=0) for one in both)
    for alone, single in ((backbone(images[:1]), slice(0, 1)), (backbone(images[1:]), slice(1, 2))):
        for together, apart in zip(both, alone, strict=True):
            torch.testing.assert_close(together[single], apart, rtol=1e-3, atol=1e-4 * float(apart.abs().max()))


# What the maps are: those of timm itself, from pixels normalised by hand


def timm_model(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return import_timm().create_model(name, pretrained=False, num_classes=0, **options).eval()


def same_weights(name: str, net: torch.nn.Module) -> Backbone:
    backbone = build_backbone(f"timm:{name}")
    wanted = backbone.net.state_dict()
    backbone.net.load_state_dict({key: tensor for key, tensor in net.state_dict().items() if key in wanted})
    return backbone


def assert_same_map(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    largest = float(theirs.abs().max())
    assert float(theirs.std()) > 1e-3 * largest > 0  # a map of zeros would prove nothing
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * largest)


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "statistics"),
    [
        ("resnet18", IMAGENET),
        ("convnext_tiny.dinov3_lvd1689m", IMAGENET),
        ("mobilenetv3_large_100.miil_in21k_ft_in1k", ((0, 0, 0), (1, 1, 1))),
        ("tf_efficientnet_b0.ap_in1k", HALF),
        ("swin_tiny_patch4_window7_224", IMAGENET),
    ],
)
@torch.no_grad()
def test_stages_are_timms_own_from_rightly_normalised_pixels(name: str, statistics: tuple) -> None:
    net = timm_model(name, **({"strict_img_size": False} if name.startswith("swin") else {}))
    images = noise(1, 3, 64, 96)
    mean, std = (torch.tensor(value)[:, None, None] for value in statistics)
    normalised = (images / 255 - mean) / std
    wanted = net.forward_intermediates(normalised, output_fmt="NCHW", intermediates_only=True)[-4:]
    found = same_weights(name, net)(images)
    for ours, theirs in zip(found, wanted, strict=True):
        assert_same_map(ours, theirs)


@torch.no_grad()
def test_tokens_are_resampled_to_the_strides_without_a_parameter() -> None:
    """vit_tiny_patch16_224 was trained with mean and deviation 0.5; its grid at 64 x 96 is 4 x 6."""
    net = timm_model("vit_tiny_patch16_224", dynamic_img_size=True)
    images = noise(1, 3, 64, 96)
    layers = net.forward_intermediates(
        (images / 255 - 0.5) / 0.5, indices=[2, 5, 8, 11], norm=True, output_fmt="NCHW", intermediates_only=True
    )
    backbone = same_weights("vit_tiny_patch16_224", net)
    found = backbone(images)
    wanted = [
        F.interpolate(layers[0], (16, 24), mode="bilinear"),
        F.interpolate(layers[1], (8, 12), mode="bilinear"),
        layers[2],
        F.avg_pool2d(layers[3], 2),
    ]
    for ours, theirs in zip(found, wanted, strict=True):
        assert_same_map(ours, theirs)
    assert [layer.name for layer in backbone.layers] == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]
    assert backbone.normalisation == "(x / 255 - (0.5, 0.5, 0.5)) / (0.5, 0.5, 0.5)"


@torch.no_grad()
def test_tokens_of_fourteen_pixels_lie_on_the_stride_16_grid() -> None:
    """64 x 96 pixels become 56 x 84, which is 4 x 6 tokens of 14: the grid of stride 16."""
    net = timm_model("vit_small_patch14_reg4_dinov2", dynamic_img_size=True)
    images = noise(1, 3, 64, 96)
    mean, std = (torch.tensor(value)[:, None, None] for value in IMAGENET)
    small = F.interpolate((images / 255 - mean) / std, (56, 84), mode="bilinear", antialias=True)
    tokens = net.forward_features(small)[:, 5:]  # one class token, four registers; this applies the final norm
    found = same_weights("vit_small_patch14_reg4_dinov2", net)(images)
    theirs = F.avg_pool2d(tokens.unflatten(1, (4, 6)).permute(0, 3, 1, 2), 2)
    assert_same_map(found[3], theirs)
    assert found[2].shape == (1, 384, 4, 6)


@torch.no_grad()
def test_by_block_every_output_of_a_residual_block_is_there() -> None:
    net = timm_model("resnet18")
    images = noise(1, 3, 64, 96)
    mean, std = (torch.tensor(value)[:, None, None] for value in IMAGENET)
    x = net.maxpool(net.act1(net.bn1(net.conv1((images / 255 - mean) / std))))
    wanted = [x := net.layer1(x)]
    for stage in (net.layer2, net.layer3, net.layer4):
        wanted += [x := block(x).clone() for block in stage]
    backbone = same_weights(f"resnet18{BLOCKS}", net)
    for ours, theirs in zip(backbone(images), wanted, strict=True):
        assert_same_map(ours, theirs)
    assert [layer.name for layer in backbone.layers][:3] == ["layer1", "layer2.0", "layer2.1"]


@torch.no_grad()
def test_what_is_outside_the_image_repeats_its_edge() -> None:
    backbone = build_backbone("timm:mobilenetv3_small_050")
    image = noise(1, 3, 90, 64)
    by_hand = F.pad(image, (0, 0, 0, 6), mode="replicate")
    for ours, whole in zip(backbone(image), backbone(by_hand), strict=True):
        torch.testing.assert_close(ours, whole[:, :, : ours.shape[2]], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_strides_a_net_lacks_come_from_the_nearest_it_has() -> None:
    """shvit_s1 has strides 16, 32 and 64."""
    backbone = build_backbone("timm:shvit_s1")
    maps = backbone(noise(1, 3, 64, 96))
    assert torch.equal(maps[0], F.interpolate(maps[2], (16, 24), mode="bilinear"))
    assert torch.equal(maps[1], F.interpolate(maps[2], (8, 12), mode="bilinear"))
    assert [layer.name for layer in backbone.layers] == ["stages.0", "stages.0", "stages.0", "stages.1"]


def test_building_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    build_backbone("timm:test_vit")
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet5o", r"timm \S+ has no model 'resnet5o'\. Similar: resnet50"),
        ("timm:qqqqqqqqqqqqqqqqqqq", r"has no model 'q+'\. timm\.list_models\(\)"),
        ("timm:resnet50.a1_in2k", r"has no model 'resnet50\.a1_in2k'\. Similar: .*resnet50\.a1_in1k"),
        (
            "timm:resnet18@layers",
            r"unknown ending '@layers' of 'timm:resnet18@layers'\. Leave it out, or write @blocks",
        ),
        ("timm:test_vit@blocks", r"timm:test_vit@blocks: its blocks give no maps at stride 16\. Leave out @blocks"),
        ("timm:pvt_v2_b0@blocks", r"its blocks give no maps at stride 8, 16, 32\. Leave out @blocks"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_backbone(name)
