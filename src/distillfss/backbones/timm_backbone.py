"""Any network of timm as a frozen feature pyramid: ``timm:NAME``, by stage or (``timm:NAME@blocks``) by block.

Nets whose maps shrink from stage to stage give the maps of their stages as they are; by block, those at strides 8, 16
and 32 come from every block. Plain vision transformers have one grid throughout: four of their layers, evenly spaced
over the depth, are resampled to the strides, the earliest to the finest, after the net's final norm (as DINOv2 and
DINOv3 take intermediate layers) and without class and register tokens.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.backbones.base import Backbone
from distillfss.backbones.pyramids import (
    STRIDES,
    evenly_spaced,
    nearest_stride,
    plain_pyramid,
    stage_pyramid,
    to_grid,
)
from distillfss.backbones.timm_blocks import channels_come_last, outputs_of, stages_of_blocks, work_on_copies
from distillfss.backbones.timm_weights import Convert, classifier_parts, needed_tensors, read_weights
from distillfss.backbones.torchvision_bridge import import_timm
from distillfss.errors import UsageError

PREFIX = "timm:"
BLOCKS = "@blocks"
TRIAL_SIDES = (64, 128, 256)
ANOTHER = "Choose another model"


def model_name(name: str) -> str:
    """``resnet50.a1_in1k`` of ``timm:resnet50.a1_in1k@blocks``, checked.

    Raises
    ------
    UsageError
        If timm has no such model, naming similar ones.
    ModelFileError
        If timm is not installed.
    """
    timm = import_timm()
    model, at, ending = name.removeprefix(PREFIX).partition("@")
    if at + ending not in ("", BLOCKS):
        raise UsageError(f"unknown ending {at + ending!r} of {name!r}", cure=f"Leave it out, or write {BLOCKS}")
    known = {*timm.list_models(), *timm.list_pretrained()}
    if model not in known:
        similar = difflib.get_close_matches(model, sorted(known), n=4)
        cure = f"Similar: {', '.join(similar)}" if similar else "timm.list_models() lists all there are"
        raise UsageError(f"timm {timm.__version__} has no model {model!r}", cure=cure)
    return model


class TimmBackbone(Backbone):
    """Feature pyramid of a timm model.

    Images are padded at the bottom and right to multiples of 32 by repeating their edge: unlike zeros, that draws no
    line that is not in the image, and unlike reflection it works for a single pixel. Where tokens are not 4, 8, 16 or
    32 pixels wide (14 in DINOv2) the image is resized so that their grid is that of the nearest stride. Nets that take
    one size only see the image resized to it.

    Parameters
    ----------
    name
        ``timm:NAME`` or ``timm:NAME@blocks``.
    weights
        File of its weights; random ones if None.

    Raises
    ------
    UsageError
        If timm has no such model, or the model no maps to build a pyramid from.
    ModelFileError
        If timm is missing, or the file is not of this model.
    """

    def __init__(self, name: str, weights: Path | None = None) -> None:
        super().__init__()
        self.name = name
        model = model_name(name)
        net, convert, self._fixed_size = create(model, for_loading=weights is not None)
        reductions = [info["reduction"] for info in net.feature_info]
        strides = [nearest_stride(reduction) for reduction in reductions]
        if not any(strides):
            raise UsageError(f"{name} has maps at strides {reductions} only, too far from {STRIDES}", cure=ANOTHER)
        self._plain = len(set(strides)) == 1
        indices = evenly_spaced(len(strides)) if self._plain else [i for i, stride in enumerate(strides) if stride]
        self._indices, self._strides = indices, [stride for i in indices if (stride := strides[i])]
        self._scale = reductions[0] / self._strides[0] if self._plain else 1.0
        names = [net.feature_info[i]["module"] for i in indices]
        whole, heads = net.state_dict().keys(), classifier_parts(net)
        given = {} if weights is None else read_weights(weights, net, convert, model)
        net.prune_intermediate_layers(indices, prune_norm=not self._plain, prune_head=True)
        if weights is not None:
            net.load_state_dict(needed_tensors(given, net, whole, heads, weights, model))
        self.net = net
        for key in ("mean", "std"):
            self.register_buffer(key, 255 * torch.tensor(net.pretrained_cfg[key])[:, None, None])
        self.normalisation = f"(x / 255 - {tuple(net.pretrained_cfg['mean'])}) / {tuple(net.pretrained_cfg['std'])}"
        self._blocks: dict[str, bool] = {}  # name -> whether its channels come last
        self.freeze()
        self._smallest, maps = self._try_out()
        # a net that fails on a small image may need whole windows of that size
        self._multiple = self._smallest if self._smallest > TRIAL_SIDES[0] else STRIDES[-1]
        if name.endswith(BLOCKS):
            names, self._strides = self._take_blocks(names)
            maps = self._maps(self._trial_image(self._smallest))
        channels = [m.shape[1] for m in maps]
        self._sources, self.layers = (
            plain_pyramid(names, channels) if self._plain else stage_pyramid(names, self._strides, channels)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        padded = [max(self._smallest, -(-side // self._multiple) * self._multiple) for side in (height, width)]
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        x = F.pad(x, (0, padded[1] - width, 0, padded[0] - height), mode="replicate")
        size = self._size_inside(padded)
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        maps = self._maps(x)
        return [
            to_grid(maps[source], [side // layer.stride for side in padded])[
                ..., : -(-height // layer.stride), : -(-width // layer.stride)
            ]
            for source, layer in zip(self._sources, self.layers, strict=True)
        ]

    def _size_inside(self, size: Sequence[int]) -> tuple[int, ...]:
        """Height and width the net sees of an image of this size."""
        return self._fixed_size or tuple(round(side * self._scale) for side in size)

    def _maps(self, x: Tensor) -> list[Tensor]:
        """The net's maps (B, C, h, w), at the grids it has them, from normalised images of a size it takes."""
        with outputs_of(self.net, list(self._blocks)) as outputs:
            stages: list[Tensor] = self.net.forward_intermediates(
                x, indices=self._indices, norm=self._plain, output_fmt="NCHW", intermediates_only=True
            )
        if not self._blocks:
            return stages
        return stages[: len(self._strides) - len(self._blocks)] + [
            outputs[name].permute(0, 3, 1, 2) if last else outputs[name] for name, last in self._blocks.items()
        ]

    def _trial_image(self, side: int) -> Tensor:
        return self.get_buffer("mean").new_zeros(1, 3, *self._size_inside((side, side)))

    @torch.no_grad()
    def _try_out(self) -> tuple[int, list[Tensor]]:
        """The smallest side the net works with, and its maps there."""
        reason = ""
        for side in TRIAL_SIDES:
            try:
                return side, self._maps(self._trial_image(side))
            except Exception as error:  # why a net refuses a size has no end
                reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{self.name} fails on an image of {side} x {side} pixels ({reason})", cure=ANOTHER)

    @torch.no_grad()
    def _take_blocks(self, names: list[str]) -> tuple[list[str], list[int]]:
        """Take the maps at strides 8, 16 and 32 from blocks from now on; names and strides of all maps then."""
        fine = [(name, stride) for name, stride in zip(names, self._strides, strict=True) if stride == STRIDES[0]]
        work_on_copies(self.net)
        image = self._trial_image(self._smallest)
        found: list[tuple[str, int]] = []
        stages = [] if self._plain else stages_of_blocks(self.net)
        with outputs_of(self.net, [name for stage in stages for name in stage]) as outputs:
            self.net.forward_intermediates(image, indices=self._indices, intermediates_only=True)
        for stage in stages:
            maps = {name: outputs[name] for name in stage if name in outputs and outputs[name].ndim == 4}
            order = {name: channels_come_last(self.net, output) for name, output in maps.items()}
            heights = {name: output.shape[1 if order[name] else 2] for name, output in maps.items()}
            final = next(reversed(heights.values()), 1)
            stride = nearest_stride(image.shape[-2] / final)
            if stride is not None and stride > STRIDES[0]:
                # what has another grid than the stage's last block prepares the stage
                found += [(name, stride) for name, height in heights.items() if height == final]
                self._blocks |= {name: order[name] for name, height in heights.items() if height == final}
        missing = sorted(set(self._strides) - {STRIDES[0]} - {stride for _, stride in found})
        if missing or not found:
            where = f" at stride {', '.join(map(str, missing))}" if missing else ""
            raise UsageError(f"{self.name}: its blocks give no maps{where}", cure=f"Leave out {BLOCKS}")
        return [name for name, _ in fine + found], [stride for _, stride in fine + found]


