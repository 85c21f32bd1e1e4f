"""DICOM: what is seen, against pydicom's windowing and plain arithmetic; segmentations read back by pydicom."""

from __future__ import annotations

import io
from copy import deepcopy
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from helpers import BrightnessSegmenter
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_voi_lut
from pydicom.uid import EnhancedMRImageStorage, SecondaryCaptureImageStorage

from distillfss.errors import DataError, UsageError
from distillfss.formats.dicom import predict_dicom
from distillfss.formats.options import FormatOptions
from distillfss.io.decode import read_image
from distillfss.io.dicom import DicomImage, in_words, through_window
from distillfss.io.dicom_seg import segmentation_of
from distillfss.io.kinds import Kind, kind_of
from distillfss.notices import NoticeKind

FILES = Path(str(get_testdata_file("MR_small.dcm"))).parent


def grey(image: DicomImage, index: int = 0) -> np.ndarray:
    pixels = image.frame(index)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm"])
def test_window_as_pydicom_applies_it(name: str) -> None:
    dataset = pydicom.dcmread(FILES / name)
    windowed = apply_voi_lut(dataset.pixel_array, dataset)
    bits = dataset.BitsStored - 1  # signed values: pydicom's windows end at the ends of their range
    wanted = (windowed + 2**bits) / (2 ** (bits + 1) - 1) * 255
    np.testing.assert_allclose(grey(DicomImage(FILES / name)), wanted, atol=0.51)


def test_rescaled_values_and_a_range_in_hounsfield_units() -> None:
    dataset = pydicom.dcmread(FILES / "CT_small.dcm")
    units = dataset.pixel_array.astype(np.float64) * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    image = DicomImage(FILES / "CT_small.dcm", value_range=(-200, 300))
    np.testing.assert_allclose(grey(image), np.clip((units + 200) / 500 * 255, 0, 255), atol=0.51)
    assert image.notices == []
    assert "holds no window" in DicomImage(FILES / "CT_small.dcm").notices[0]
    said = '; --range of predict, or "range" in meta.json beside annotated images, chooses the values'
    assert DicomImage(FILES / "CT_small.dcm").notices[0].endswith(said)


