"""The file does what the model does, says so in its metadata, and is not written otherwise."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export_helpers import SmallBackbone, picture
from helpers import REPOSITORY
from onnx import helper, numpy_helper
from pictures import make_folder, random_rgb, two_classes
from PIL import Image
from torch.nn import functional as F

from distillfss import Segmenter, __version__
from distillfss.backbones import Backbone, Layer
from distillfss.cli.export import _print
from distillfss.errors import DataError, ExportError, UsageError
from distillfss.export import checking, exporting
from distillfss.export.exporting import ExportReport, export_onnx
from distillfss.export.format import IR_VERSION, OPSET
from distillfss.export.frame import framed
from distillfss.export.half import with_half_weights
from distillfss.export.pictures import ODD_SIZES, Example, in_odd_sizes, read_examples
from distillfss.export.served import OnnxSegmenter
from distillfss.model_info import ModelInfo
from distillfss.models.composite import side_by_side
from distillfss.models.dcama import DcamaStudent
from distillfss.models.standardize import Standardize
from distillfss.models.student import Student

SHAPES = [(96, 96), (1, 1), (61, 47), (300, 35), (131, 517), (400, 301)]


def run(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


@pytest.mark.parametrize("kind", ["one_class", "three_classes", "nine_classes", "two_with_details"])
def test_it_does_what_the_model_does(kind: str, request: pytest.FixtureRequest) -> None:
    segmenter: Segmenter = request.getfixturevalue(kind)
    path: Path = request.getfixturevalue(f"{kind}_file")
    pixels = differing = 0
    for height, width in SHAPES:
        image = picture(height, width)
        found = run(path, image[None])
        mask, probabilities = segmenter(image, probabilities=True)
        assert found["mask"].dtype == np.uint8
        assert found["mask"].shape == (1, height, width)
        wanted = segmenter.logits(image).numpy()
        assert checking.logit_difference(found["logits"][0], wanted[0]) < 1e-3
        differing += (found["mask"][0] != mask).sum()
        pixels += mask.size
        likely = found["probabilities"][0].transpose(1, 2, 0)
        np.testing.assert_allclose(likely.sum(-1), 1, atol=1e-5)
        assert np.quantile(np.abs(likely - probabilities), 0.999) < 1e-3
    assert differing <= 1e-4 * pixels


def test_a_batch_is_its_images_one_by_one(three_classes_file: Path) -> None:
    images = np.stack([picture(70, 90, seed) for seed in (1, 2, 3)])
    together = run(three_classes_file, images)
    for number in range(3):
        alone = run(three_classes_file, images[number : number + 1])
        np.testing.assert_allclose(together["logits"][number], alone["logits"][0], atol=1e-4)
        assert (together["mask"][number] != alone["mask"][0]).mean() < 1e-3


def test_probabilities_nobody_wants_are_not_computed(three_classes_file: Path, one_class_file: Path) -> None:
    session = onnxruntime.InferenceSession(three_classes_file)
    image = picture(70, 90)[None]
    names = ["mask", "probabilities", "logits"]
    mask, probabilities, logits = session.run(names, {"images": image})
    lean_mask, none, lean_logits = session.run(names, {"images": image, "probabilities_wanted": np.array(False)})
    assert (none.size, probabilities.shape) == (0, (1, 4, 70, 90))
    np.testing.assert_array_equal(mask, lean_mask)
    np.testing.assert_array_equal(logits, lean_logits)
    # and the library says so, where the file can be told
    fed = []
    for file in (three_classes_file, one_class_file):
        served = Segmenter.load(file)
        assert isinstance(served, OnnxSegmenter)
        inner = served._session

        class Recorder:
            def run(self, outputs: list[str], feeds: dict[str, np.ndarray], inner: object = inner) -> object:
                fed.append({name: value.tolist() for name, value in feeds.items() if name != "images"})
                return inner.run(outputs, feeds)

        served._session = Recorder()
        served(picture(70, 90))
        served(picture(70, 90), probabilities=True)
    assert fed == [{"probabilities_wanted": False}, {"probabilities_wanted": True}, {}, {}]


def test_classes_that_are_likely_nowhere_are_not_compared_at_full_size() -> None:
    """Masks and probabilities of the frame alone, of logits with every class somewhere, and of logits with three."""
    shape = [1, 10, 12, 16]
    for drawn, least in ((10, 8), (3, 2)):
        values = np.random.default_rng(drawn).normal(size=shape).astype(np.float32)
        values[:, drawn:] -= 20
        constant = helper.make_node("Constant", [], ["logits"], value=numpy_helper.from_array(values))
        pixels = helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["b", 3, "h", "w"])
        logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["b", 10, "r", "c"])
        graph = helper.make_graph([constant], "network", [pixels], [logits])
        network = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
        session = onnxruntime.InferenceSession(framed(network, 96, 9).SerializeToString())
        images = np.zeros((1, 77, 61, 3), np.uint8)
        mask, probabilities, _ = session.run(None, {"images": images})
        full = F.interpolate(torch.from_numpy(values).double(), (77, 61), mode="bilinear")
        assert len(np.unique(mask)) >= least
        # only where four classes meet within two pixels of the logits may another one win
        assert (mask == full.argmax(1).numpy()).mean() > (0.995 if drawn == 10 else 0.9999)
        np.testing.assert_allclose(probabilities, full.softmax(1).numpy(), atol=1e-5)


def test_what_the_file_says_about_itself(three_classes: Segmenter, three_classes_file: Path) -> None:
    model = onnx.load(three_classes_file)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["format"] == "distillfss-onnx"
    assert json.loads(said["class_names"]) == list(three_classes.class_names)
    assert said["size"] == "96"
    assert said["precision"] == "fp32"
    assert said["distillfss_version"] == __version__
    assert json.loads(said["info"])["summary"] == json.loads(json.dumps(three_classes.summary))
    checks = json.loads(said["checks"])["fp32"]
    assert checks["images"] == 10
    assert checks["pixels"] == sum(height * width for height, width in ODD_SIZES)
    assert checks["logits"] <= 1e-3
    # nothing of the machine it was made on
    assert not [text for text in (str(REPOSITORY), sys.prefix) if text in str(model)]
    assert ".py" not in str(model.graph.node)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes["images"] == ["batch", "height", "width", 3]
    assert shapes["mask"] == ["batch", "height", "width"]
    assert shapes["probabilities"] == ["batch", 4, "height", "width"]


def test_a_file_that_disagrees_is_not_written(
    one_class: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resize to another size than the model's."""
    from distillfss.export import frame

    right = frame.framed
    monkeypatch.setattr(frame, "framed", lambda network, size, classes: right(network, 2 * size, classes))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"what was there")
    with pytest.raises(ExportError, match="does not do what the model does"):
        export_onnx(one_class, path)
    assert path.read_bytes() == b"what was there"


