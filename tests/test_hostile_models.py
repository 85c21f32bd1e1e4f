"""Weight files of strangers: bounded before anything is allocated, nothing executed, every fault one of our errors."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from distillfss.artifact import ModelInfo, read_model, write_model
from distillfss.checkpoints import guarded, reading
from distillfss.checkpoints.reading import read_tensors
from distillfss.checkpoints.teacher_file import TeacherInfo, load_teacher, write_teacher
from distillfss.errors import ModelFileError
from distillfss.io.description import MAX_DESCRIPTION
from distillfss.segmenter import Segmenter
from distillfss.training.state import FitState, load_state, save_state

INFO = ModelInfo(("crack", "hole"), "efficientnet_lite0", "0" * 64, False, 384, {"a": 1}, {"seconds": 2.5})
TENSORS = {"student.a": torch.arange(6.0).reshape(2, 3), "standardize.b": torch.ones(4)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path / "model.safetensors", INFO, TENSORS)
    return tmp_path / "model.safetensors"


def refused(path: Path, read: Any = read_model) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        read(path)
    assert caught.value.path == path
    assert caught.value.cure
    assert str(caught.value).isprintable()
    return caught.value


def with_header(content: bytes, header: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def header_of(content: bytes) -> dict[str, Any]:
    return json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])


def with_info(path: Path, text: str | None = None, **changes: Any) -> None:
    header = header_of(path.read_bytes())
    info = json.loads(header["__metadata__"]["info"])
    header["__metadata__"]["info"] = json.dumps({**info, **changes}) if text is None else text
    path.write_bytes(with_header(path.read_bytes(), json.dumps(header).encode()))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["O\u0308l", "crack"], ("\u00d6l", "crack")),
        # as versions wrote it for which these were two classes: the model is none the worse for it
        (["crack", "\u00d6l", "O\u0308l"], ("crack", "\u00d6l", "\u00d6l (3)")),
    ],
)
def test_names_in_a_file_are_composed(model: Path, written: list[str], read: tuple[str, ...]) -> None:
    with_info(model, class_names=written)
    assert read_model(model)[0].class_names == read


def test_a_sound_file_is_read(model: Path) -> None:
    info, tensors = read_model(model)
    assert info == INFO
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {k: v.tolist() for k, v in TENSORS.items()}


@pytest.mark.parametrize(
    "header",
    [
        {"student.a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}},
        {"student.a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"student.a": {"dtype": "F32", "shape": [2**63, 2], "data_offsets": [0, 24]}},
        {"student.a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 24]}},
        {"student.a": {"dtype": "F32", "shape": [6], "data_offsets": [24, 0]}},
        {"student.a": {"dtype": "F32", "shape": [6], "data_offsets": [4, 28]}},
        {"student.a": {"dtype": "BLOB", "shape": [6], "data_offsets": [0, 24]}},
        {"student.a": {"dtype": "F32"}},
        {"student.a": None},
        [],
    ],
)
def test_shapes_that_the_bytes_do_not_bear_out(model: Path, header: Any) -> None:
    content = model.read_bytes()
    if isinstance(header, dict):
        header["__metadata__"] = header_of(content)["__metadata__"]
    model.write_bytes(with_header(content, json.dumps(header).encode()))
    refused(model)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "C64", "F16", "BF16", "F64", "I32", "BOOL", "U16", "U64"])
def test_other_number_types_are_refused_or_read(model: Path, dtype: str) -> None:
    size = {"F8_E4M3": 1, "F8_E5M2": 1, "C64": 8, "F64": 8, "U64": 8, "I32": 4, "BOOL": 1}.get(dtype, 2)
    header = {"student.a": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4 * size]}}
    header["__metadata__"] = header_of(model.read_bytes())["__metadata__"]
    text = json.dumps(header).encode()
    model.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * size))
    refused(model)  # those that are read have another check sum


def test_a_large_header_is_not_parsed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "MAX_HEADER_BYTES", 100)
    assert "its header has" in refused(model).problem
    monkeypatch.undo()
    monkeypatch.setattr(guarded, "MAX_TENSORS", 1)
    assert "2 tensors" in refused(model).problem


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class_names": ["\x1b[31mred", "b"]}, "cannot be shown"),
        ({"class_names": ["a\nb", "c"]}, "cannot be shown"),
        ({"class_names": ["a\u202eb", "c"]}, "cannot be shown"),
        ({"class_names": ["a" * 101, "c"]}, "101 characters"),
        ({"class_names": ["a", "a"]}, "twice"),
        ({"class_names": "ab"}, "one text"),
        ({"class_names": {"a": 1}}, "impossible numbers|damaged|fit"),
        ({"size": -384}, "impossible numbers"),
        ({"size": 1e300}, "impossible numbers|damaged"),
        ({"size": None}, "damaged"),
        ({"backbone": "timm:x\x1b[2J"}, "backbone is no printable text"),
        ({"backbone": ["efficientnet_lite0"]}, "backbone is no printable text"),
        ({"architecture": "x" * 1000}, "architecture is no printable text"),
        ({"library_version": 3}, "library_version"),
        ({"summary": 7}, "damaged"),
    ],
)
def test_descriptions_that_lie(model: Path, changes: dict[str, Any], said: str) -> None:
    with_info(model, **changes)
    if changes == {"class_names": {"a": 1}}:
        return  # the names of a dictionary are names; what follows is a matter of shapes
    assert re.search(said, refused(model).problem)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"size": NaN}',
        '{"size": 384, "size": 64}',
        "[1]",
        '"text"',
        "9" * 5000,
        '{"class_names": ' + "9" * 5000 + "}",
        " " * (MAX_DESCRIPTION + 1),
    ],
)
def test_descriptions_that_are_no_description(model: Path, text: str) -> None:
    with_info(model, text)
    assert "its description is damaged" in refused(model).problem


@pytest.mark.parametrize("version", ["9" * 5000, "-1", "1.0", "١", ""])
def test_format_versions_that_are_none(model: Path, version: str) -> None:
    header = header_of(model.read_bytes())
    header["__metadata__"]["format_version"] = version
    model.write_bytes(with_header(model.read_bytes(), json.dumps(header).encode()))
    assert "format version is missing" in refused(model).problem


def test_names_of_tensors_do_not_reach_the_terminal_as_they_are(model: Path) -> None:
    header = header_of(model.read_bytes())
    header["\x1b]0;owned\x07"] = header.pop("student.a")
    model.write_bytes(with_header(model.read_bytes(), json.dumps(header).encode()))
    assert "\\x1b" in refused(model).problem


def test_pipes_devices_and_folders_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        for read in (read_model, read_tensors, load_teacher):
            assert "not a file" in refused(path, read).problem
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert "cannot be read" in refused(tmp_path / "circle").problem


# --- pickles ---------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["DISTILLFSS_TEST_MARK"],)


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_of_a_checkpoint_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    mark = tmp_path / "executed"
    monkeypatch.setenv("DISTILLFSS_TEST_MARK", str(mark))
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(2), "b": Evil()}, path, _use_new_zipfile_serialization=zipped)
    assert "nothing in it is executed" in refused(path, read_tensors).problem
    assert not mark.exists()
    path.write_bytes(pickle.dumps(Evil()))
    refused(path, read_tensors)
    assert not mark.exists()


def test_checkpoints_as_people_write_them(tmp_path: Path) -> None:
    weights = OrderedDict(a=torch.ones(2, 3), b=torch.nn.Parameter(torch.zeros(4)))
    nested = {"model": {"a": torch.ones(2, 3), "b": torch.zeros(4)}, "epoch": 3, "optimizer": {"c": torch.ones(9)}}
    for content, names in ((weights, ["a", "b"]), (nested, ["model.a", "model.b"])):
        for zipped in (True, False):
            torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
            found = read_tensors(tmp_path / "a.pt")
            assert list(found) == names
            assert found[names[0]].tolist() == [[1.0] * 3] * 2
    half = torch.arange(12.0).reshape(3, 4).t()[:2]  # a view of part of its storage is fine
    torch.save({"a": half}, tmp_path / "a.pt")
    assert torch.equal(read_tensors(tmp_path / "a.pt")["a"], half)


def test_tensors_that_pretend(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    huge = torch.zeros(1).as_strided((10**6, 10**6), (0, 0))
    for tensor, said in (
        (huge, "fewer numbers"),
        (torch.eye(3).to_sparse(), "not read"),
        (torch.zeros(3, dtype=torch.complex64), "not read"),
        (torch.zeros(3, dtype=torch.float8_e4m3fn), "not read"),
        (torch.zeros(3, device="meta"), "not read"),
    ):
        torch.save({"a": tensor}, path)
        assert re.search(said, refused(path, read_tensors).problem)
    expanded = torch.tensor([2.0]).expand(300, 1000)  # as large as a layer: read, but not without end
    torch.save({"a": expanded}, path)
    assert torch.equal(read_tensors(path)["a"], torch.full((300, 1000), 2.0))
    torch.save({f"a{i}": torch.zeros(()).expand(2**20, 24) for i in range(12)}, path)  # 96 MB each
    assert "a10 has 25165824 elements but fewer" in refused(path, read_tensors).problem


def test_dictionaries_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    circle: dict[str, Any] = {"a": torch.ones(1)}
    circle["again"] = circle
    torch.save(circle, path)
    assert "nested too deeply" in refused(path, read_tensors).problem
    monkeypatch.setattr(reading, "MAX_TENSORS", 1000)
    doubled: Any = torch.ones(1)
    for _ in range(18):
        doubled = {"a": doubled, "b": doubled}
    torch.save(doubled, path)
    assert "holds too much" in refused(path, read_tensors).problem


def test_an_archive_that_unpacks_to_much_more_than_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    assert "would unpack from" in refused(path, read_tensors).problem


# --- damage ----------------------------------------------------------------------------------------------------------


def damaged(content: bytes, seed: int) -> bytes:
    random, data = Random(seed), bytearray(content)
    for _ in range(random.choice((1, 1, 3, 10))):
        place = random.randrange(len(data)) if random.random() < 0.3 else random.randrange(min(len(data), 900))
        data[place] = random.randrange(256)
    return bytes(data[: random.randrange(1, len(data))] if random.random() < 0.15 else data)


FUZZED = settings(
    derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZED
@given(seed=st.integers(0, 2**32))
def test_a_damaged_model_file_is_refused_or_the_same(model: Path, seed: int) -> None:
    path = model.with_name("damaged.safetensors")
    path.write_bytes(damaged(model.read_bytes(), seed))
    try:
        tensors = read_model(path)[1]
    except ModelFileError as error:
        assert error.path == path  # noqa: PT017  (either is fine)
    else:
        assert tensors.keys() == TENSORS.keys()
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@FUZZED
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["zip", "legacy", "safetensors", "teacher"]))
def test_damaged_checkpoints_raise_nothing_else(tmp_path: Path, seed: int, kind: str) -> None:
    whole, path = tmp_path / f"{kind}", tmp_path / "damaged"
    if not whole.exists():
        if kind == "safetensors":
            save_file(TENSORS, whole)
        elif kind == "teacher":
            write_teacher(whole, TeacherInfo("resnet50", False), {"teacher.a": torch.ones(2)})
        else:
            torch.save({"model": TENSORS, "epoch": 1}, whole, _use_new_zipfile_serialization=kind == "zip")
    path.write_bytes(damaged(whole.read_bytes(), seed))
    try:
        if kind == "teacher":
            from distillfss.checkpoints.teacher_file import _read

            _read(path)
        else:
            found = read_tensors(path)
            assert all(np.asarray(tensor.float()).size < 100 for tensor in found.values())
    except ModelFileError as error:
        assert error.path == path  # noqa: PT017  (either is fine)


@FUZZED
@given(seed=st.integers(0, 2**32))
def test_a_damaged_fit_state_is_none(tmp_path: Path, seed: int) -> None:
    whole, path = tmp_path / "state", tmp_path / "damaged"
    if not whole.exists():
        save_state(whole, FitState(1, 20, 3.5, TENSORS), "fingerprint")
    path.write_bytes(damaged(whole.read_bytes(), seed))
    state = load_state(path, "fingerprint")
    assert state is None or state.tensors.keys() <= set(header_of(path.read_bytes()))


def test_a_teacher_file_with_impossible_numbers(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    write_teacher(path, TeacherInfo("resnet50", False), {"teacher.a": torch.tensor([1.0, float("nan")])})
    assert "impossible numbers" in refused(path, load_teacher).problem
    tensors, header = load_file(path), header_of(path.read_bytes())
    header["__metadata__"]["info"] = "{" * 99
    path.write_bytes(save(tensors, header["__metadata__"]))
    assert "description is damaged" in refused(path, load_teacher).problem


def test_a_model_file_never_fetches_or_builds_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"backbone.a": torch.ones(3)}
    fields = {**vars(INFO), "backbone": "timm:vit_giant_patch14_dinov2"}  # 1.1 billion numbers
    for embedded, said in (
        (False, "does not hold the weights"),
        (True, r"it holds 3 of the 1,\d{3},\d{3},\d{3} numbers"),
    ):
        write_model(path, ModelInfo(**{**fields, "backbone_embedded": embedded}), tensors)
        assert re.search(said, refused(path, Segmenter.load).problem)