def test_monochrome1_is_shown_as_its_negative(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(FILES / "MR_small.dcm")
    before = grey(DicomImage(FILES / "MR_small.dcm"))
    dataset.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(grey(DicomImage(saved(dataset, tmp_path / "a.dcm"))), 255 - before)


def test_windows_of_the_standard() -> None:
    """Centre 50, width 100: the ends and the middle of PS3.3's formulas."""
    values = np.array([-1000.0, 0.0, 49.5, 50.0, 99.0, 100.0, 1000.0])
    linear = through_window(values, 50, 100, "LINEAR")
    np.testing.assert_allclose(linear, [0, 0, 0.5, 0.5 + 0.5 / 99, 1, 1, 1], atol=1e-12)
    exact = through_window(values, 50, 100, "LINEAR_EXACT")
    np.testing.assert_allclose(exact, [0, 0, 0.495, 0.5, 0.99, 1, 1], atol=1e-12)
    sigmoid = through_window(values, 50, 100, "SIGMOID")
    np.testing.assert_allclose(sigmoid[[0, 3, 5]], [0, 0.5, 1 / (1 + np.exp(-2))], atol=1e-12)
    assert through_window(np.array([49.4, 49.6]), 50, 1, "LINEAR").tolist() == [0, 1]


def test_table_of_values(tmp_path: Path) -> None:
    """A VOI table that turns stored values 0...255 upside down."""
    dataset = pydicom.dcmread(FILES / "MR_small.dcm")
    dataset.PixelData = np.tile(np.arange(64, dtype=np.int16) * 4, (64, 1)).tobytes()
    table = Dataset()
    table.LUTDescriptor = [256, 0, 8]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = np.arange(255, -1, -1).astype(np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    dataset.VOILUTSequence = [table]
    found = grey(DicomImage(saved(dataset, tmp_path / "a.dcm")))
    np.testing.assert_array_equal(found, np.tile(255 - np.arange(64) * 4, (64, 1)))


def enhanced(frames: int = 2) -> Dataset:
    """A multi-frame file with slope and window by frame."""
    dataset = pydicom.dcmread(FILES / "MR_small.dcm")
    dataset.PixelData = np.tile(np.arange(64, dtype=np.int16), (64 * frames, 1)).tobytes()
    dataset.NumberOfFrames = frames
    del dataset.WindowCenter, dataset.WindowWidth
    groups = []
    for number in range(frames):
        group, values, window = Dataset(), Dataset(), Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1 + number, 10 * number, "US"
        window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 50, 100, "LINEAR_EXACT"
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [values], [window]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


def test_enhanced_files_keep_slope_and_window_by_frame(tmp_path: Path) -> None:
    image = DicomImage(saved(enhanced(), tmp_path / "a.dcm"))
    assert image.frames == 2
    for number in range(2):
        units = np.arange(64) * (1 + number) + 10 * number
        np.testing.assert_allclose(grey(image, number)[5], np.clip(units / 100, 0, 1) * 255, atol=0.51)


def test_enhanced_files_keep_the_size_of_a_pixel_by_frame(tmp_path: Path) -> None:
    dataset = enhanced()
    del dataset.PixelSpacing
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        measures = Dataset()
        measures.PixelSpacing = [0.5 * number, 0.25]
        group.PixelMeasuresSequence = [measures]
    done = predict_dicom(
        BrightnessSegmenter(), saved(dataset, tmp_path / "a.dcm"), tmp_path / "out", FormatOptions(masks="png")
    )
    areas = [frame.pixel_area.square_metres for frame in done.frames if frame.pixel_area]
    assert areas == pytest.approx([0.125e-6, 0.25e-6])
    wanted = sum(area * frame.pixels[1] for area, frame in zip(areas, done.frames, strict=True))
    assert done.square_metres is not None
    assert wanted > 0
    assert done.square_metres["bright"] == pytest.approx(wanted)


def test_colours() -> None:
    palette = pydicom.dcmread(str(get_testdata_file("examples_palette.dcm")))
    tables = [
        np.frombuffer(palette[f"{name}PaletteColorLookupTableData"].value, np.uint16)
        for name in ("Red", "Green", "Blue")
    ]
    wanted = np.stack([table[palette.pixel_array] for table in tables], axis=-1) / 65535 * 255
    np.testing.assert_allclose(DicomImage(str(palette.filename)).frame(0), wanted, atol=0.51)

    path = Path(str(get_testdata_file("examples_ybr_color.dcm")))
    dataset = pydicom.dcmread(path)
    first = next(generate_frames(dataset.PixelData, number_of_frames=30))
    jpeg = np.asarray(Image.open(io.BytesIO(first)).convert("RGB")).astype(int)
    assert np.abs(DicomImage(path).frame(0) - jpeg).mean() < 1.5

    deep = DicomImage(FILES / "SC_rgb_rle_16bit.dcm").frame(0)
    plain = DicomImage(FILES / "SC_rgb_rle.dcm").frame(0)
    np.testing.assert_allclose(deep.astype(int), plain, atol=1)


def segments(path: Path) -> dict[tuple[str, int], np.ndarray]:
    """(label, source frame) → (H, W) bool, by pydicom alone."""
    dataset = pydicom.dcmread(path)
    assert dataset.SOPClassUID.name == "Segmentation Storage"
    labels = {item.SegmentNumber: item.SegmentLabel for item in dataset.SegmentSequence}
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    found = {}
    for plane, group in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        frame = source.get("ReferencedFrameNumber") or 1
        found[labels[number], int(frame)] = plane.astype(bool)
    return found


def test_segmentation_of_a_slice(tmp_path: Path) -> None:
    source = pydicom.dcmread(FILES / "CT_small.dcm")
    segmenter = BrightnessSegmenter(("bone", "metal"), (100, 200))
    done = predict_dicom(segmenter, FILES / "CT_small.dcm", tmp_path / "out")
    assert done.written == [tmp_path / "out" / "CT_small.dcm"]
    wanted = segmenter.mask(DicomImage(FILES / "CT_small.dcm").frame(0))
    found = segments(done.written[0])
    assert set(found) == {("bone", 1), ("metal", 1)}
    np.testing.assert_array_equal(found["bone", 1], wanted == 1)
    np.testing.assert_array_equal(found["metal", 1], wanted == 2)
    assert done.pixels == {name: int((wanted == i).sum()) for i, name in enumerate(("background", "bone", "metal"))}
    result = pydicom.dcmread(done.written[0])
    assert result.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert (result.StudyInstanceUID, result.PatientID) == (source.StudyInstanceUID, source.PatientID)
    referenced = result.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    assert referenced.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    place = result.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    np.testing.assert_allclose(place, source.ImagePositionPatient)
    again = predict_dicom(segmenter, FILES / "CT_small.dcm", tmp_path / "again")
    assert pydicom.dcmread(again.written[0]).SOPInstanceUID == result.SOPInstanceUID


@pytest.mark.parametrize(
    ("spacing", "place", "thickness"), [(None, True, 1.0), (-2.5, True, 2.5), (None, False, 1.0), (3.0, False, 3.0)]
)
@pytest.mark.parametrize("empty", [False, True])
def test_a_segmentation_can_be_read_whatever_the_image_says_of_its_thickness(
    tmp_path: Path, spacing: float | None, place: bool, thickness: float, empty: bool
) -> None:
    dataset = pydicom.dcmread(FILES / "CT_small.dcm")
    del dataset.SliceThickness, dataset.SpacingBetweenSlices
    if empty:
        dataset.SliceThickness = None
    if not place:
        del dataset.FrameOfReferenceUID, dataset.ImagePositionPatient, dataset.ImageOrientationPatient
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    if spacing is not None:
        dataset.SpacingBetweenSlices = spacing
    path = saved(dataset, tmp_path / "a.dcm")
    segmenter = BrightnessSegmenter()
    done = predict_dicom(segmenter, path, tmp_path / "out")
    read = highdicom.seg.segread(done.written[0])
    measures = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == thickness
    assert measures.PixelSpacing == dataset.PixelSpacing
    found = read.get_pixels_by_source_instance(
        [dataset.SOPInstanceUID], combine_segments=True, ignore_spatial_locations=not place
    )
    np.testing.assert_array_equal(found[0], segmenter.mask(DicomImage(path).frame(0)))


def test_nothing_found_is_a_segmentation_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    done = predict_dicom(BrightnessSegmenter(limits=(300,)), FILES / "CT_small.dcm", tmp_path)
    assert not pydicom.dcmread(done.written[0]).pixel_array.any()
    assert caplog.records == []


def test_several_frames_as_pngs_with_overlays(tmp_path: Path) -> None:
    ticks: list[tuple[int, int]] = []
    done = predict_dicom(
        BrightnessSegmenter(),
        saved(enhanced(3), tmp_path / "scan.dcm"),
        tmp_path / "out",
        FormatOptions(masks="png", overlay=True),
        lambda step, steps: ticks.append((step, steps)),
    )
    assert done.written == [tmp_path / "out" / "scan", tmp_path / "out" / "overlays" / "scan"]
    assert [p.name for p in sorted(done.written[0].iterdir())] == ["0001.png", "0002.png", "0003.png"]
    assert [p.name for p in sorted(done.written[1].iterdir())] == ["0001.jpg", "0002.jpg", "0003.jpg"]
    third = np.asarray(Image.open(done.written[0] / "0003.png"))
    np.testing.assert_array_equal(third[0], np.arange(64) * 3 + 20 >= 50)
    assert ticks == [(1, 3), (2, 3), (3, 3)]


def test_every_file_of_pydicom_is_an_image_or_names_its_fault() -> None:
    images = 0
    faults: dict[Path, DataError] = {}
    for path in sorted(FILES.rglob("*")):
        if path.suffix not in (".dcm", "") or not path.is_file() or kind_of(path) is not Kind.DICOM:
            continue
        try:
            image = DicomImage(path)
            pixels = image.frame(image.frames - 1)
        except DataError as fault:
            faults[path] = fault
        else:
            assert pixels.shape == (*image.shape, 3)
            assert pixels.dtype == np.uint8
            images += 1
    assert images >= 75
    assert len(faults) >= 20
    assert all(fault.path == path and fault.cure for path, fault in faults.items())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MR_truncated.dcm", "cannot be decoded"),
        ("rtplan.dcm", "holds no image"),
        ("liver_1frame.dcm", "is a segmentation"),
        ("no_meta.dcm", "is no DICOM file"),
    ],
)
def test_what_is_no_image(name: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        predict_dicom(BrightnessSegmenter(), FILES / name, tmp_path / "out")
    assert caught.value.path == FILES / name


def test_no_segmentation_without_a_study_is_said_before_the_work(tmp_path: Path) -> None:
    dataset = deepcopy(pydicom.dcmread(FILES / "CT_small.dcm"))
    del dataset.StudyInstanceUID
    path = saved(dataset, tmp_path / "a.dcm")
    segmenter = BrightnessSegmenter()
    with pytest.raises(DataError, match="cannot refer to this image") as caught:
        predict_dicom(segmenter, path, tmp_path / "out")
    assert (caught.value.path, caught.value.cure) == (path, "Use --masks png")
    assert segmenter.calls == 0
    assert predict_dicom(segmenter, path, tmp_path / "out", FormatOptions(masks="png")).written[0].exists()
    with pytest.raises(UsageError, match="pictures and GeoTIFF only"):
        predict_dicom(segmenter, path, tmp_path / "out", FormatOptions(probabilities=True))


def test_several_frames_in_a_kind_of_file_that_has_one_are_not_referred_to(tmp_path: Path) -> None:
    segmenter = BrightnessSegmenter()
    with pytest.raises(DataError, match="several frames in a kind of file that has one") as caught:
        predict_dicom(segmenter, FILES / "SC_rgb_rle_2frame.dcm", tmp_path / "out")
    assert caught.value.cure == "Use --masks png"
    assert segmenter.calls == 0


def test_training_reads_the_first_frame(tmp_path: Path) -> None:
    path = saved(enhanced(), tmp_path / "a.dcm")
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, DicomImage(path).frame(0))
    assert "holds 2 frames, only the first was read" in image.notices[0]
    assert [remark.kind for remark in image.remarks] == [NoticeKind.FIRST_ONLY]


