"""The blocks of a timm model's stages, and their outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn


def stages_of_blocks(net: Any) -> list[list[str]]:
    """Names of the blocks of every stage, in the order of the net.

    Stages are the modules timm takes feature maps from and their siblings of the same kind (where two stages share a
    stride, timm takes but one); their blocks are what they hold under ``blocks``, or else their children.
    """
    modules = dict(net.named_modules())
    taps = [info["module"] for info in net.feature_info if info["module"] in modules]
    kinds = {type(modules[tap]) for tap in taps}
    stages: list[list[str]] = []
    for parent in dict.fromkeys(tap.rpartition(".")[0] for tap in taps):
        for child, stage in modules[parent].named_children():
            if type(stage) in kinds:
                path = ".".join(part for part in (parent, child) if part)
                inside = getattr(stage, "blocks", None)
                prefix, holder = (f"{path}.blocks", inside) if isinstance(inside, nn.Module) else (path, stage)
                stages.append([f"{prefix}.{name}" for name, _ in holder.named_children()])
    return [names for names in stages if names]


@contextmanager
def outputs_of(net: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what modules return while the context lasts: name -> output, if that is a tensor."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs[name] = output

    hooks = [net.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def channels_come_last(net: Any, output: Tensor) -> bool:
    """Whether what a block of ``net`` returned for a square image is (B, h, w, C), not (B, C, h, w)."""
    if output.shape[1] == output.shape[2] == output.shape[3]:
        return str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")
    return output.shape[1] == output.shape[2]


def work_on_copies(net: nn.Module) -> None:
    """No module may write into what another one returned: it may be a map of the pyramid."""
    for module in net.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
