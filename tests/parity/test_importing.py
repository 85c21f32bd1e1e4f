"""``import-checkpoint``: the authors' files in every wrapping, whole or refused by name. Small networks, same names."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference import author_shapes, needs_reference
from safetensors.torch import save_file
from torch import Tensor

from distillfss import Segmenter
from distillfss.backbones.resnet import ResNet
from distillfss.backbones.swin import Swin
from distillfss.checkpoints import names
from distillfss.checkpoints.importing import read_checkpoint, write_imported
from distillfss.checkpoints.parts import sort_tensors
from distillfss.checkpoints.reading import read_tensors
from distillfss.checkpoints.teacher_file import load_teacher
from distillfss.cli import main
from distillfss.errors import ModelFileError, UsageError
from distillfss.models.classes import merge_classes
from distillfss.models.dcama import DcamaStudent, DcamaTeacher
from distillfss.models.dcama.attention import positional_encoding
from distillfss.preprocess import at_working_size

SMALL = {
    "resnet50": partial(ResNet, width=4, depths=(1, 2, 1, 1)),
    "swin_b": partial(Swin, width=8, depths=(1, 1, 2, 1), heads=(1, 2, 4, 8), window=4),
}
DERIVED = {
    "resnet50": {"fc.weight": (10, 8), "bn1.num_batches_tracked": ()},
    "swin_b": {"norm.weight": (8,), "head.bias": (10,), "layers.0.blocks.0.attn_mask": (4, 16, 16)},
}


@pytest.fixture(params=SMALL)
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The importer, knowing small networks by the authors' names."""
    for name, build in SMALL.items():
        monkeypatch.setitem(names.BACKBONES, name, build)
    names.skeleton.cache_clear()
    yield request.param
    names.skeleton.cache_clear()


@functools.cache
class Authors:
    """State dicts as the authors' code writes them, of a small network with random weights."""

    def __init__(self, name: str, ways: int = 2, concat_support: bool = False) -> None:
        torch.manual_seed(0)
        self.backbone = SMALL[name]()
        for tensor in self.backbone.state_dict().values():
            tensor.uniform_(0.05, 0.2)
        layers = self.backbone.layers
        self.teacher, self.student = DcamaTeacher(layers, concat_support).eval(), DcamaStudent(layers, ways).eval()
        if not concat_support:
            self.student.mixer.load_state_dict(self.teacher.mixer.state_dict())
        extra = {key: torch.zeros(shape) for key, shape in DERIVED[name].items()}
        self.of_backbone = named(self.backbone.state_dict()) | extra
        positions = {
            f"pe.{i}.pe": positional_encoding(layer.query.in_features, 100)[None]
            for i, layer in enumerate(self.teacher.attention.values())
        }
        self.of_teacher = named(self.teacher.state_dict()) | positions
        self.of_student = named({k: t for k, t in self.student.state_dict().items() if not names.is_mixer(k)})

    def teacher_file(self) -> dict[str, Tensor]:
        return prefixed("feature_extractor.", self.of_backbone) | prefixed("model.", self.of_teacher)

    def student_file(self) -> dict[str, Tensor]:
        """The authors' student carries its whole teacher."""
        return self.of_student | prefixed("teacher.", self.teacher_file())