DECODED, REFERRED = "the DICOM file cannot be decoded", "a DICOM segmentation cannot refer to this image"
EMPTY = "a field of its header is empty, or holds what it cannot hold"


@pytest.mark.parametrize(
    ("name", "field", "value", "told"),
    [
        ("CT_small.dcm", "Rows", None, f"{DECODED} (Rows is missing)"),
        ("CT_small.dcm", "BitsAllocated", None, f"{DECODED} (Missing required element: (0028,0100) 'Bits Allocated')"),
        ("CT_small.dcm", "NumberOfFrames", "abc", f"{DECODED} ('abc' stands where a number should)"),
        ("CT_small.dcm", "RescaleSlope", "", f"{DECODED} ({EMPTY})"),
        ("CT_small.dcm", "RescaleSlope", "y", f"{DECODED} ({EMPTY})"),
        ("CT_small.dcm", "StudyInstanceUID", None, f"{REFERRED} (Study Instance UID is missing)"),
        ("CT_small.dcm", "ImageOrientationPatient", None, f"{REFERRED} (Image Orientation (Patient) is missing)"),
        ("CT_small.dcm", "ImagePositionPatient", "", f"{REFERRED} ({EMPTY})"),
        ("CT_small.dcm", "PixelSpacing", "a", f"{REFERRED} ('a' stands where a number should)"),
        ("CT_small.dcm", "SOPClassUID", "", f"{REFERRED} ({EMPTY})"),
        ("CT_small.dcm", "SOPClassUID", "1.2.3", f"{REFERRED} ('1.2.3' is not among what is known, or missing)"),
    ],
)
def test_what_is_wrong_with_a_header_is_told_in_words(
    name: str, field: str, value: str | None, told: str, tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(FILES / name)
    if value is None:
        delattr(dataset, field)
    else:  # as text, which pydicom would refuse to write as what it should be
        dataset.add(DataElement(tag_for_keyword(field), "UI" if field.endswith("UID") else "LO", value or None))
    with pytest.raises(DataError) as caught:
        predict_dicom(BrightnessSegmenter(), saved(dataset, tmp_path / "a.dcm"), tmp_path / "out")
    assert caught.value.problem == told


def test_functional_groups_that_are_missing_are_told_in_words(tmp_path: Path) -> None:
    dataset = enhanced()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    with pytest.raises(DataError) as caught:
        predict_dicom(BrightnessSegmenter(), saved(dataset, tmp_path / "a.dcm"), tmp_path / "out")
    assert caught.value.problem == f"{REFERRED} (Shared Functional Groups Sequence is missing)"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (AttributeError("'NoneType' object has no attribute 'group'"), "a field of its header is missing"),
        (ValueError("could not convert string to float: '5.0W'"), "'5.0W' stands where a number should"),
        (KeyError(""), EMPTY),
        (IndexError("list index out of range"), EMPTY),
        (ValueError(), EMPTY),
        (ValueError("The number of bytes\nis odd"), "The number of bytes is odd"),
        (ValueError("x" * 200), "x" * 160),
    ],
)
def test_errors_of_python_become_words(error: Exception, told: str) -> None:
    assert in_words(error) == told