@pytest.mark.parametrize(
    ("logits", "masks", "precision", "refused"),
    [
        (9e-4, 9e-5, "fp32", False),
        (2e-3, 0, "fp32", True),
        (0, 2e-4, "fp32", True),
        (float("inf"), 0, "fp32", True),
        (0.05, 1e-3, "fp16", False),
        (0.2, 0, "fp16", True),
    ],
)
def test_what_is_refused(logits: float, masks: float, precision: str, refused: bool) -> None:
    found = checking.Agreement(10, 1000, logits, masks)
    if refused:
        with pytest.raises(ExportError):
            checking.check(found, precision)
    else:
        checking.check(found, precision)


@pytest.mark.parametrize(
    ("logits", "precision", "refused"), [(0.19, "fp16", False), (0.21, "fp16", True), (2e-3, "fp32", True)]
)
def test_large_logits_may_be_off_by_a_hundredth_in_half_precision_alone(
    logits: float, precision: str, refused: bool
) -> None:
    found = checking.Agreement(10, 1000, logits, 0, largest=20)
    if refused:
        with pytest.raises(ExportError, match=r"allowed 0\.2\)" if precision == "fp16" else r"allowed 0\.001\)"):
            checking.check(found, precision)
    else:
        checking.check(found, precision)


def test_a_tie_of_two_classes_excuses_the_background_alone() -> None:
    wanted = np.zeros((3, 1, 2), np.float32)
    wanted[1:, 0, 1] = 5, 1
    found = wanted.copy()
    found[0, 0, 0] = 9  # where both classes have 0
    assert checking.logit_difference(found, wanted) == 0
    found[0, 0, 1] = 0.5
    assert checking.logit_difference(found, wanted) == 0.5
    assert checking.logit_difference(found[:, :, :1], wanted) == float("inf")