def named(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {names.authors_name(name): tensor for name, tensor in state.items()}


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def as_pt(state: Mapping[str, Tensor], path: Path) -> Path:
    torch.save(dict(state), path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def as_safetensors(state: Mapping[str, Tensor], path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def as_training_state(state: Mapping[str, Tensor], path: Path) -> Path:
    wrapped = {
        "epoch": 3,
        "model": prefixed("module.", state),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "name": torch.ones(1)},
        "lr_scheduler": {"last": torch.ones(1)},
    }
    torch.save(wrapped, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


WRITERS: list[Callable[[Mapping[str, Tensor], Path], Path]] = [as_pt, as_safetensors, as_training_state]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("concat", [False, True])
def test_a_teacher_in_every_wrapping(small, tmp_path, write, prefix, concat):
    authors = Authors(small, concat_support=concat)
    path = write(prefixed(prefix, authors.teacher_file()), tmp_path / "theirs")
    imported = read_checkpoint(path)
    assert (imported.kind, imported.backbone_name, imported.concat_support) == ("teacher", small, concat)
    write_imported(imported, tmp_path / "ours.safetensors")
    backbone, teacher, info = load_teacher(tmp_path / "ours.safetensors")
    assert info.summary == {"imported_from": imported.sources}
    assert list(imported.sources) == [path.name]
    images, masks = torch.rand(3, 3, 64, 96) * 255, torch.ones(2, 1, 64, 96)
    answers = []
    for net, head in ((backbone, teacher), (authors.backbone, authors.teacher)):
        support = head.support_tokens(net(images[1:]), masks)
        answers.append(head(net(images[:1]), support)[0])
    assert torch.equal(*answers)


@pytest.mark.parametrize("write", WRITERS)
def test_the_backbone_may_lie_apart(small, tmp_path, write):
    authors = Authors(small)
    path = write(prefixed("module.model.", authors.of_teacher), tmp_path / "theirs")
    apart = as_pt({"model": authors.of_backbone} if small == "swin_b" else authors.of_backbone, tmp_path / "apart")
    with pytest.raises(ModelFileError, match=r"theirs.*the backbone is not in it.*--backbone-weights FILE"):
        read_checkpoint(path)
    imported = read_checkpoint(path, backbone_weights=apart)
    assert imported.backbone.keys() == authors.backbone.state_dict().keys()
    for name, tensor in authors.backbone.state_dict().items():
        assert torch.equal(imported.backbone[name], tensor)
    assert list(imported.sources) == [path.name, "apart.pt"]
    assert imported.backbone_sha256 == imported.sources["apart.pt"]
    whole = as_pt(authors.teacher_file(), tmp_path / "whole")
    with pytest.raises(UsageError, match=r"whole\.pt holds the backbone already. Leave out --backbone-weights"):
        read_checkpoint(whole, backbone_weights=apart)


def test_a_student_becomes_a_model(small, tmp_path):
    authors = Authors(small, ways=3)
    path = as_pt(authors.student_file(), tmp_path / "theirs")
    imported = read_checkpoint(path)
    assert (imported.kind, imported.ways, imported.concat_support) == ("student", 3, False)
    assert not any(name.startswith("attention") for name in imported.head)
    write_imported(imported, tmp_path / "ours.safetensors", ["a", "b", "c"])
    segmenter = Segmenter.load(tmp_path / "ours.safetensors", device="cpu")
    assert segmenter.class_names == ("a", "b", "c")
    assert segmenter.size == 384
    assert segmenter.info.architecture == "dcama"
    photograph = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    with torch.no_grad():
        image = at_working_size(photograph, 384)[None]
        logits = merge_classes(authors.student(authors.backbone(image))[0])
    torch.testing.assert_close(segmenter.logits(photograph), logits)
    assert segmenter(photograph).shape == (50, 70)


def test_a_student_alone_asks_for_its_teacher(small, tmp_path):
    authors = Authors(small)
    alone = as_pt(authors.of_student, tmp_path / "student")
    teacher = as_pt(authors.teacher_file(), tmp_path / "teacher")
    head_only = as_pt(authors.of_teacher, tmp_path / "head")
    backbone = as_pt(authors.of_backbone, tmp_path / "backbone")
    with pytest.raises(ModelFileError, match="backbone is not in it"):
        read_checkpoint(alone)
    with pytest.raises(ModelFileError, match=r"the mixer is not in it.*--teacher FILE"):
        read_checkpoint(alone, backbone_weights=backbone)
    one, two = (
        read_checkpoint(alone, teacher=teacher),
        read_checkpoint(alone, teacher=head_only, backbone_weights=backbone),
    )
    whole = read_checkpoint(as_pt(authors.student_file(), tmp_path / "whole"))
    for other in (one, two):
        assert other.head.keys() == whole.head.keys()
        assert all(torch.equal(other.head[name], tensor) for name, tensor in whole.head.items())


def test_a_student_of_a_teacher_that_needs_the_support_is_refused(small, tmp_path):
    path = as_pt(Authors(small, concat_support=True).student_file(), tmp_path / "theirs")
    with pytest.raises(ModelFileError, match=r"its mixer is shown the support's features"):
        read_checkpoint(path)


def test_missing_unknown_and_misshapen_tensors_are_named(small, tmp_path):
    theirs = Authors(small).teacher_file()

    def read(changes: dict[str, Tensor], *, without: tuple[str, ...] = (), **options: Any) -> None:
        state = {name: tensor for name, tensor in (theirs | changes).items() if name not in without}
        read_checkpoint(as_pt(state, tmp_path / "theirs"), **options)

    with pytest.raises(ModelFileError, match=r"1 of the \d+ tensors of the teacher are missing: conv5\.3\.bias\."):
        read({}, without=("model.conv5.3.bias",))
    with pytest.raises(ModelFileError, match=r"2 of .* missing: DCAMA_blocks\.2\.linears\.1\.weight, DCAMA_blocks"):
        read({}, without=("model.DCAMA_blocks.2.linears.1.weight", "model.DCAMA_blocks.2.linears.1.bias"))
    last = list(names.shapes(names.skeleton(small)))[-1]
    with pytest.raises(ModelFileError, match=rf"of the backbone are missing: {names.authors_name(last)}"):
        read({}, without=(f"feature_extractor.{names.authors_name(last)}",))
    with pytest.raises(ModelFileError, match=r"theirs\.pt: 2 tensors in it are unknown: model\.adapter, other"):
        read({"model.adapter": torch.ones(1), "other": torch.ones(1)})
    read({"model.adapter": torch.ones(1)}, ignore_unknown=True)
    with pytest.raises(ModelFileError, match=r"wrong shape: conv4\.0\.bias \(7,\) instead of \(128,\)"):
        read({"model.conv4.0.bias": torch.ones(7)})
    with pytest.raises(ModelFileError, match=r"conv4\.0\.bias of the teacher holds impossible numbers"):
        read({"model.conv4.0.bias": torch.full((128,), torch.nan)})
    with pytest.raises(ModelFileError, match=r"pe\.1\.pe holds other positional encodings"):
        read({"model.pe.1.pe": theirs["model.pe.1.pe"] * 0.5})


def test_shared_parts_count_once_and_different_ones_are_refused(small, tmp_path):
    authors = Authors(small)
    copies = authors.teacher_file() | prefixed("distiller.teacher.", authors.teacher_file())
    assert read_checkpoint(as_pt(copies, tmp_path / "copies")).kind == "teacher"
    copies["model.conv1.0.bias"] = copies["model.conv1.0.bias"] + 1
    with pytest.raises(ModelFileError, match="two different teachers in it"):
        read_checkpoint(as_pt(copies, tmp_path / "copies"))


def test_half_precision_becomes_float32(small, tmp_path):
    half = {name: tensor.half() for name, tensor in Authors(small).teacher_file().items()}
    imported = read_checkpoint(as_safetensors(half, tmp_path / "half"))
    assert {tensor.dtype for tensor in (imported.backbone | imported.head).values()} == {torch.float32}


def test_class_names_have_to_fit(small, tmp_path):
    imported = read_checkpoint(as_pt(Authors(small, ways=2).student_file(), tmp_path / "theirs"))
    assert write_imported(imported, tmp_path / "a").class_names == ("class_1", "class_2")
    with pytest.raises(UsageError, match="1 class names for a student of 2 classes"):
        write_imported(imported, tmp_path / "b", ["only"])
    teacher = read_checkpoint(as_pt(Authors(small).teacher_file(), tmp_path / "theirs"))
    with pytest.raises(UsageError, match="a teacher has no classes"):
        write_imported(teacher, tmp_path / "b", ["only"])


def test_parts_of_different_models_do_not_mix(small, tmp_path):
    other = next(name for name in SMALL if name != small)
    head = as_pt(Authors(small).of_teacher, tmp_path / "head")
    with pytest.raises(ModelFileError, match=f"belongs to {other}, not to {small}"):
        read_checkpoint(head, backbone_weights=as_pt(Authors(other).of_backbone, tmp_path / "other"))
    alone = as_pt(Authors(small).of_backbone, tmp_path / "alone")
    with pytest.raises(ModelFileError, match=r"only a backbone in it.*--backbone-weights"):
        read_checkpoint(alone)


# Files that are no checkpoints


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was executed",))


def test_nothing_in_a_file_is_executed(tmp_path):
    path = tmp_path / "bomb.pt"
    torch.save({"weights": Bomb()}, path)
    with pytest.raises(ModelFileError, match=r"bomb\.pt: it holds more than tensors.*torch\.save\(model\.state_dict"):
        read_tensors(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelFileError, match="holds more than tensors"):
        read_tensors(path)


def test_files_without_weights(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        read_tensors(tmp_path / "nothing.pt")
    with pytest.raises(ModelFileError, match="this is not a file"):
        read_tensors(tmp_path)
    torch.save({"epoch": 3, "name": "x"}, tmp_path / "empty.pt")
    with pytest.raises(ModelFileError, match="there are no tensors in it"):
        read_tensors(tmp_path / "empty.pt")
    torch.save({"layer.weight": torch.ones(1)}, tmp_path / "foreign.pt")
    with pytest.raises(ModelFileError, match=r"neither a DCAMA teacher nor.*it holds layer\.weight"):
        read_checkpoint(tmp_path / "foreign.pt")


@pytest.mark.parametrize("write", [as_pt, as_safetensors])
@pytest.mark.parametrize("kept", [0, 4, 60, 3000])
def test_truncated_files(tmp_path, write, kept):
    path = write({"a": torch.ones(2000), "b": torch.ones(2000)}, tmp_path / "cut")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match=r"cut\.(pt|safetensors): "):
        read_tensors(path)


def test_an_absurd_number_of_classes_is_refused_before_anything_is_built(tmp_path):
    state = {f"student.{c}.coarse_extractor.0.0.weight": torch.ones(512, 1) for c in (0, 10**9)}
    with pytest.raises(ModelFileError, match="1000000001 classes are too many"):
        read_checkpoint(as_pt(state, tmp_path / "many"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "no teacher file"),
        ({"format": "distillfss-teacher"}, "format version is missing"),
        ({"format": "distillfss-teacher", "format_version": "9"}, r"version 9 is newer than 1, .*\. Update"),
        ({"format": "distillfss-teacher", "format_version": "1", "info": "{}"}, "description is damaged"),
    ],
)
def test_foreign_teacher_files(tmp_path, metadata, message):
    path = tmp_path / "teacher.safetensors"
    save_file({"x": torch.ones(1)}, path, metadata)
    with pytest.raises(ModelFileError, match=message):
        load_teacher(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="damaged or cut short"):
        load_teacher(path)
    with pytest.raises(ModelFileError, match="no such file"):
        load_teacher(tmp_path / "none")


# The command line


def test_the_verb_writes_a_student_and_says_how_to_go_on(small, tmp_path, capsys):
    path, out = as_pt(Authors(small).student_file(), tmp_path / "theirs"), tmp_path / "new" / "model.safetensors"
    assert main(["import-checkpoint", str(path), "--out", str(out), "--classes", "crack,hole"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"student  {out} (")
    assert "classes  crack, hole" in printed
    assert f"distillfss predict {out} my-images --out my-masks" in printed
    assert Segmenter.load(out, "cpu").class_names == ("crack", "hole")
    assert main(["import-checkpoint", str(path), "--out", str(out)]) == 5
    assert "exists already" in capsys.readouterr().err


def test_the_verb_with_json(small, tmp_path, capsys):
    path, out = as_pt(Authors(small).teacher_file(), tmp_path / "theirs"), tmp_path / "teacher.safetensors"
    assert main(["import-checkpoint", str(path), "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["backbone"], report["class_names"]) == ("teacher", small, [])
    assert report["bytes"] == out.stat().st_size
    broken = {name: t for name, t in Authors(small).teacher_file().items() if "mixer3" not in name}
    path = as_pt(broken, tmp_path / "broken")
    assert main(["import-checkpoint", str(path), "--out", str(out), "--overwrite"]) == 4
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {path}: 4 of the ")
    assert "mixer3.0.weight, mixer3.0.bias, mixer3.2.weight, mixer3.2.bias" in error


# The authors' own lists of names and shapes


@needs_reference
@pytest.mark.parametrize(
    ("key", "backbone", "concat"),
    [
        ("resnet50_teacher_noconcat", "resnet50", False),
        ("resnet50_teacher_concat", "resnet50", True),
        ("swin_teacher_noconcat", "swin_b", False),
        ("swin_teacher_concat", "swin_b", True),
    ],
)
def test_every_key_of_the_authors_teachers(key, backbone, concat, tmp_path):
    # one stored number per tensor, however large: the file stays small
    shapes = {name: shape for name, shape in author_shapes(key).items() if not name.endswith(".pe")}
    path = as_pt({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, tmp_path / "theirs")
    assert path.stat().st_size < 1_000_000
    parts = sort_tensors(read_tensors(path), path)
    assert (parts.backbone_name, parts.unknown, parts.student) == (backbone, (), {})
    given = {name: tensor.shape for name, tensor in parts.teacher.items()}
    skeleton = names.skeleton(backbone)
    assert given == names.teacher_shapes(skeleton.layers, concat)
    assert given != names.teacher_shapes(skeleton.layers, not concat)
    assert {name: tensor.shape for name, tensor in parts.backbone.items()} == names.shapes(skeleton)


@needs_reference
@pytest.mark.parametrize(
    ("key", "backbone"), [("resnet50_student_2class", "resnet50"), ("swin_student_2class", "swin_b")]
)
def test_every_key_of_the_authors_students(key, backbone):
    tensors = {name: torch.zeros(()).expand(shape) for name, shape in author_shapes(key).items()}
    parts = sort_tensors(tensors, Path("student.pt"))
    assert (parts.backbone_name, parts.unknown, parts.ways) == (backbone, (), 2)
    given = {name: tensor.shape for name, tensor in parts.student.items()}
    assert given == names.student_shapes(names.skeleton(backbone).layers, 2)