def create(model: str, for_loading: bool) -> tuple[Any, Convert | None, tuple[int, ...] | None]:
    """A timm model with random weights that takes images of any size if it can.

    Parameters
    ----------
    model
        A name timm knows.
    for_loading
        Whether the second result is wanted.

    Returns
    -------
    net
        The model without classifier.
    convert
        timm's translation of the model's checkpoints, if it has one.
    size
        Height and width of the only images it takes, None if any will do.

    Raises
    ------
    UsageError
        If the model gives no feature maps.
    """
    timm = import_timm()
    found: list[Convert | None] = [None]
    config = timm.models.get_pretrained_cfg(model)
    # in this order: Swin overlooks the second where timm is older than 1.0.31
    flexible: tuple[dict[str, bool], ...] = ({"strict_img_size": False}, {"dynamic_img_size": True})
    with _not_loading(timm, found) if for_loading else nullcontext():
        for options in (*(flexible if config.fixed_input_size else ()), {}):
            try:
                net = timm.create_model(model, pretrained=for_loading, num_classes=0, **options)
                break
            except TypeError:  # an architecture without such an option
                if not options:
                    raise
    if not hasattr(net, "forward_intermediates") or not getattr(net, "feature_info", None):
        raise UsageError(f"{PREFIX}{model} gives no feature maps to build a pyramid from", cure=ANOTHER)
    only_size = config.fixed_input_size and not options
    return net, found[0], tuple(config.input_size[-2:]) if only_size else None


@contextmanager
def _not_loading(timm: Any, found: list[Convert | None]) -> Iterator[None]:
    """Have timm hand us its translation of a checkpoint, which it tells but its own loader, in place of loading."""
    builder = timm.models._builder
    loader = builder.load_pretrained

    def keep(net: nn.Module, *, filter_fn: Convert | None = None, **_: Any) -> None:
        found[0] = filter_fn

    builder.load_pretrained = keep
    try:
        yield
    finally:
        builder.load_pretrained = loader


def parameter_count(name: str) -> int:
    """How many numbers ``TimmBackbone(name)`` would be built with, found out without allocating them.

    0 where timm cannot build the model without memory. Raises ``UsageError`` if timm has no such model.
    """
    model = model_name(name)
    try:
        with torch.device("meta"):
            net = create(model, for_loading=False)[0]
    except (UsageError, RuntimeError, NotImplementedError):  # some compute with what they have just allocated
        return 0
    return sum(parameter.numel() for parameter in net.parameters())