@pytest.mark.parametrize(("precision", "furthest"), [("fp32", 0.75), ("fp16", 0.0625)])
def test_how_close_a_tie_is_depends_on_the_precision(precision: str, furthest: float) -> None:
    """Rounding of the weights swaps two classes that are 0.05 apart, and with them the background logit."""
    wanted = np.zeros((1, 3, 1, 4), np.float32)
    wanted[0, 1] = 5
    wanted[0, 2, 0] = 4.95, 1, 1, 1
    found = wanted.copy()
    found[0, 0, 0, 0] = 0.75
    found[0, 0, 0, 1] = 0.0625

    class Fixed:
        def __init__(self, logits: np.ndarray, mask: list[int]) -> None:
            self._logits, self._mask = logits, mask

        def logits(self, image: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(self._logits)

        def __call__(self, image: np.ndarray) -> np.ndarray:
            return np.array([self._mask], np.uint8)

    exported, model = Fixed(found, [2, 1, 1, 1]), Fixed(wanted, [1, 1, 1, 1])
    agreed = checking.agreement(exported, model, [picture(1, 4)], precision)  # type: ignore[arg-type]
    assert agreed == checking.Agreement(1, 4, furthest, 1 / 4, 5.0)  # the swapped class counts all the same


def test_half_weights_halve_the_file(one_class: Segmenter, one_class_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    report = export_onnx(one_class, path, "fp16")
    assert path.stat().st_size < 0.55 * one_class_file.stat().st_size
    assert 0 < report.checks["fp16"]["logits"] < 0.1
    image = picture(120, 80)
    served = Segmenter.load(path)
    assert 0 < np.abs(served.logits(image).numpy() - one_class.logits(image).numpy()).max() < 0.1
    assert (served(image) != one_class(image)).mean() < 2e-3


def test_weights_that_half_precision_cannot_hold() -> None:
    model = onnx.ModelProto()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(10_000, 1e5, np.float32), "huge"))
    with pytest.raises(ExportError, match="huge"):
        with_half_weights(model)


