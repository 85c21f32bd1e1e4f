"""Evaluation: the headline over all pixels, per image rows, classes by name, unreadable pairs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import BrightnessSegmenter, write_pair
from test_artifact import make_segmenter

from distillfss.class_matching import match_classes
from distillfss.errors import DataError, ModelFileError
from distillfss.evaluation import evaluate
from distillfss.support import LabelledFolder, Sample, SupportSet


class Pairs:
    """Labelled images in memory; an entry may be an error to raise."""

    def __init__(self, entries: list[Sample | DataError], class_names: tuple[str, ...] = ("bright",)) -> None:
        self.entries = entries
        self.class_names = class_names
        self.names = tuple(f"pair{i}" for i in range(len(entries)))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int, /) -> Sample:
        entry = self.entries[index]
        if isinstance(entry, DataError):
            raise entry
        return entry


def pair(name: str, predicted: list[list[int]], truth: list[list[int]], scale: int = 1) -> Sample:
    """An image on which ``BrightnessSegmenter`` predicts ``predicted`` (0 or 1), with its truth."""
    grey = np.kron(np.array(predicted, np.uint8) * 255, np.ones((scale, scale), np.uint8))
    mask = np.kron(np.array(truth, np.uint8), np.ones((scale, scale), np.uint8))
    return Sample(name, np.repeat(grey[:, :, None], 3, axis=2), mask)


def test_headline_is_iou_of_summed_counts_not_mean_of_ious(segmenter: BrightnessSegmenter) -> None:
    small = pair("small", [[1, 0]], [[1, 1]])  # TP 1, FN 1
    large = pair("large", [[1, 1], [1, 1]], [[1, 1], [1, 0]], scale=10)  # TP 300, FP 100
    result = evaluate(segmenter, Pairs([small, large]))
    assert result.foreground_iou == pytest.approx(301 / 402)
    # At 384×384 both images weigh the same: 147,456 pixels, half and three quarters of them found.
    assert result.foreground_iou_384 == pytest.approx((0.5 + 0.75) / 2)
    assert [image.own.mean("iou") for image in result.images] == [0.5, 0.75]
    assert [(image.height, image.width) for image in result.images] == [(1, 2), (20, 20)]


def test_baseline_and_document(segmenter: BrightnessSegmenter) -> None:
    result = evaluate(segmenter, Pairs([pair("a", [[1, 0, 0, 0]], [[1, 0, 0, 255]], scale=4)]))
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["foreground_iou"] == 1.0
    assert document["baseline"]["prediction"] == "every pixel bright"
    assert document["baseline"]["foreground_iou"] == pytest.approx(1 / 3)
    assert document["baseline"]["foreground_iou_384"] == pytest.approx(1 / 3)
    assert document["at_own_size"]["per_class"]["bright"]["pixels"] == 16
    assert document["images"] == 1
    assert document["skipped"] == document["notices"] == []


def test_image_without_the_class_has_no_score(segmenter: BrightnessSegmenter, tmp_path: Path) -> None:
    empty = pair("empty", [[0, 0]], [[0, 0]])
    half = pair("half", [[1, 0]], [[1, 1]])
    alarm = pair("alarm", [[1, 0]], [[0, 0]])
    result = evaluate(segmenter, Pairs([empty, half, alarm]))
    assert math.isnan(result.images[0].own.mean("iou"))
    assert result.foreground_iou == pytest.approx(1 / 3)
    assert [row["iou"] for row in result.to_dict()["per_image"]] == [None, 0.5, 0.0]
    assert [image.name for image in result.worst(3)] == ["alarm", "half", "empty"]
    result.write_csv(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["image"], row["iou"], row["skipped"]) for row in rows] == [
        ("empty", "", ""),
        ("half", "0.5", ""),
        ("alarm", "0.0", ""),
    ]


def test_class_absent_everywhere_is_left_out_and_said_so() -> None:
    two = BrightnessSegmenter(("dim", "bright"), (100, 300))
    result = evaluate(two, Pairs([pair("a", [[1, 0]], [[1, 0]])], ("dim", "bright")))
    assert result.foreground_iou == 1.0
    assert result.notices == ("neither in the masks nor predicted, so left out of the mean: bright",)
    assert result.to_dict()["at_own_size"]["per_class"]["bright"]["iou"] is None


def test_worst_breaks_ties_by_wrong_pixels(segmenter: BrightnessSegmenter) -> None:
    few = pair("few", [[0, 0]], [[1, 0]])
    many = pair("many", [[0, 0]], [[1, 0]], scale=5)
    assert [image.name for image in evaluate(segmenter, Pairs([few, many])).worst(1)] == ["many"]


def test_unreadable_pairs_are_listed_and_skipped(segmenter: BrightnessSegmenter, tmp_path: Path) -> None:
    broken = DataError("is truncated", cure="Copy it again", path="x.png")
    ticks: list[tuple[int, int]] = []
    result = evaluate(
        segmenter,
        Pairs([broken, pair("good", [[1, 0]], [[1, 0]])]),
        progress=lambda done, total: ticks.append((done, total)),
    )
    assert result.skipped == (("pair0", "x.png: is truncated. Copy it again"),)
    assert result.foreground_iou == 1.0
    assert result.images[0].index == 1
    assert "1 of 2 images could not be read" in result.notices[0]
    assert ticks == [(0, 2), (1, 2), (2, 2)]
    result.write_csv(tmp_path / "rows.csv")
    assert "pair0,,,,,,,,,x.png: is truncated. Copy it again" in (tmp_path / "rows.csv").read_text()


def test_nothing_readable_is_an_error(segmenter: BrightnessSegmenter) -> None:
    with pytest.raises(DataError, match=r"not one labelled image can be used: x.png: is truncated"):
        evaluate(segmenter, Pairs([DataError("is truncated", cure="Copy it again", path="x.png")]))


def test_classes_are_matched_by_name(make_labelled: Callable[..., Path]) -> None:
    table, notices = match_classes(("a", "b"), ("b", "a"))
    assert (table[[0, 1, 2, 3, 255]].tolist(), notices) == ([0, 2, 1, 0, 255], [])


def test_unknown_class_is_background_and_said_so() -> None:
    table, notices = match_classes(("b",), ("a", "b", "c"))
    assert table[[0, 1, 2, 3, 255]].tolist() == [0, 0, 1, 0, 255]
    assert notices == ["the model does not know a, c: counted as background"]


def test_names_that_are_nearly_those_of_the_model_are_told() -> None:
    table, notices = match_classes(("Crop", "soil"), ("crop", "soil", "sky"), partial=True)
    assert table[[1, 2, 3]].tolist() == [0, 2, 0]
    assert notices == [
        "the model does not know crop, sky: counted as background; if crop is the model's Crop, name it like that"
    ]
    with pytest.raises(DataError, match=r"the model's Crop, Weed is not among .* \(crop, weed, sky\)") as caught:
        match_classes(("Crop", "Weed"), ("crop", "weed", "sky"))
    assert caught.value.cure.endswith("; if crop, weed are the model's Crop, Weed, name them like that")
    with pytest.raises(DataError) as caught:
        match_classes(("Crop", "crop"), ("crop", "sky"))  # crop is a class of its own
    assert "name it like that" not in caught.value.cure


def test_names_of_composed_and_decomposed_letters_match() -> None:
    table, notices = match_classes(("O\u0308l", "b"), ("b", "\u00d6l"))
    assert (table[[1, 2]].tolist(), notices) == ([2, 1], [])


def test_a_folder_may_be_annotated_for_some_of_the_classes_where_that_is_meant() -> None:
    table, notices = match_classes(("a", "b"), ("b",), partial=True)
    assert (table[[0, 1, 2, 255]].tolist(), notices) == ([0, 2, 0, 255], [])
    for folder, partial in ((("c",), True), (("b",), False)):
        with pytest.raises(DataError, match="is not among the masks' classes"):
            match_classes(("a", "b"), folder, partial=partial)


@pytest.mark.parametrize("folder", [("class_1", "class_2"), ("class_1",)])
def test_made_up_names_go_by_position(folder: tuple[str, ...]) -> None:
    table, notices = match_classes(("a", "b"), folder)
    assert table[1 : len(folder) + 1].tolist() == list(range(1, len(folder) + 1))
    assert notices == ["the masks' classes have no names, taken in the model's order: a, b"]


def test_other_classes_are_an_error_with_the_folder(
    segmenter: BrightnessSegmenter, make_labelled: Callable[..., Path]
) -> None:
    folder = make_labelled(classes=["weed"])
    with pytest.raises(DataError, match=r"model's bright is not among the masks' classes \(weed\)") as caught:
        evaluate(segmenter, folder)
    assert caught.value.path == folder
    assert "meta.json" in caught.value.cure


@pytest.mark.parametrize("kind", [str, Path, LabelledFolder.open, SupportSet.from_folder])
def test_folder_path_and_support_set_agree(kind: Callable[[Path], object], make_labelled: Callable[..., Path]) -> None:
    disc = BrightnessSegmenter(("disc",), (150,))
    result = evaluate(disc, kind(make_labelled(count=2)))  # type: ignore[arg-type]
    assert result.foreground_iou == 1.0
    assert [image.name for image in result.images] == ["disc000", "disc001"]


def test_a_models_file_stands_for_the_model(make_labelled: Callable[..., Path], tmp_path: Path) -> None:
    model, folder = make_segmenter(ways=1, size=64), make_labelled("data", count=2)
    model.info = replace(model.info, class_names=("disc",))
    model.class_names = ("disc",)
    model.save(tmp_path / "m.safetensors")
    wanted = evaluate(model, folder)
    assert wanted.own.wrong > 0
    for given in (tmp_path / "m.safetensors", str(tmp_path / "m.safetensors")):
        assert evaluate(given, folder).to_dict()["at_own_size"] == wanted.to_dict()["at_own_size"]
    with pytest.raises(ModelFileError, match=r"none\.safetensors: there is no such file"):
        evaluate(tmp_path / "none.safetensors", folder)


def test_order_of_classes_in_the_folder_does_not_matter(tmp_path: Path) -> None:
    two = BrightnessSegmenter(("dim", "bright"), (50, 200))
    image = np.repeat(np.array([[0, 100, 255, 255]], np.uint8)[:, :, None], 3, axis=2)
    sample = Sample("a", image, np.array([[0, 2, 1, 1]], np.uint8))
    result = evaluate(two, Pairs([sample], ("bright", "dim")))
    assert result.own.iou.tolist() == [1.0, 1.0]
    assert result.own.to_dict()["per_class"]["bright"]["pixels"] == 2


def test_chosen_classes_are_evaluated_by_their_names(tmp_path: Path) -> None:
    model = BrightnessSegmenter(("bright", "dim"), (200, 100))
    image = np.repeat(np.array([[0, 150, 250, 250]], np.uint8)[:, :, None], 3, axis=2)
    write_pair(tmp_path / "f", "a", image, np.array([[0, 1, 2, 2]], np.uint8))
    (tmp_path / "f" / "meta.json").write_text('{"classes": ["background", "dim", "bright"]}')
    wanted = evaluate(model, tmp_path / "f")
    for classes in (["dim", "bright"], ["bright", "dim"]):
        result = evaluate(model, LabelledFolder.open(tmp_path / "f", classes))
        assert result.own.to_dict() == wanted.own.to_dict()
        assert result.own.to_dict()["per_class"]["bright"]["pixels"] == 2
    only = evaluate(BrightnessSegmenter(("bright",), (200,)), LabelledFolder.open(tmp_path / "f", ["bright"]))
    assert only.own.iou.tolist() == [1.0]


@pytest.mark.parametrize("meta", [None, {"classes": ["background", "dim", "bright"]}])
@pytest.mark.parametrize("classes", [None, ["dim", "bright"], ["bright", "dim"]])
def test_white_masks_say_nothing_of_several_classes(meta: object, classes: list[str] | None, tmp_path: Path) -> None:
    model = BrightnessSegmenter(("dim", "bright"), (50, 200))
    folder, image = tmp_path / "f", np.full((4, 8, 3), 60, np.uint8)
    white = np.array([[0, 0, 0, 0, 255, 255, 255, 255]] * 4, np.uint8)
    write_pair(folder, "a", image, white)
    write_pair(folder, "b", image, white * 0)
    if meta is not None:
        (folder / "meta.json").write_text(json.dumps(meta))

    def read() -> LabelledFolder:
        return LabelledFolder.open(folder, classes)

    with pytest.raises(
        DataError, match=r"no mask of the whole folder .* foreground \(255 means ignore here\)"
    ) as caught:
        evaluate(model, read())
    assert caught.value.path == folder
    assert ("1 bright, 2 dim" if classes == ["bright", "dim"] else "1 dim, 2 bright") in caught.value.cure
    (folder / "meta.json").write_text(json.dumps({**(meta or {}), "ignore_index": 255}))
    assert evaluate(model, read()).own.iou.tolist()[0] == 0  # 48 pixels of false alarm
    write_pair(folder, "a", image, white * 0)
    (folder / "meta.json").write_text(json.dumps(meta or {}))
    assert evaluate(model, read()).own.wrong == 64  # masks of 0 alone are a test of false alarms
    write_pair(folder, "c", image, np.where(white > 0, 255, 1).astype(np.uint8))
    write_pair(folder, "a", image, white)
    assert len(evaluate(model, read()).images) == 3


def test_masks_nobody_named_are_read_with_the_models_names(tmp_path: Path) -> None:
    """One mask with a value that is no class of the model: it alone is skipped, by name; the others are evaluated."""
    for name, values in (("a", [0, 1]), ("b", [0, 255]), ("c", [0, 255]), ("d", [0, 7, 255])):
        mask = np.zeros((8, 12), np.uint8)
        for column, value in enumerate(values):
            mask[:, 4 * column : 4 * column + 4] = value
        if name != "a":
            write_pair(tmp_path / "f", name, np.where(mask[..., None] > 0, 250, 5).repeat(3, 2).astype(np.uint8), mask)
    result = evaluate(BrightnessSegmenter(), tmp_path / "f")
    assert [row.name for row in result.images] == ["b", "c"]
    assert result.foreground_iou == pytest.approx(1.0)
    ((name, reason),) = result.skipped
    assert name == "d"
    assert "mask value 7 without a class name" in reason
    assert any("have no names, taken in the model's order" in note for note in result.notices)
