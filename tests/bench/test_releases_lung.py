"""The pickled tables of the lung data set: read like the paper does, never run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import mini_releases
import numpy as np
import pytest

from distillfss.bench.releases import RELEASES
from distillfss.bench.releases.frames import read_frame
from distillfss.errors import DataError

LUNG = RELEASES["lung_nodules"]


def test_pictures_are_stretched_by_the_training_range(tmp_path: Path):
    """Training slices hold -1000, -500 and 0; test slices -500, 0 and 500, the last of which is clipped."""
    mini_releases.lung_nodules(tmp_path)
    read = {stem: picture for stem, picture, _ in LUNG.read(tmp_path)}
    assert {picture.shape for picture in read.values()} == {(12, 16, 3)}
    shades = {stem: np.unique(picture).tolist() for stem, picture in read.items()}
    assert shades == {
        "train_0000": [0],
        "train_0001": [127],
        "train_0002": [255],
        "test_0000": [127],
        "test_0001": [255],
        "test_0002": [255],
    }
    assert [entry.part for entry in LUNG.look(tmp_path).entries] == ["test"] * 3 + ["train"] * 3


class Malicious:
    """What unpickling would do with a file made by somebody else."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, protocol: int):
    path, ran = tmp_path / "lung_cancer_train.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Malicious(ran), protocol))
    with pytest.raises(DataError, match=r"lung_cancer_train.pkl: asks for (posix|nt).system, which a table .* not"):
        read_frame(path, ("mask",))
    assert not ran.exists()


@pytest.mark.parametrize("harmful", ["numpy.testing.measure", "numpy.load", "builtins.eval", "pandas.read_pickle"])
def test_only_the_few_names_of_a_table_are_known(tmp_path: Path, harmful: str):
    module, name = harmful.rsplit(".", 1)
    path = tmp_path / "table.pkl"
    path.write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(DataError, match=f"asks for {harmful}"):
        read_frame(path, ("mask",))


def test_tables_of_several_blocks_and_numbers_are_read_column_by_column(tmp_path: Path):
    import pandas

    table = pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [3, 4]})
    table.columns = pandas.Index(["a", "b", "c"], dtype=object)
    path = tmp_path / "table.pkl"
    table.to_pickle(path)
    found = read_frame(path, ("c", "b"))
    assert {name: column.tolist() for name, column in found.items()} == {"c": [3, 4], "b": [0.5, 1.5]}
    with pytest.raises(DataError, match=r"has no column mask, only a, b, c. Expected are mask, hu_array"):
        read_frame(path, ("mask", "hu_array"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"\x80\x04", "is no pickled table"), (pickle.dumps([1, 2]), r"is no pickled table \(it holds a list\)")],
)
def test_other_files(tmp_path: Path, content: bytes, problem: str):
    path = tmp_path / "lung_cancer_train.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_frame(path, ("mask",))
    (tmp_path / "lung_cancer_test.pkl").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        LUNG.look(tmp_path)


def test_a_mask_of_another_shape_names_its_row(tmp_path: Path):
    import pandas

    mini_releases.lung_nodules(tmp_path)
    path = next(tmp_path.rglob("lung_cancer_test.pkl"))
    table = pandas.read_pickle(path)
    table.at[1, "mask"] = np.zeros((3, 3))
    table.to_pickle(path)
    with pytest.raises(DataError, match=r"test.pkl: row 1 holds a slice of shape \(12, 16\) with a mask of shape \(3,"):
        list(LUNG.read(tmp_path))