class Unusual(Backbone):
    """Asks for the pixels before it decides what to do, which no graph can."""

    name, normalisation = "unusual", "none"
    layers = tuple(Layer(f"l{stride}", stride, 4) for stride in (4, 8, 16, 32))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        if float(images.mean()) > 1:
            images = images / 2
        return [images.new_ones(len(images), 4, *(side // k.stride for side in images.shape[-2:])) for k in self.layers]


def segmenter_of(backbone: Backbone, ways: int, size: int = 64) -> Segmenter:
    torch.manual_seed(0)
    names = tuple(f"class_{number}" for number in range(1, ways + 1))
    info = ModelInfo(names, backbone.name, "0" * 64, True, size, architecture="dcama")
    student = DcamaStudent(backbone.layers, ways)
    return Segmenter(backbone, Standardize(backbone.layers), student, info, torch.device("cpu"))


def test_the_papers_own_student(tmp_path: Path) -> None:
    """Its logits have the resolution of the image, and no standardisation precedes it."""
    segmenter = segmenter_of(SmallBackbone(), 2)
    path = tmp_path / "paper.onnx"
    export_onnx(segmenter, path)
    image = random_rgb(50, 90)
    found = run(path, image[None])
    wanted = segmenter.logits(image).numpy()
    assert checking.logit_difference(found["logits"][0], wanted[0]) < 1e-3
    assert (found["mask"][0] != segmenter(image)).mean() < 1e-3


def test_what_cannot_be_traced_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="unusual with a dcama student cannot be exported"):
        export_onnx(segmenter_of(Unusual().freeze(), 1), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_fails_on_some_images_is_refused(
    one_class: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Reshape: shapes do not fit")

    monkeypatch.setattr(OnnxSegmenter, "_run", fail)
    with pytest.raises(ExportError, match=r"is no graph for images of any size: 47x61 fails \(Reshape"):
        export_onnx(one_class, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_settings_are_checked_before_any_work(
    one_class: Segmenter, one_class_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distillfss.export.network.network_model", lambda segmenter: pytest.fail("traced"))
    with pytest.raises(UsageError, match="unknown precision 'int4'"):
        export_onnx(one_class, tmp_path / "a.onnx", "int4")
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export_onnx(one_class, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="--calibrate"):
        export_onnx(one_class, tmp_path / "a.onnx", "int8")
    with pytest.raises(UsageError, match="cannot be taken apart"):
        export_onnx(Segmenter.load(one_class_file), tmp_path / "a.onnx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        export_onnx(one_class, tmp_path / "a.onnx", calibrate=[tmp_path / "empty"])
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ExportError, match=r"onnxscript is not installed. pip install 'distillfss\[onnx\]'"):
        export_onnx(one_class, tmp_path / "a.onnx")


def test_pictures_of_folders(squares: Path) -> None:
    labelled = read_examples([squares], ["class_1"])
    assert len(labelled) == 6
    assert all(example.mask is not None and example.mask.max() == 1 for example in labelled)
    plain = read_examples([squares / "images", squares], ["class_1"], most=4)
    assert [example.mask is None for example in plain] == [True] * 4 + [False] * 4
    both = read_examples([squares], ["class_1", "fibre"])
    assert {example.annotated for example in both} == {frozenset({1, 2})}  # nobody named the classes: all are meant
    odd = list(in_odd_sizes([Example(picture(30, 40))]))
    assert [image.shape for image in odd] == [(height, width, 3) for height, width in ODD_SIZES]


def test_pictures_of_a_folder_that_another_tool_annotated(tmp_path: Path) -> None:
    """Their masks decide how much eight bits may lose. A folder for masks that is empty changes nothing."""
    Image.fromarray(picture(40, 60)).save(tmp_path / "a.png")
    shapes = [
        {"label": label, "shape_type": "polygon", "points": [[x, 10], [x + 20, 10], [x + 20, 30], [x, 30]]}
        for label, x in (("leaf", 5), ("stem", 30))
    ]
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": shapes}))
    for _ in range(2):
        (example,) = read_examples([tmp_path], ["stem"])
        assert example.annotated == frozenset({1})
        assert example.mask is not None
        wanted = np.zeros((40, 60), np.uint8)
        wanted[10:30, 30:50] = 1
        np.testing.assert_array_equal(example.mask, wanted)
        for name in ("images", "masks"):
            (tmp_path / name).mkdir(exist_ok=True)


def test_white_masks_calibrate_no_model_of_several_classes(tmp_path: Path) -> None:
    make_folder(tmp_path / "d", {name: two_classes(24, 32, 255) for name in "ab"})
    with pytest.raises(DataError, match=r"255 means ignore here.*1 crop, 2 weed"):
        read_examples([tmp_path / "d"], ["crop", "weed"])
    (only,) = read_examples([tmp_path / "d"], ["crop"], most=1)
    assert only.mask is not None
    assert set(np.unique(only.mask)) == {0, 1}


class TinyStudent(torch.nn.Module):
    """Logits of three classes by one convolution; a graph that is traced in a moment."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(channels, 6, 1)

    def forward(self, query: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        logits = self.convolution(query[0]).unflatten(1, (3, 2))
        return logits, [logits]


def test_a_model_of_several_students_is_one_graph(tmp_path: Path) -> None:
    """Its classes in their order, and nothing of those that were taken away."""
    torch.manual_seed(0)
    backbone = SmallBackbone()
    members = [TinyStudent(backbone.layers[0].channels) for _ in range(2)]
    student, parts = side_by_side(members, ((True, False, True), (False, False, True)))
    info = ModelInfo(("a", "c", "new"), backbone.name, "0" * 64, False, 96, parts=parts)
    model = Segmenter(backbone, Standardize(backbone.layers), student, info, torch.device("cpu"))
    export_onnx(model, tmp_path / "parts.onnx")
    served = Segmenter.load(tmp_path / "parts.onnx")
    assert served.class_names == ("a", "c", "new")
    assert served.info.parts == ()
    image = picture(90, 120)
    torch.testing.assert_close(served.logits(image), model.logits(image), atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        pyramid = backbone(torch.rand(1, 3, 64, 64) * 255)
        wanted = torch.cat([members[0](pyramid)[0][:, [0, 2]], members[1](pyramid)[0][:, 2:]], dim=1)
        assert torch.equal(student(pyramid)[0], wanted)


def test_a_class_beside_one_that_draws_details(tmp_path: Path, two_with_details: Segmenter) -> None:
    """Logits of two grids in one graph, at any size."""
    backbone, standardize, detailed = two_with_details.parts
    torch.manual_seed(3)
    student, parts = side_by_side([Student(backbone.layers, 1), detailed], ((True,), (True, True)))
    info = ModelInfo(("new", "class_1", "class_2"), backbone.name, "0" * 64, False, 96, parts=parts, details=True)
    model = Segmenter(backbone, standardize, student, info, torch.device("cpu"))
    export_onnx(model, tmp_path / "parts.onnx")
    served = Segmenter.load(tmp_path / "parts.onnx")
    for image in (picture(90, 120), picture(64, 200)):
        torch.testing.assert_close(served.logits(image), model.logits(image), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("lost", "said"), [(0.234, "0.23 points of IoU lost"), (-1.96, "1.96 points of IoU gained")])
def test_what_8_bits_change_is_said_in_words(
    lost: float, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"0" * 200_000)
    checks = {"fp32": {}, "int8": {"layers": "all convolutions", "lost": lost, "images": 5, "model": 80.0}}
    _print(ExportReport(tmp_path / "m.onnx", 200_000, "int8", 18, checks))
    assert f"checked    all convolutions, {said} on 5 images" in capsys.readouterr().out


def test_a_class_that_was_never_shown_wins_nowhere(nine_classes: Segmenter, tmp_path: Path) -> None:
    image = picture(70, 90)
    before = nine_classes(image)
    name = nine_classes.class_names[int(np.bincount(before.ravel())[1:].argmax())]
    shots = {each: 3 * (each != name) for each in nine_classes.class_names}
    info = replace(nine_classes.info, summary={"shots": shots})
    model = Segmenter(*nine_classes.parts, info, torch.device("cpu"))
    value = nine_classes.class_names.index(name) + 1
    mask, likely = model(image, probabilities=True)
    assert (before == value).any()
    assert not (mask == value).any()
    assert likely[..., value].max() < 1e-9
    others = (before != value) & (before > 0)
    assert (mask[others] == before[others]).mean() > 0.99  # but between pixels of the logits, where it was near
    np.testing.assert_array_equal(model.answer(image).mask, mask)
    export_onnx(model, tmp_path / "model.onnx")
    assert (Segmenter.load(tmp_path / "model.onnx")(image) == mask).mean() > 0.9999
    back = {"shots": shots, "extended": [{"classes": [name]}]}  # taken away, and come back with images of its own
    np.testing.assert_array_equal(
        Segmenter(*nine_classes.parts, replace(info, summary=back), torch.device("cpu"))(image), before
    )
