"""Weights of timm's models: a file of the user's, or one from the Hugging Face hub, kept in the hub's own cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from distillfss.backbones.torchvision_bridge import import_timm
from distillfss.checkpoints.reading import read_tensors
from distillfss.errors import ModelFileError

Convert = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]
"""timm's translation of a model's published checkpoints to its own names and shapes."""

HUB = "https://huggingface.co/"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_SECONDS = 10.0
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "module")
"""What a state dict may lie in: the key of a checkpoint, or the prefix that parallel training leaves."""
GIVE_FILE = "give it with --backbone-weights FILE"


def hub_file(model: str) -> Path:
    """The pretrained weights of a timm model: from the hub's cache or, the first time, from the hub.

    Raises
    ------
    ModelFileError
        If there are none, or the hub cannot be reached. It says where the file is and what to do with it.
    """
    config = import_timm().models.get_pretrained_cfg(model)
    if not config.hf_hub_id:
        where = f"Fetch {config.url}" if config.url else "Train it elsewhere"
        raise ModelFileError(f"the hub has no weights of timm:{model}", cure=f"{where} and {GIVE_FILE}")
    repository, _, revision = config.hf_hub_id.partition("@")
    names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
    try:
        found = _download(repository, names, revision or None)
        reason = f"no {' or '.join(names)} in it"
    except Exception as error:  # which errors the hub's client and its HTTP library raise depends on their versions
        found, reason = None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    if found is None:
        raise ModelFileError(
            f"the weights of timm:{model} are in the hub's repository {repository}, "
            f"and could not be fetched from there ({reason})",
            cure=f"Download {names[0]} from {HUB}{repository} where there is a connection, and {GIVE_FILE}",
        )
    return found


def _download(repository: str, names: Collection[str], revision: str | None) -> Path | None:
    import huggingface_hub as hub
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        cached = hub.try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    for name in names:
        try:
            # without a connection this fails at once; the download itself would try again for half a minute
            hub.get_hf_file_metadata(hub.hf_hub_url(repository, name, revision=revision), timeout=HUB_SECONDS)
        except EntryNotFoundError:
            continue
        return Path(hub.hf_hub_download(repository, name, revision=revision))
    return None


def read_weights(path: Path, net: nn.Module, convert: Convert | None, model: str) -> dict[str, Tensor]:
    """All tensors of a file, under the names they have in ``net``.

    Parameters
    ----------
    path
        ``.safetensors``, ``.pth``, ``.pt`` or ``.bin``; its state dict may lie under a key or have a prefix.
    net
        The whole model, which is not changed.
    convert
        timm's translation, if the model has one.
    model
        What errors call it.

    Raises
    ------
    ModelFileError
        If the file cannot be read or translated.
    """
    tensors = unwrapped(read_tensors(path), {name.partition(".")[0] for name in net.state_dict()})
    if convert is None:
        return tensors
    try:
        return convert(tensors, net)
    except Exception as error:  # the translations index freely into what they are given
        raise _foreign(path, model, f"{type(error).__name__}: {error}") from error


def unwrapped(tensors: dict[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Without the wrappers around the names, unless the model itself (parts ``own``) has a part of that name."""
    for wrapper in WRAPPERS:
        inner = {name.removeprefix(f"{wrapper}."): t for name, t in tensors.items() if name.startswith(f"{wrapper}.")}
        if inner and wrapper not in own:
            return unwrapped(inner, own)
    return tensors


def needed_tensors(
    given: Mapping[str, Tensor], net: nn.Module, whole: Collection[str], heads: Collection[str], path: Path, model: str
) -> dict[str, Tensor]:
    """Those that ``net`` needs, checked: nothing missing, nothing foreign, every shape right.

    Parameters
    ----------
    given
        Tensors of a file under the net's names.
    net
        The model without the parts a pyramid does not need.
    whole
        Names in the model with them; these may be there or not.
    heads
        First parts of the classifiers' names; what they hold does not matter.
    path, model
        For errors.

    Raises
    ------
    ModelFileError
        Naming what is missing, unexpected or of the wrong shape.
    """
    wanted = net.state_dict()
    # files of old PyTorch lack the counters, which nothing reads in evaluation
    missing = [name for name in wanted if name not in given and not name.endswith(".num_batches_tracked")]
    known = {*wanted, *whole}
    foreign = [name for name in given if name not in known and name.partition(".")[0] not in heads]
    misshapen = [
        f"{name} {tuple(given[name].shape)} in place of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    for what, names in (("missing", missing), ("of the wrong shape", misshapen), ("unexpected", foreign)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise _foreign(path, model, f"{what}: {', '.join(names[:3])}{more}")
    return {name: given.get(name, tensor) for name, tensor in wanted.items()}


def _foreign(path: Path, model: str, reason: str) -> ModelFileError:
    cure = "Give a checkpoint of exactly this model, its tensors named as timm or the model's authors name them"
    return ModelFileError(f"these are not the weights of timm:{model} ({reason})", path=path, cure=cure)


def classifier_parts(net: Any) -> set[str]:
    """First parts of the names of a timm model's classifiers: ``head`` for ``head.fc``."""
    names = net.pretrained_cfg.get("classifier") or ()
    return {name.partition(".")[0] for name in ((names,) if isinstance(names, str) else names)}
