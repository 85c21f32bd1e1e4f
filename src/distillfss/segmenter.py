"""The fitted model as its users see it: image in, mask out, one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import ModelFileError, OutputError, UsageError
from distillfss.io.decode import read_image, to_rgb8
from distillfss.io.special import bands_and_range
from distillfss.model_info import ModelInfo
from distillfss.quality.judging import Answer, Judged

# PyTorch is imported where it is used: an ONNX file is served without it.
if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

    from distillfss.backbones import Backbone
    from distillfss.config import FitConfig
    from distillfss.fit_preparation import Progress
    from distillfss.models.standardize import Standardize
    from distillfss.support import SupportSet

    Picture = str | Path | Image.Image | NDArray[Any]

ONNX_SUFFIX = ".onnx"

PREPROCESSING = {
    "colour": "RGB, 0 to 255",
    "resize": "about size * size pixels, own aspect ratio, sides multiples of 32, antialiased bilinear",
    "normalise": "(x - 127) / 128",
    "uint16": "each image stretched from its 0.1 to its 99.9 percentile",
}


MAX_UNUSED_SHARE, MAX_UNUSED = 16, 64_000_000
"""A network with more parameters than this times those in the file, and this many more, is not built."""


def refuse_onnx_name(path: Path) -> None:
    """Raise the ``OutputError`` of a model that is written as safetensors under the name of an ONNX file."""
    if path.suffix.lower() == ONNX_SUFFIX:
        name = path.with_suffix(".safetensors").name
        cure = f"Name it {name}; 'distillfss export {name}' then makes the ONNX file"
        raise OutputError("a model is not written as ONNX", cure=cure, path=path)


class Segmenter:
    """A support-free segmentation model: backbone, standardisation and student, nothing of the support.

    Made by ``fit`` or ``Segmenter.load``; call it with an image to get a mask.

    Attributes
    ----------
    class_names
        Foreground classes; mask value i + 1 is ``class_names[i]``, 0 is background.
    size
        Working resolution.
    summary
        How it was fitted.
    """

    def __init__(
        self,
        backbone: Backbone,
        standardize: Standardize,
        student: nn.Module,
        info: ModelInfo,
        device: torch.device,
    ) -> None:
        self._describe(info)
        self.device: torch.device | str = device
        self._backbone = backbone.to(device)
        self._standardize = standardize.to(device).requires_grad_(False)
        self._student = student.to(device).eval().requires_grad_(False)

    def _describe(self, info: ModelInfo) -> None:
        self.info = info
        self.class_names = info.class_names
        self.size = info.size
        self.summary = info.summary

    @overload
    def __call__(self, image: Picture, probabilities: Literal[False] = False) -> NDArray[np.uint8]: ...

    @overload
    def __call__(
        self, image: Picture, probabilities: Literal[True]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]: ...

    def __call__(
        self, image: Picture, probabilities: bool = False
    ) -> NDArray[np.uint8] | tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Segment one image.

        Parameters
        ----------
        image
            A path, a PIL image, or an array (H, W), (H, W, 3) or, with alpha, (H, W, 4), uint8 or uint16. GeoTIFF and
            DICOM files are read with the bands and the range of values that the model was fitted with. A GeoTIFF is
            read whole and shrunk to the working size as any picture is: without tiles, and pixels without data get
            some class, too. ``formats.raster.predict_raster`` and ``distillfss predict`` do it by tiles, with no data.
        probabilities
            Whether to return class probabilities as well.

        Returns
        -------
        mask
            (H, W) uint8 at the image's own size: 0 background, i + 1 for ``class_names[i]``.
        probabilities
            (H, W, n + 1) float32, background first, each pixel sums to 1. Only on request.

        Raises
        ------
        DataError
            If the image cannot be read or is no image.
        """
        if isinstance(image, str | Path):
            pixels = read_image(image, *bands_and_range(self.summary.get("reading"))).pixels
        else:
            pixels = to_rgb8(image)
        return self._mask_and_probabilities(pixels) if probabilities else self._mask(pixels)

    def _mask(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self.predict(pixels, [(pixels.shape[0], pixels.shape[1])])[0]

    def _mask_and_probabilities(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        from distillfss.models.mixer import resize

        logits = resize(self.logits(pixels), pixels.shape[:2])[0]
        return class_indices(logits), logits.softmax(0).permute(1, 2, 0).contiguous().cpu().numpy()

    def answer(self, pixels: NDArray[np.uint8], probabilities: bool = False) -> Answer:
        """A mask, and what the model says of it: how sure it is, and whether it has learnt from anything like this.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB.
        probabilities
            Whether to return class probabilities as well.
        """
        import torch

        from distillfss.models.classes import merge_classes
        from distillfss.models.mixer import resize

        with torch.inference_mode():
            raw, features = self._seen(pixels)
            merged = merge_classes(raw, self.never)
            at_own_size = resize(merged, pixels.shape[:2])[0]
            likely = at_own_size.softmax(0).permute(1, 2, 0).contiguous().cpu().numpy() if probabilities else None
            return Answer(class_indices(at_own_size), likely, self._judged(merged, features))

    @property
    def never(self) -> tuple[int, ...]:
        """Classes of which the support had no example: a few pixels would look like them by chance."""
        shots, extended = self.summary.get("shots"), self.summary.get("extended")
        if not isinstance(shots, Mapping):
            return ()
        # a class may have been taken away and come back with images of its own; and a model file may say anything
        later = [each.get("classes") for each in extended or () if isinstance(each, Mapping)] if extended else []
        learnt = {str(name) for names in later if isinstance(names, list) for name in names}
        found = tuple(i for i, name in enumerate(self.class_names) if shots.get(name) == 0 and name not in learnt)
        return found if len(found) < len(self.class_names) else ()

    @property
    def strangeness_limit(self) -> float | None:
        """How far an image may be from the support before it counts as unlike it; None where the model does not say."""
        limit = self.summary.get("strangeness_limit")
        # a model file may say anything
        return limit if isinstance(limit, int | float) and 0 < limit < float("inf") else None

    @property
    def strangeness_middle(self) -> list[Tensor] | None:
        """What strangeness is measured from; None where that is 0, or the model says nonsense."""
        import torch

        from distillfss.quality.strangeness import judged_layers

        layers = self._backbone.layers
        found, wanted = self.summary.get("strangeness_middle"), [layers[i].channels for i in judged_layers(layers)]
        try:
            around = [torch.tensor(each, dtype=torch.float32) for each in found or ()]
        except (TypeError, ValueError, RuntimeError, OverflowError):
            return None
        sound = [tuple(each.shape) for each in around] == [(channels,) for channels in wanted]
        return around if sound and all(bool(each.isfinite().all()) for each in around) else None

    def _judged(self, merged: Tensor, features: Sequence[Tensor]) -> Judged:
        from distillfss.quality.judging import confidence
        from distillfss.quality.strangeness import strangeness

        sure, limit = confidence(merged[0]), self.strangeness_limit
        if limit is None:
            return Judged(sure, None)
        return Judged(sure, strangeness(features, self._backbone.layers, self.strangeness_middle) / limit)

    def predict(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        """Masks of one image at several sizes, from one forward pass.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB.
        sizes
            (height, width) of every mask wanted.
        """
        from distillfss.models.mixer import resize

        logits = self.logits(pixels)
        return [class_indices(resize(logits, size)[0]) for size in sizes]

    def logits(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Merged class logits (1, n + 1, h / 4, w / 4) of one image, (h, w) being its working size.

        Those of a model that draws details are (1, n + 1, h / 2, w / 2).
        """
        import torch

        from distillfss.models.classes import merge_classes

        with torch.inference_mode():
            return merge_classes(self._seen(pixels)[0], self.never)

    def _seen(self, pixels: NDArray[np.uint8]) -> tuple[Tensor, list[Tensor]]:
        """Logits of every class against its background, and standardised features, of one image at its working size."""
        from distillfss.models.composite import draws_details
        from distillfss.preprocess import at_working_size

        image = at_working_size(pixels, self.size).to(self.device)[None]
        if draws_details(self._student):
            fine = self._backbone.fine(image)
            features = self._standardize(self._backbone.from_fine(fine))
            return self._student(features, fine=fine)[0], features
        features = self._standardize(self._backbone(image))
        return self._student(features)[0], features

    @property
    def parts(self) -> tuple[Backbone, Standardize, nn.Module]:
        """Backbone, standardisation and student; what ``logits`` passes an image through, one after the other."""
        return self._backbone, self._standardize, self._student

    def extend(
        self,
        support: SupportSet | str | Path,
        config: FitConfig | None = None,
        *,
        known: SupportSet | str | Path | Sequence[SupportSet | str | Path] = (),
        state: str | Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Segmenter:
        """A model that also knows the new classes of a support set; see ``distillfss.extend``."""
        from distillfss.extending import extend

        return extend(self, support, config, known=known, state=state, progress=progress)

    def without(self, *names: str) -> Segmenter:
        """A model that lacks some classes; the logits of the others stay the same to the last bit.

        Raises
        ------
        UsageError
            If a name is none of the model's, none would be left, or it is an ONNX model.
        """
        from distillfss.extending import without

        return without(self, names)

    @property
    def fingerprint(self) -> str:
        """What tells models with other masks apart: with the backbone in the file or without, it is the same."""
        import hashlib
        import json

        from distillfss.artifact import tensors_sha256

        parts = {"backbone.": self._backbone, "standardize.": self._standardize, "student.": self._student}
        tensors = {prefix + name: t for prefix, part in parts.items() for name, t in part.state_dict().items()}
        weights = tensors_sha256({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        info = self.info
        described = json.dumps([list(info.class_names), info.size, info.backbone, info.parts, weights])
        return hashlib.sha256(described.encode()).hexdigest()

    @property
    def embeds_backbone(self) -> bool:
        """Whether the backbone goes into the model file unasked: no package here has these weights."""
        from distillfss.backbones import BACKBONES, weights_sha256

        if self.info.backbone not in BACKBONES:
            return True
        try:
            return weights_sha256(self.info.backbone) != self.info.backbone_sha256
        except ModelFileError:
            return True

    def save(self, path: str | Path, embed_backbone: bool = False) -> None:
        """Write the model to one safetensors file, whole or not at all.

        Parameters
        ----------
        path
            Where to. Replaced if it exists.
        embed_backbone
            Put the frozen backbone into the file as well (about 12 MB for Lite0), so that whoever loads it does not
            need the package with the backbone's weights. Done anyway if no package has them: see
            ``embeds_backbone``.

        Raises
        ------
        OutputError
            If it cannot be written; an existing file stays as it was. If it is named like an ONNX file, as which it
            could not be loaded.
        """
        from distillfss.artifact import write_model

        refuse_onnx_name(Path(path))
        embed_backbone = embed_backbone or self.embeds_backbone
        parts: dict[str, nn.Module] = {"student.": self._student, "standardize.": self._standardize}
        if embed_backbone:
            parts["backbone."] = self._backbone
        tensors = {prefix + name: t for prefix, part in parts.items() for name, t in part.state_dict().items()}
        fields = {**vars(self.info), "backbone_embedded": embed_backbone}
        write_model(Path(path), ModelInfo(**fields), tensors)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Segmenter:
        """Read a model that ``save``, ``distillfss fit`` or ``distillfss export`` wrote.

        A file ``*.onnx`` is run by ONNX Runtime, without PyTorch.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged, foreign or too new, or the backbone's weights here are other ones.
        UsageError
            If there is no such device here.
        """
        path = Path(path)
        if path.suffix.lower() == ONNX_SUFFIX:
            from distillfss.export.served import OnnxSegmenter

            return OnnxSegmenter(path, device)
        return cls._load_safetensors(path, device)

    @classmethod
    def _load_safetensors(cls, path: Path, device: str) -> Segmenter:
        from distillfss.artifact import load_strictly, load_student, read_model
        from distillfss.backbones import TIMM, build_backbone, load_backbone, weights_sha256
        from distillfss.models.standardize import Standardize
        from distillfss.runtime import resolve_device

        info, tensors = read_model(path)
        _check_backbone(info, tensors, path)
        try:
            backbone = build_backbone(info.backbone) if info.backbone_embedded else load_backbone(info.backbone)
        except UsageError as error:
            cure = error.cure if info.backbone.startswith(TIMM) else "Update distillfss"
            raise ModelFileError(error.problem, path=path, cure=cure) from error
        if info.backbone_embedded:
            load_strictly(backbone, tensors, "backbone.", path)
        elif weights_sha256(info.backbone) != info.backbone_sha256:
            raise ModelFileError(
                f"it was fitted on other weights of {info.backbone} than those installed here",
                path=path,
                cure="Install the package version it was fitted with, or save it with the backbone embedded",
            )
        standardize = Standardize(backbone.layers)
        load_strictly(standardize, tensors, "standardize.", path)
        student = load_student(info, backbone, tensors, path)
        return cls(backbone, standardize, student, info, resolve_device(device))

    def __repr__(self) -> str:
        return f"Segmenter({', '.join(self.class_names)}; {self.info.backbone}, {self.size} px)"


def _check_backbone(info: ModelInfo, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a file that would have weights fetched, or a network built that is out of proportion to what it holds."""
    from distillfss.backbones import TIMM
    from distillfss.backbones.timm_backbone import parameter_count

    if not info.backbone.startswith(TIMM):
        return
    again = "Copy the file again from where it was made"
    if not info.backbone_embedded:
        raise ModelFileError(f"it does not hold the weights of {info.backbone}", path=path, cure=again)
    held = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("backbone."))
    try:
        needed = parameter_count(info.backbone)
    except UsageError as error:
        raise ModelFileError(error.problem, path=path, cure=error.cure) from error
    # a pyramid leaves out the classifier and perhaps the last blocks, which can be nine tenths (VGG)
    if needed > MAX_UNUSED_SHARE * held + MAX_UNUSED:
        raise ModelFileError(f"it holds {held:,} of the {needed:,} numbers of {info.backbone}", path=path, cure=again)


def class_indices(logits: Tensor) -> NDArray[np.uint8]:
    """(n + 1, H, W) logits to the index of the highest, (H, W) uint8."""
    return logits.argmax(0).byte().cpu().numpy()
