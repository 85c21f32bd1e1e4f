"""``pick`` on folders of drawn images of a few kinds."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from rasterio.transform import from_origin

from distillfss.backbones import load_backbone
from distillfss.cli import main
from distillfss.errors import DataError, UsageError
from distillfss.io.decode import read_image
from distillfss.picking import cache, pick, picking
from distillfss.picking.descriptors import comparable, described_layers
from distillfss.picking.uncertainty import uncertainty

KINDS = {"stripes": 12, "blobs": 8, "plain": 5}


def draw(kind: str, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:96, :120]
    if kind == "stripes":
        values = 127 + 100 * np.sin(columns / random.uniform(2.5, 3.5) + random.uniform(0, 6))
        colour = (1.0, 0.4, 0.3)
    elif kind == "blobs":
        values = np.full((96, 120), 30.0)
        for _ in range(6):
            y, x, r = random.uniform(10, 85), random.uniform(10, 110), random.uniform(6, 9)
            values[(rows - y) ** 2 + (columns - x) ** 2 < r * r] = 220
        colour = (0.3, 1.0, 0.5)
    else:
        values, colour = np.full((96, 120), random.uniform(120, 180)), (0.8, 0.8, 1.0)
    noisy = values[..., None] * np.array(colour) + random.normal(0, 3, (96, 120, 3))
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(picking, "default_folder", lambda: tmp_path / "cache")
    out = tmp_path / "pool"
    out.mkdir()
    for kind, count in KINDS.items():
        for number in range(count):
            Image.fromarray(draw(kind, number)).save(out / f"{kind}{number:02d}.png")
    return out


def kinds(selection) -> list[str]:
    return [p.path.stem[:-2] for p in selection.picks]


def test_one_image_of_every_kind_the_most_frequent_first(folder):
    found = pick(folder, 3)
    assert kinds(found) == ["stripes", "blobs", "plain"]
    assert [p.stands_for for p in found.picks] == [12, 8, 5]
    assert found.images == 25
    assert found.failed == []


def test_what_is_annotated_is_not_picked_again_and_its_kind_comes_last(folder):
    have = [draw("stripes", 0), draw("stripes", 1)]
    found = pick(folder, 2, annotated=have)
    assert kinds(found) == ["blobs", "plain"]
    rest = pick(folder, 25, annotated=have)
    assert not {"stripes00", "stripes01"} & {p.path.stem for p in rest.picks}


def test_nothing_is_picked_where_all_is_annotated_already(folder):
    have = [draw(kind, number) for kind, count in KINDS.items() for number in range(count)]
    with pytest.raises(DataError, match=r"all of the images are annotated already\. Give more images"):
        pick(folder, 2, annotated=have)
    (last,) = pick(folder, 2, annotated=have[:-1]).picks
    assert last.path.name == "plain04.png"


class Doubtful:
    """Sure of everything but of dark images with bright blobs."""

    def logits(self, pixels: np.ndarray) -> torch.Tensor:
        margin = 0.0 if np.median(pixels) < 30 else 20.0
        return torch.stack([torch.full((4, 4), margin), torch.zeros(4, 4)])[None]


def test_images_the_model_is_unsure_of_weigh_more(folder):
    found = pick(folder, 1, model=Doubtful())
    assert kinds(found) == ["blobs"]
    assert found.picks[0].doubt == pytest.approx(1.0)


def test_uncertainty_is_one_minus_the_margin():
    class Model:
        def logits(self, pixels):
            probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0001]])
            return probabilities.log().T[None, :, :, None]

    assert uncertainty(Model(), np.zeros((2, 2, 3), np.uint8)) == pytest.approx((0.5 + 1.0) / 2, abs=1e-3)


def test_copies_saved_again_are_told_and_never_picked_together(folder):
    for name in ("blobs00", "blobs01"):
        Image.open(folder / f"{name}.png").save(folder / f"{name}_again.jpg", quality=95)
    found = pick(folder, 20)
    assert [(a.name, b.name) for a, b in found.twins] == [
        ("blobs00_again.jpg", "blobs00.png"),
        ("blobs01_again.jpg", "blobs01.png"),
    ]
    assert not {p.path.suffix for p in found.picks} & {".jpg"}


def test_files_that_cannot_be_read_are_listed_and_the_rest_is_picked(folder):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    found = pick([*sorted(folder.iterdir()), folder / "gone.png"], 3)
    assert sorted(path.name for path, _ in found.failed) == ["broken.png", "gone.png"]
    assert kinds(found) == ["stripes", "blobs", "plain"]


def test_an_unchanged_image_is_looked_at_once(folder, monkeypatch):
    looked = []
    real = picking.describe
    monkeypatch.setattr(picking, "describe", lambda network, pixels: looked.append(1) or real(network, pixels))
    first = pick(folder, 4)
    assert len(looked) == 25
    Image.fromarray(draw("blobs", 77)).save(folder / "blobs00.png")
    pick(folder, 4)
    assert len(looked) == 26
    Image.fromarray(draw("blobs", 0)).save(folder / "blobs00.png")
    assert [p.path for p in pick(folder, 4).picks] == [p.path for p in first.picks]


def test_two_names_of_one_file_do_not_shift_the_features_of_those_after_them(folder, tmp_path):
    (folder / "blobs00_link.png").symlink_to("blobs00.png")
    network = load_backbone("efficientnet_lite0")
    for _ in range(2):  # anew, and from the cache
        store = cache.DescriptorCache(tmp_path / "features", "one")
        paths = [*sorted(folder.iterdir()), folder / "gone.png"]
        known, rows, failed = picking._descriptors(paths, lambda p: read_image(p).pixels, network, store, print)
        assert known == paths[:-1]
        assert [path for path, _ in failed] == paths[-1:]
        for path, row in zip(known, rows, strict=True):
            np.testing.assert_array_equal(row, picking.describe(network, read_image(path).pixels))


def test_maps_are_read_with_the_bands_of_the_model(tmp_path):
    class OfBand4:
        summary: ClassVar = {"reading": {"bands": [4]}}

        def logits(self, pixels: np.ndarray) -> torch.Tensor:
            seen.append(int(pixels.max()))
            return torch.zeros(1, 2, 4, 4)

    for number in range(3):
        bands = np.zeros((4, 64, 64), np.uint8)
        bands[3] = 100 + number
        place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 1, 1)}
        profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 4, "dtype": "uint8", **place}
        with rasterio.open(tmp_path / f"{number}.tif", "w", photometric="MINISBLACK", **profile) as dataset:
            dataset.write(bands)
    seen: list[int] = []
    pick(tmp_path, 1, model=OfBand4(), cache=tmp_path / "features")
    assert seen == [100, 101, 102]
    seen.clear()
    pick(tmp_path, 1, model=OfBand4(), cache=tmp_path / "features", bands=[1, 2, 3])
    assert seen == [0, 0, 0]


def test_a_damaged_cache_counts_as_empty(tmp_path):
    image = tmp_path / "a.png"
    image.write_bytes(b"x")
    store = cache.DescriptorCache(tmp_path / "cache", "one")
    store.put(image, np.arange(3, dtype=np.float32))
    store.save()
    np.testing.assert_array_equal(cache.DescriptorCache(tmp_path / "cache", "one").get(image), [0, 1, 2])
    assert cache.DescriptorCache(tmp_path / "cache", "two").get(image) is None
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:40])
    assert cache.DescriptorCache(tmp_path / "cache", "one").get(image) is None


def test_comparable_descriptors_weigh_layers_alike():
    from distillfss.backbones import load_backbone

    layers = load_backbone("efficientnet_lite0").layers
    chosen = described_layers(layers)
    assert [layers[index].stride for index in chosen] == [16, 16, 32, 32]
    width = 2 * sum(layers[index].channels for index in chosen)
    raw = np.random.default_rng(0).normal(3, 50, (200, width)).astype(np.float32)
    points = comparable(raw, layers)
    # every layer adds 2 to the mean squared distance of two images
    distances = ((points[:100] - points[100:]) ** 2).sum(1)
    assert distances.mean() == pytest.approx(2 * len(chosen), rel=0.05)


def test_errors_name_the_cure(folder, tmp_path):
    with pytest.raises(UsageError, match="Pick 1 or more"):
        pick(folder, 0)
    with pytest.raises(DataError, match="none of the images can be read"):
        pick([tmp_path / "gone.png"], 1)


def test_the_verb_writes_a_folder_to_annotate(folder, tmp_path, capsys):
    out = tmp_path / "todo"
    assert main(["pick", str(folder), "-n", "3", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    picked = [Path(p["image"]) for p in document["picks"]]
    assert sorted(p.name for p in (out / "images").iterdir()) == sorted(p.name for p in picked)
    assert all((out / "images" / p.name).read_bytes() == p.read_bytes() for p in picked)
    assert list((out / "masks").iterdir()) == []
    with (out / "picked.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["rank"], row["stands_for"]) for row in rows] == [("1", "12"), ("2", "8"), ("3", "5")]
    sheet = Image.open(out / "contact_sheet.jpg")
    assert sheet.width == 2 * (256 + 12) + 12
    assert main(["pick", str(folder), "--out", str(out)]) == 5
    assert "exists already and is not empty" in capsys.readouterr().err


def test_a_support_in_any_format_counts_less(folder, tmp_path, capsys):
    """Supervisely's own meta.json is none of ours; the kinds that it shows come last."""
    project = tmp_path / "project"
    for part in ("img", "ann"):
        (project / part).mkdir(parents=True)
    classes = [{"title": "stem", "shape": "polygon", "color": "#FF0000"}]
    (project / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    annotated = folder / "stripes00.png"
    (project / "img" / "a.png").write_bytes(annotated.read_bytes())
    points = {"exterior": [[5, 5], [40, 5], [40, 40]], "interior": []}
    stem = {"classTitle": "stem", "geometryType": "polygon", "points": points}
    annotation = {"size": {"height": 96, "width": 120}, "objects": [stem]}
    (project / "ann" / "a.png.json").write_text(json.dumps(annotation))
    assert main(["pick", str(folder), "-n", "99"]) == 0
    assert str(annotated) in capsys.readouterr().out.splitlines()
    for words in ([], ["--format", "supervisely"]):
        assert main(["pick", str(folder), "-n", "99", "--support", str(project), *words]) == 0
        picked = capsys.readouterr().out.splitlines()
        assert len(picked) > 10
        assert str(annotated) not in picked
    assert main(["pick", str(folder), "-n", "2", "--support", str(project), "--format", "coco"]) == 3
    assert "holds no COCO JSON file" in capsys.readouterr().err


def test_where_all_are_picked_no_others_are_spoken_of(folder, tmp_path, capsys):
    some = tmp_path / "some"
    some.mkdir()
    for name, path in zip("ab", sorted(folder.glob("*.png"))[::9], strict=False):
        (some / f"{name}.png").write_bytes(path.read_bytes())
    assert main(["pick", str(some), "-n", "5"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "2 of 2 images; 5 were asked for"


def test_what_to_do_next_depends_on_whether_there_is_a_support_already(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["pick", str(folder), "-n", "2", "--out", str(first)]) == 0
    assert f"distillfss fit {first} --out model.safetensors" in capsys.readouterr().err
    (tmp_path / "model.safetensors").touch()
    assert main(["pick", str(folder), "-n", "2", "--out", str(tmp_path / "again")]) == 0
    assert f"distillfss fit {tmp_path / 'again'} --out model-2.safetensors" in capsys.readouterr().err
    assert main(["pick", str(folder), "-n", "2", "--support", str(first), "--out", str(second)]) == 0
    said = capsys.readouterr().err
    assert f"put them together with {first} in one folder to fit" in said
    assert f"distillfss fit {second}" not in said


def test_an_image_that_cannot_be_read_makes_the_exit_code_3_and_the_folder_is_made(folder, tmp_path, capsys):
    (folder / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "todo"
    assert main(["pick", str(folder), "-n", "2", "--out", str(out), "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert [Path(failed["image"]).name for failed in document["failed"]] == ["broken.png"]
    assert len(list((out / "images").iterdir())) == 2


def test_pictures_in_sub_folders_are_not_passed_over_without_a_word(folder, tmp_path, capsys):
    (folder / "more").mkdir()
    Image.fromarray(draw("plain", 9)).save(folder / "more" / "a.png")
    for name in ("first", "second"):  # what was picked before is not to be picked from
        assert main(["pick", str(folder), "-n", "2", "--out", str(folder / name)]) == 0
        (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
        assert told == (
            f"note: {folder}: pictures in 1 sub-folder (more) are left out; "
            f"this pattern takes them, too: '{folder}/**/*'"
        )
    assert main(["pick", str(folder), "-n", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notices"] == [told.removeprefix("note: ")]
    assert main(["pick", str(folder / "*.png"), "-n", "2", "--json"]) == 0
    assert "notices" not in json.loads(capsys.readouterr().out)
