"""Prediction over folders: restartable, never overwriting, never stopping at one bad file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers import BrightnessSegmenter, disc_pair
from pictures import exif
from PIL import Image

from distillfss.errors import OutputError, UsageError
from distillfss.io.masks import read_mask
from distillfss.outputs import OutputSettings, make_outputs
from distillfss.places import open_place
from distillfss.predicting import PredictSummary, predict_images, segment_file
from distillfss.quality.judging import Answer, Judged
from distillfss.ray_predicting import SegmentBatch


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(disc_pair(number)[0]).save(folder / f"im{number}.png")
    return folder


def test_writes_one_mask_per_image(images: Path, tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    ticks: list[tuple[int, int]] = []
    summary = predict_images(
        segmenter, images, tmp_path / "new" / "out", progress=lambda done, total: ticks.append((done, total))
    )
    assert (summary.total, summary.written, summary.skipped_existing, summary.failed) == (4, 4, 0, [])
    assert sorted(path.name for path in summary.out.iterdir()) == [f"im{n}.png" for n in range(4)]
    for number in range(4):
        np.testing.assert_array_equal(read_mask(summary.out / f"im{number}.png"), disc_pair(number)[1])
    assert ticks == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_started_again_does_the_rest(images: Path, tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    out = tmp_path / "out"
    predict_images(segmenter, [images / "im1.png"], out)
    before = (out / "im1.png").stat()
    summary = predict_images(segmenter, images, out)
    assert (summary.written, summary.skipped_existing) == (3, 1)
    assert segmenter.calls == 4
    after = (out / "im1.png").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_existing_files_are_overwritten_only_when_asked(
    images: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "im2.png").write_bytes(b"precious")
    assert predict_images(segmenter, images, out).skipped_existing == 1
    assert (out / "im2.png").read_bytes() == b"precious"
    assert predict_images(segmenter, images, out, overwrite=True).written == 4
    assert read_mask(out / "im2.png").max() == 1


def test_unreadable_images_are_listed_with_the_reason(
    images: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    whole = (images / "im1.png").read_bytes()
    (images / "im1.png").write_bytes(whole[: len(whole) // 2])
    (images / "im9.jpg").write_text("this is no picture")
    summary = predict_images(segmenter, images, tmp_path / "out")
    assert summary.written == 3
    assert [path.name for path, _ in summary.failed] == ["im1.png", "im9.jpg"]
    assert all(len(reason) > 10 for _, reason in summary.failed)
    assert not (tmp_path / "out" / "im1.png").exists()
    assert summary.done == summary.total == 5
    assert summary.to_dict()["failed"][0]["image"].endswith("im1.png")


@pytest.mark.parametrize("twin", ["im1.jpg", "IM1.bmp"])
def test_same_stem_is_refused_before_anything_is_written(
    twin: str, images: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    Image.fromarray(disc_pair(9)[0]).save(images / twin)
    with pytest.raises(UsageError, match=r"would both get the mask"):
        predict_images(segmenter, images, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert segmenter.calls == 0


@pytest.mark.parametrize("overwrite", [False, True])
def test_images_are_never_written_over(images: Path, overwrite: bool, segmenter: BrightnessSegmenter) -> None:
    before = {path.name: path.read_bytes() for path in images.iterdir()}
    with pytest.raises(UsageError, match="the images are in this folder"):
        predict_images(segmenter, images, images / ".." / "images", overwrite=overwrite)
    assert {path.name: path.read_bytes() for path in images.iterdir()} == before


def test_images_in_the_folder_of_the_overlays_are_refused(
    images: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    overlays = images.rename(tmp_path / "overlays")
    with pytest.raises(UsageError, match="the images are in this folder"):
        predict_images(segmenter, overlays, tmp_path, overlay=True)
    assert predict_images(segmenter, overlays, tmp_path).written == 4


def test_extras_are_made_up_for_where_only_the_mask_is_there(
    images: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    out = tmp_path / "out"
    predict_images(segmenter, images, out)
    (out / "im0.png").write_bytes(b"precious")
    summary = predict_images(segmenter, images, out, overlay=True, probabilities=True)
    assert (summary.written, summary.skipped_existing) == (4, 0)
    assert (out / "im0.png").read_bytes() == b"precious"
    image, mask = disc_pair(0)
    with Image.open(out / "overlays" / "im0.jpg") as shown:
        assert shown.size == (image.shape[1], image.shape[0])
        assert np.abs(np.asarray(shown)[mask == 1].astype(int) - image[mask == 1]).mean() > 10
    with Image.open(out / "probabilities" / "im0.tif") as stored:
        stored.seek(1)
        np.testing.assert_array_equal(np.asarray(stored), mask * np.uint16(65535))
    assert predict_images(segmenter, images, out, overlay=True, probabilities=True).skipped_existing == 4


def test_a_failing_disk_stops_the_run_and_keeps_what_is_there(
    images: Path, tmp_path: Path, segmenter: BrightnessSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distillfss.places as places

    real = places.atomic_write

    def full_after_two(path: Path, data: bytes) -> None:
        if path.name not in ("im0.png", "im1.png"):
            raise OutputError("the disk is full", cure="Free some space", path=path)
        real(path, data)

    monkeypatch.setattr(places, "atomic_write", full_after_two)
    summary = PredictSummary(tmp_path, 0)
    with pytest.raises(OutputError, match="disk is full"):
        predict_images(segmenter, images, tmp_path / "out", summary=summary)
    assert summary.written == 2
    monkeypatch.undo()
    assert predict_images(segmenter, images, tmp_path / "out").written == 2


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 3 GiB")])
def test_too_large_for_memory_is_one_failure(
    error: Exception, images: Path, tmp_path: Path, segmenter: BrightnessSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = segmenter.predict

    def predict(pixels: np.ndarray, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
        if segmenter.calls == 1:
            segmenter.calls += 1
            raise error
        return real(pixels, sizes)

    monkeypatch.setattr(segmenter, "predict", predict)
    summary = predict_images(segmenter, images, tmp_path / "out")
    assert summary.written == 3
    assert [(path.name, reason[:17]) for path, reason in summary.failed] == [("im1.png", "not enough memory")]


def test_other_errors_of_the_model_are_not_hidden(
    images: Path, tmp_path: Path, segmenter: BrightnessSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(pixels: np.ndarray, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(segmenter, "predict", predict)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        predict_images(segmenter, images, tmp_path / "out")


def test_folder_that_cannot_be_made(images: Path, tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make this folder"):
        predict_images(segmenter, images, tmp_path / "file" / "out")


def test_broken_image_file_reports_only_itself(images: Path, tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    (images / "im0.png").unlink()
    (images / "im0.png").symlink_to(tmp_path / "gone.png")
    summary = predict_images(segmenter, images, tmp_path / "out")
    assert summary.written == 3
    assert [path.name for path, _ in summary.failed] == ["im0.png"]


ALL = ("mask", "overlay", "probabilities", "coco", "yolo", "csv")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the records, by its path."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".distillfss-records" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_images_unlike_the_support_are_named_and_leave_no_records(images: Path, tmp_path: Path) -> None:
    class Judging(BrightnessSegmenter):
        def answer(self, pixels: np.ndarray, probabilities: bool = False) -> Answer:
            odd = np.array_equal(pixels, disc_pair(2)[0])
            return Answer(self.mask(pixels), judged=Judged(0.75, 1.5 if odd else 0.5))

    summary = predict_images(Judging(), images, tmp_path / "masks")
    assert summary.unlike == [images / "im2.png"]
    assert summary.to_dict()["unlike_support"] == [str(images / "im2.png")]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [f"im{n}.png" for n in range(4)]
    summary = predict_images(Judging(), images, tmp_path / "table", outputs=["confidence"])
    assert summary.unlike == [images / "im2.png"]
    lines = (tmp_path / "table" / "confidence.csv").read_text().splitlines()
    assert lines[1:] == [f"im{n}.png,0.75,{1.5 if n == 2 else 0.5},{'yes' if n == 2 else 'no'}" for n in range(4)]
    # asked again, there is nothing to do and nobody to judge; the table stays whole
    assert predict_images(Judging(), images, tmp_path / "table", outputs=["confidence"]).unlike == []
    assert (tmp_path / "table" / "confidence.csv").read_text().splitlines() == lines


def test_all_outputs_and_what_is_told_of_them(images: Path, tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    out = tmp_path / "out"
    summary = predict_images(segmenter, images, out, outputs=ALL)
    assert summary.files == {"mask": 4, "overlay": 4, "probabilities": 4, "coco": 1, "yolo": 5, "csv": 1}
    assert summary.to_dict()["files"] == summary.files
    per_image = ("{}.png", "overlays/{}.jpg", "probabilities/{}.tif", "yolo/labels/{}.txt")
    expected = {name.format(f"im{number}") for name in per_image for number in range(4)}
    before = contents(out)
    assert set(before) == expected | {"coco.json", "yolo/data.yaml", "areas.csv"}
    again = predict_images(segmenter, images, out, outputs=ALL)
    assert (again.skipped_existing, again.files) == (4, dict.fromkeys(ALL, 0))
    assert contents(out) == before


def test_the_threads_give_what_one_image_at_a_time_gives(
    images: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    out = tmp_path / "out"
    predict_images(segmenter, images, out, outputs=ALL)
    settings = OutputSettings(segmenter.class_names)
    for path in images.iterdir():
        seen = segment_file(segmenter, path, probabilities=True, scale=True)
        for output in make_outputs(["mask", "overlay", "probabilities", "yolo"], settings):
            target = output.target(path.stem)
            assert target is not None
            assert (out / target).read_bytes() == output.encode(seen)


def test_stopped_and_started_again_ends_in_the_same_files(
    images: Path, tmp_path: Path, segmenter: BrightnessSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_images(segmenter, images, tmp_path / "whole", outputs=ALL)
    real, stops = segmenter.predict, 0

    def predict(pixels: np.ndarray, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
        nonlocal stops
        stops += 1
        if stops % 2 == 0:
            raise KeyboardInterrupt
        return real(pixels, sizes)

    monkeypatch.setattr(segmenter, "predict", predict)
    out = tmp_path / "out"
    for done in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            predict_images(segmenter, images, out, outputs=ALL)
        assert len(list(out.glob("*.png"))) == done
        assert not (out / "coco.json").exists()
        assert not list(out.rglob("*.part"))
    monkeypatch.undo()
    assert predict_images(segmenter, images, out, outputs=ALL).written == 1
    assert contents(out) == contents(tmp_path / "whole")


def test_files_about_all_images_grow_with_them(images: Path, tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    out = tmp_path / "out"
    predict_images(segmenter, [images / "im2.png"], out, outputs=["coco", "csv"])
    assert set(contents(out)) == {"coco.json", "areas.csv"}
    assert predict_images(segmenter, images, out, outputs=["coco", "csv"]).written == 3
    predict_images(segmenter, images, tmp_path / "whole", outputs=["coco", "csv"])
    assert contents(out) == contents(tmp_path / "whole")
    # other settings are another file: made anew, whatever there is
    rle = predict_images(segmenter, images, out, outputs=["coco", "csv"], coco_segmentation="rle")
    assert (rle.written, rle.files) == (4, {"coco": 1, "csv": 0})
    assert isinstance(json.loads(contents(out)["coco.json"])["annotations"][0]["segmentation"], dict)


def test_a_table_somebody_else_made_is_left_alone(images: Path, tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "areas.csv").write_text("precious")
    with pytest.raises(UsageError, match=r"areas\.csv is there already"):
        predict_images(segmenter, images, tmp_path / "out", outputs=["mask", "csv"])
    assert contents(tmp_path / "out") == {"areas.csv": b"precious"}
    predict_images(segmenter, images, tmp_path / "out", outputs=["mask", "csv"], overwrite=True)
    assert contents(tmp_path / "out")["areas.csv"].startswith(b"image,frame,width")


def test_metres_per_pixel_need_no_second_look(images: Path, tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    out = tmp_path / "out"
    predict_images(segmenter, images, out, outputs=["csv"])
    calls = segmenter.calls
    predict_images(segmenter, images, out, outputs=["csv"], metres_per_pixel=0.5)
    assert segmenter.calls == calls
    assert contents(out)["areas.csv"].splitlines()[1].endswith(b",0.25,--metres-per-pixel")


@pytest.mark.parametrize("names", [["mask", "jpeg"], [], [""]])
def test_outputs_that_do_not_exist(
    names: list[str], images: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    with pytest.raises(UsageError, match="output"):
        predict_images(segmenter, images, tmp_path / "out", outputs=names)
    assert not (tmp_path / "out").exists()


def test_pages_of_a_raster_that_are_passed_over_are_told(tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    """Taken as a picture, as on a cluster; that its values were stretched is no news there."""
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "map.tif"
    pages = 200 * np.stack([disc_pair(seed)[0] for seed in (2, 3, 4)]).astype(np.uint16)
    tifffile.imwrite(path, pages, photometric="rgb", extratags=[(42113, "s", 0, "0", True)])
    summary = predict_images(segmenter, tmp_path / "images", tmp_path / "out")
    told = f"{path}: holds 3 pages, only the first was read; split it to use the others"
    assert (summary.written, summary.notices) == (1, [told])


def test_frames_that_are_passed_over_are_told(tmp_path: Path, segmenter: BrightnessSegmenter) -> None:
    frames = [Image.fromarray(disc_pair(seed)[0]) for seed in range(3)]
    (tmp_path / "images").mkdir()
    film = tmp_path / "images" / "film.gif"
    frames[0].save(film, save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "images" / "still.png")
    summary = predict_images(segmenter, tmp_path / "images", tmp_path / "out", outputs=["mask", "csv"])
    told = f"{film}: holds several pages or frames, only the first was read; split it to use the others"
    assert (summary.written, summary.notices) == (2, [told])
    (records,) = (tmp_path / "out" / ".distillfss-records").iterdir()
    assert "only the first" not in records.read_text()


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """Pictures that are read with a change, two of most kinds, and one that is not."""
    folder = tmp_path / "converted"
    folder.mkdir()
    pixels, disc = disc_pair(0)
    Image.fromarray(pixels).save(folder / "as_it_is.png")
    for number, orientation in enumerate((6, 8)):
        Image.fromarray(pixels).save(folder / f"phone{number}.jpg", exif=exif(orientation), quality=95)
        Image.fromarray(pixels[..., 0].astype(np.uint16) * (100 + number)).save(folder / f"deep{number}.png")
    Image.fromarray(np.dstack([pixels, np.where(disc, 255, 0).astype(np.uint8)])).save(folder / "see_through.png")
    Image.fromarray(pixels).convert("CMYK").save(folder / "print.jpg", quality=95)
    return folder


def test_what_was_changed_to_read_pictures_is_told_once_of_all_alike(
    converted: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    summary = predict_images(segmenter, converted, tmp_path / "out", outputs=["mask", "csv"])
    assert (summary.written, summary.notices) == (7, [])
    deep, phone, cmyk, clear = summary.converted.lines
    assert deep.startswith(f"{converted / 'deep0.png'}: 16-bit values ")
    assert deep.endswith("; save it as 8 bit to choose the scale yourself (and 1 more image likewise)")
    assert cmyk.startswith(f"{converted / 'print.jpg'}: CMYK was converted to RGB without a colour profile")
    assert cmyk.endswith("save the picture as RGB for exact colours")
    assert phone == (
        f"{converted / 'phone0.jpg'}: turned upright as its EXIF orientation says; the mask is that of the upright "
        "picture (and 1 more image likewise)"
    )
    share = 100 * float((disc_pair(0)[1] == 0).mean())
    assert clear.startswith(f"{converted / 'see_through.png'}: {share:.3g} % of the pixels are transparent")
    with Image.open(tmp_path / "out" / "phone0.png") as mask:
        assert mask.size == (60, 80)
    # nothing of it is recorded, so that a run that is started again goes on as ever
    (records,) = (tmp_path / "out" / ".distillfss-records").iterdir()
    assert "converted" not in records.read_text().replace(str(converted), "")
    again = predict_images(segmenter, converted, tmp_path / "out", outputs=["mask", "csv"])
    assert (again.skipped_existing, again.converted.lines) == (7, [])


def test_a_worker_of_a_cluster_tells_what_was_changed(
    converted: Path, tmp_path: Path, segmenter: BrightnessSegmenter
) -> None:
    worker = object.__new__(SegmentBatch)  # without Ray, which hands it the model
    worker.place, worker.class_names, worker.segmenter = open_place(str(tmp_path)), ("bright",), segmenter
    worker.outputs = dict(zip(["csv"], make_outputs(["csv"], OutputSettings(("bright",))), strict=True))
    columns = {"root": "", "image": str(converted / "phone1.jpg"), "wanted": "csv", "number": 0}
    (outcome,) = worker({name: np.array([value]) for name, value in columns.items()})["outcome"]
    told = "turned upright as its EXIF orientation says; the mask is that of the upright picture"
    assert json.loads(outcome) == {"seen": {"converted": [told]}}
    (records,) = (tmp_path / ".distillfss-records").iterdir()
    assert "EXIF" not in records.read_text()