def test_frames_of_a_segmentation_lie_by_position_without_the_empty_ones(tmp_path: Path) -> None:
    """As docs/formats.md says; each refers to the image's frame it is of."""

    def holding(**fields: object) -> Dataset:
        dataset = Dataset()
        for name, value in fields.items():
            setattr(dataset, name, value)
        return dataset

    dataset = pydicom.dcmread(FILES / "MR_small.dcm")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.PixelData, dataset.NumberOfFrames = 4 * dataset.PixelData, 4
    measures = holding(PixelSpacing=list(dataset.PixelSpacing), SliceThickness=1)
    turn = holding(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    dataset.SharedFunctionalGroupsSequence = [
        holding(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[turn])
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        holding(PlanePositionSequence=[holding(ImagePositionPatient=[0, 0, height])]) for height in (20, 30, 10, 0)
    ]
    masks = np.zeros((4, 64, 64), np.uint8)
    for frame in (0, 1, 3):
        masks[frame, : frame + 1] = 1
    made = segmentation_of(dataset, masks, ["bright"])
    sources = [
        group.DerivationImageSequence[0].SourceImageSequence[0] for group in made.PerFrameFunctionalGroupsSequence
    ]
    assert [source.ReferencedFrameNumber for source in sources] == [2, 1, 4]
    assert made.pixel_array.sum((1, 2)).tolist() == [2 * 64, 64, 4 * 64]
