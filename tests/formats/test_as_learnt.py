"""Maps are read with the bands and the range a model was fitted with, whoever reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from distillfss.cli import main
from distillfss.config import FitConfig
from distillfss.errors import DataError, UsageError
from distillfss.evaluation import evaluate
from distillfss.export.pictures import read_examples
from distillfss.extending import extend, new_classes
from distillfss.fitting import fit
from distillfss.io.decode import read_image
from distillfss.io.special import bands_and_range
from distillfss.picking import pick
from distillfss.segmenter import Segmenter
from distillfss.support import LabelledFolder, Sample, SupportSet

READING = {"bands": [4, 3, 2], "range": [0, 1000]}


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Three maps of four bands, 16 bits, the annotated square bright in the fourth alone."""
    for number in range(3):
        mask = np.zeros((64, 96), np.uint8)
        mask[10:40, 10 + 9 * number : 50] = 1
        bands = np.random.default_rng(number).integers(0, 300, (4, 64, 96)).astype(np.uint16)
        bands[3][mask > 0] += 600
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
        profile = {"driver": "GTiff", "height": 64, "width": 96, "count": 4, "dtype": "uint16"}
        place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 1, 1)}
        with rasterio.open(tmp_path / "images" / f"{number}.tif", "w", **profile, **place) as dataset:
            dataset.write(bands)
    return tmp_path


@pytest.fixture
def segmenter(maps: Path) -> Segmenter:
    folder = LabelledFolder.open(maps).read_as(READING)
    samples = [Sample(str(index), folder[index].image, folder[index].mask) for index in range(len(folder))]
    return fit(SupportSet(samples, ("square",), [], READING), FitConfig(size=64, instant=True))


def seen(maps: Path, number: int = 0) -> np.ndarray:
    return read_image(maps / "images" / f"{number}.tif", (4, 3, 2), (0.0, 1000.0)).pixels


def test_a_path_given_to_the_model(maps: Path, segmenter: Segmenter) -> None:
    path = maps / "images" / "0.tif"
    assert (seen(maps) != read_image(path).pixels).any()
    np.testing.assert_array_equal(segmenter(path), segmenter(seen(maps)))
    np.testing.assert_array_equal(segmenter(path, probabilities=True)[1], segmenter(seen(maps), probabilities=True)[1])


def test_evaluation_unless_the_folder_says_otherwise(maps: Path, segmenter: Segmenter) -> None:
    def pixels(folder: Path) -> list[np.ndarray]:
        given = []

        class Watched:
            class_names = segmenter.class_names
            summary = segmenter.summary

            def predict(self, image: np.ndarray, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
                given.append(image)
                return segmenter.predict(image, sizes)

        evaluate(Watched(), folder)
        return given

    for number, image in enumerate(pixels(maps)):
        np.testing.assert_array_equal(image, seen(maps, number))
    (maps / "meta.json").write_text('{"bands": [1], "range": [0, 300]}')
    first = maps / "images" / "0.tif"
    np.testing.assert_array_equal(pixels(maps)[0], read_image(first, (1,), (0.0, 300.0)).pixels)


def test_a_map_that_lacks_the_bands_is_told_and_the_others_count(maps: Path, segmenter: Segmenter) -> None:
    path = maps / "images" / "1.tif"
    with rasterio.open(path) as dataset:
        first, profile = dataset.read([1]), {**dataset.profile, "count": 1}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(first)
    report = evaluate(segmenter, maps)
    assert [result.name for result in report.images] == ["0", "2"]
    assert [name for name, _ in report.skipped] == ["1"]
    assert "bands 4,3,2 of a file with 1" in report.skipped[0][1]
    found = pick(maps / "images", 2, model=segmenter, cache=maps / "features")
    assert [(file, said.split(".")[0]) for file, said in found.failed] == [(path, "bands 4,3,2 of a file with 1")]
    assert sorted(each.path.stem for each in found.picks) == ["0", "2"]


NEW = '{"classes": ["background", "rust"]%s}'
"""``meta.json`` of images of a class that the model does not know."""


def test_new_images_of_an_extension(
    maps: Path, segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    (maps / "meta.json").write_text(NEW % "")
    support = SupportSet.from_folder(maps, reading=segmenter.summary["reading"])
    for number, sample in enumerate(support.samples):
        np.testing.assert_array_equal(sample.image, seen(maps, number))
    assert support.reading == READING
    assert new_classes(segmenter, support).notices == support.notices == ()
    quick = FitConfig(size=64, instant=True)
    path = maps / "images" / "0.tif"
    extended = extend(segmenter, maps, quick)  # a folder is read in the same way as that
    np.testing.assert_array_equal(extended(path), extend(segmenter, support, quick)(path))
    model, out = (tmp_path_factory.mktemp("models") / name for name in ("old.safetensors", "new.safetensors"))
    segmenter.save(model)
    assert main(["extend", str(model), str(maps), "--out", str(out), "--instant", "--device", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (said,) = report["notices"]  # nothing of the reading; but these are the images of the old class
    assert "was square to the model already" in said
    np.testing.assert_array_equal(Segmenter.load(out)(path), extended(path))


@pytest.mark.parametrize(
    ("said", "reading"),
    [
        (', "range": [0, 1000]', READING),
        (', "bands": [4, 3, 2]', READING),
        (', "range": [0, 300]', {**READING, "range": [0, 300]}),
        (', "bands": [1]', {**READING, "bands": [1]}),
    ],
)
def test_what_meta_json_says_of_new_images_goes_before_the_model(
    said: str, reading: dict[str, list[int]], maps: Path, segmenter: Segmenter
) -> None:
    (maps / "meta.json").write_text(NEW % said)
    support = SupportSet.from_folder(maps, reading=segmenter.summary["reading"])
    assert support.reading == reading
    if reading == READING:
        assert new_classes(segmenter, support).notices == ()
    else:
        with pytest.raises(
            UsageError, match=r"the new images were read with .*Let meta\.json say what the model's did"
        ):
            new_classes(segmenter, support)


def test_a_new_map_that_lacks_the_models_bands_is_named(maps: Path, segmenter: Segmenter) -> None:
    (maps / "meta.json").write_text(NEW % "")
    path = maps / "images" / "1.tif"
    Image.fromarray(np.zeros((64, 96), np.uint8)).save(path, tiffinfo={42113: "7"})
    with pytest.raises(DataError, match="bands 4,3,2 of a file with 1; the model reads these") as caught:
        extend(segmenter, maps, FitConfig(size=64, instant=True))
    assert (caught.value.path, caught.value.cure) == (path, "Leave it out, or take a file that has them")
    (maps / "meta.json").write_text(NEW % ', "bands": [4, 3, 2]')
    with pytest.raises(UsageError, match="Name one band or three, from 1 to 1"):
        extend(segmenter, maps, FitConfig(size=64, instant=True))


def test_calibration_with_and_without_masks(maps: Path, segmenter: Segmenter) -> None:
    for folder in (maps, maps / "images"):
        examples = read_examples([folder], segmenter.class_names, reading=segmenter.summary["reading"])
        assert len(examples) == 3
        np.testing.assert_array_equal(examples[0].pixels, seen(maps))


@pytest.mark.parametrize("told", [None, 5, {"bands": "red"}, {"bands": [None]}, {"range": [1]}, {"range": 7}, {}])
def test_what_makes_no_sense_counts_as_nothing(told: object) -> None:
    assert bands_and_range(told) == (None, None)
