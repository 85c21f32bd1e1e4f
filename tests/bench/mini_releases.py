"""Official releases in miniature: their folders, file names, encodings and tables, a few pictures each."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

ISIC_KINDS = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)


def photo(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def box(value: int, top: int, left: int, height: int, width: int, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    """(H, W) uint8: ``value`` in one rectangle, else 0."""
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = value
    return mask


def paint(mask: np.ndarray, table: dict[int, tuple[int, int, int]]) -> np.ndarray:
    rgb = np.zeros((*mask.shape, 3), np.uint8)
    for value, colour in table.items():
        rgb[mask == value] = colour
    return rgb


def weedmap(root: Path) -> dict[str, np.ndarray]:
    """Two tiles of map 000, one of 003 and one outside the map; expected masks by stem."""
    expected = {}
    for seed, (name, frame) in enumerate([("000", "frame0000"), ("000", "frame0001"), ("003", "frame0000")]):
        mask = box(1, 1, 1, 4, 5) + box(2, 7, 2 + seed, 3, 3)
        _weedmap_tile(root, name, frame, photo(seed), mask)
        expected[f"{name}_{frame}"] = mask
    _weedmap_tile(root, "003", "frame0001", np.zeros((12, 16, 3), np.uint8), np.zeros((12, 16), np.uint8))
    (root / "Orthomosaic" / "RedEdge" / "000").mkdir(parents=True)
    return expected


def _weedmap_tile(root: Path, name: str, frame: str, rgb: np.ndarray, mask: np.ndarray) -> None:
    base = root / "Tiles" / "RedEdge" / name
    for plane, channel in enumerate("RGB"):
        save(base / "tile" / channel / f"{frame}.png", np.ascontiguousarray(rgb[..., plane]))
    save(base / "mask" / f"{frame}.png", np.where(rgb.any(axis=2), 0, 255).astype(np.uint8))
    raw = np.array([0, 10000, 2], np.uint16)[mask]
    save(base / "groundtruth" / f"{name}_{frame}_GroundTruth_iMap.png", raw)
    save(base / "groundtruth" / f"{name}_{frame}_GroundTruth_color.png", paint(mask, {1: GREEN, 2: RED}))


def dsb2018(root: Path) -> dict[str, np.ndarray]:
    """Overlapping nuclei, one with a hole; RGBA pictures as in the release."""
    expected = {}
    first, second = box(255, 1, 1, 5, 6), box(255, 4, 5, 5, 6)
    ring = box(255, 8, 11, 4, 4) - box(255, 9, 12, 2, 2)
    for seed, (name, masks) in enumerate({"00ae": [first, second], "01b4": [ring]}.items()):
        folder = root / "stage1_train" / name
        save(folder / "images" / f"{name}.png", np.dstack([photo(seed), np.full((12, 16), 255, np.uint8)]))
        for number, mask in enumerate(masks):
            save(folder / "masks" / f"{number:064x}.png", mask)
        expected[name] = (np.sum([mask > 0 for mask in masks], axis=0) > 0).astype(np.uint8)
    (root / "stage1_train_labels.csv").write_text("ImageId,EncodedPixels\n")
    return expected


def kvasir_seg(root: Path) -> dict[str, np.ndarray]:
    """Masks of whole 8x8 blocks, so that JPEG keeps black and white almost as they are."""
    base, expected, boxes = root / "Kvasir-SEG", {}, {}
    for seed, name in enumerate(["cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4"]):
        mask = box(1, 8, 8 * seed, 16, 16, (40, 48))
        save(base / "images" / f"{name}.jpg", photo(seed, 40, 48), quality=95)
        # 40 and 215 for black and white: what compression does to a mask, only stronger
        shades = np.where(mask == 1, 215, 40).astype(np.uint8)
        save(base / "masks" / f"{name}.jpg", np.repeat(shades[..., None], 3, axis=2), quality=95)
        corners = {"label": "polyp", "xmin": 8 * seed, "ymin": 8, "xmax": 8 * seed + 15, "ymax": 23}
        boxes[name] = {"height": 40, "width": 48, "bbox": [corners]}
        expected[name] = mask
    (base / "kavsir_bboxes.json").write_text(json.dumps(boxes))
    return expected


def isic2018(root: Path) -> dict[str, np.ndarray]:
    """One lesion of each of the paper's kinds and one of another kind; names in the table with their suffix."""
    kinds = {"ISIC_0000000": "NV", "ISIC_0000004": "MEL", "ISIC_0000017": "BKL", "ISIC_0000018": "DF"}
    expected = {}
    for seed, (name, kind) in enumerate(kinds.items()):
        mask = box(255, 2, 3, 6, 7 + seed)
        save(root / "ISIC2018_Task1-2_Training_Input" / f"{name}.jpg", photo(seed))
        save(root / "ISIC2018_Task1_Training_GroundTruth" / f"{name}_segmentation.png", mask)
        if kind != "DF":
            expected[name] = (mask > 0).astype(np.uint8) * (["NV", "MEL", "BKL"].index(kind) + 1)
    (root / "ISIC2018_Task1-2_Training_Input" / "LICENSE.txt").write_text("")
    with (root / "ISIC_2019_Training_GroundTruth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *ISIC_KINDS])
        for name, kind in [*kinds.items(), ("ISIC_0099999", "SCC")]:
            row = f"{name}_downsampled" if name == "ISIC_0000017" else name
            writer.writerow([row, *(f"{float(kind == column)}" for column in ISIC_KINDS)])
    return expected


def pothole_mix(root: Path) -> dict[str, np.ndarray]:
    """A red and a green area in every mask; the same stem in two sources and in two parts; expected: 1 red, 2 green."""
    expected = {}
    files = {
        ("training", "crack500", "0215.JPG"): "training",
        ("training", "pothole600", "0215.png"): "training",
        ("validation", "gaps384", "train_1227.jpg"): "",
        ("testing", "pothole600", "0300.png"): "",
        ("training", "cnr-road-dataset", "007.jpg"): "train",
        ("testing", "cnr-road-dataset", "007.jpg"): "test",
    }
    for seed, ((part, source, name), _) in enumerate(files.items()):
        mask = box(1, 1, 1, 4, 5) + box(2, 7, 2 + seed, 3, 3)
        stem = Path(name).stem
        folder = root / "pothole-mix" / part / source
        save(folder / "images" / name, photo(seed))
        save(folder / "masks" / f"{stem}.png", paint(mask, {1: RED, 2: GREEN}))
        twice = {"training": "train__", "testing": "test__"}[part] if source == "cnr-road-dataset" else ""
        expected[f"{twice}{source}__{stem}"] = mask
    (root / "pothole-mix" / "readme.txt").write_text("")
    return expected


def industrial(root: Path) -> dict[str, np.ndarray]:
    """Five classes with one picture each, masks as 8-bit and as 24-bit bitmaps."""
    names = ["capsule", "hazelnut", "screw", "tile", "wood"]
    expected, bad = {}, {}
    for value, name in enumerate(names, start=1):
        mask = box(255 if value % 2 else 1, 2, 2, 3 + value, 4)
        path = root / "data" / name / "bad" / "000.png"
        save(path, photo(value))
        save(path.with_suffix(".bmp"), mask if value % 2 else np.repeat(mask[..., None], 3, axis=2))
        bad[name] = {"bad": [f"data/{name}/bad/000.png"], "good": [f"data/{name}/good/000.png"]}
        expected[f"{name}__bad__000"] = (mask > 0).astype(np.uint8) * value
    (root / "data.json").write_text(json.dumps({"clsName": names, "clsDic": bad}))
    return expected


def deepglobe(root: Path) -> dict[str, np.ndarray]:
    """All seven colours, some of them not pure; a picture without a mask in another folder."""
    colours = {
        1: (0, 255, 255),
        2: (255, 255, 0),
        3: (255, 0, 255),
        4: (0, 255, 0),
        5: (0, 0, 255),
        6: (255, 255, 255),
        255: (0, 0, 0),
    }
    mask = np.repeat(np.array(list(colours), np.uint8)[None], 12, axis=0).repeat(2, axis=1)
    rgb = paint(mask, colours)
    rgb[0] = np.clip(rgb[0], 3, 240)
    save(root / "train" / "119_sat.jpg", photo(0, 12, 14))
    save(root / "train" / "119_mask.png", rgb)
    save(root / "valid" / "204_sat.jpg", photo(1, 12, 14))
    return {"119": mask}


def phenobench(root: Path) -> dict[str, np.ndarray]:
    """Masks of 8 and of 16 bits with all five numbers; a test part without labels."""
    expected = {}
    raw = np.repeat(np.arange(5)[None], 12, axis=0).repeat(3, axis=1)
    for part, name, kind in (
        ("train", "05-15_00028_P0030852", np.uint8),
        ("val", "05-26_00051_P0034172", np.uint16),
    ):
        save(root / "PhenoBench" / part / "images" / f"{name}.png", photo(len(expected), 12, 15))
        save(root / "PhenoBench" / part / "semantics" / f"{name}.png", raw.astype(kind))
        save(root / "PhenoBench" / part / "plant_instances" / f"{name}.png", raw.astype(np.uint16))
        expected[name] = np.array([0, 1, 2, 1, 2], np.uint8)[raw]
    save(root / "PhenoBench" / "test" / "images" / "06-05_00001_P0037913.png", photo(7, 12, 15))
    return expected


def evican(root: Path) -> dict[str, np.ndarray]:
    """Overlapping cells, a nucleus listed before its cell, a ring as run lengths, a background picture."""
    first, second, nucleus = box(1, 1, 1, 6, 6), box(1, 4, 5, 6, 6), box(1, 2, 2, 2, 2)
    ring = box(1, 2, 2, 8, 8) - box(1, 4, 4, 4, 4)
    categories = [{"id": 1, "name": "Cell"}, {"id": 2, "name": "Nucleus"}]

    def polygon(top: int, left: int, height: int, width: int) -> list[list[float]]:
        right, bottom = left + width, top + height
        return [[left, top, right, top, right, bottom, left, bottom]]

    columns = ring.T.ravel()  # run lengths go down the columns and begin with zeros
    changes = np.flatnonzero(np.diff(columns)) + 1
    lengths = np.diff([0, *changes.tolist(), columns.size]).tolist()
    parts = {
        "train": (
            "10_HeLa.jpg",
            [
                (2, polygon(2, 2, 2, 2)),
                (1, polygon(1, 1, 6, 6)),
                (1, polygon(4, 5, 6, 6)),
            ],
            np.where(nucleus > 0, 2, (first | second).astype(np.uint8)).astype(np.uint8),
        ),
        "val": ("20_A549.jpg", [(1, {"size": [12, 16], "counts": lengths})], ring),
    }
    expected = {}
    for part, (name, instances, mask) in parts.items():
        images = [
            {"id": 5, "file_name": name, "height": 12, "width": 16},
            {"id": 6, "file_name": "10_Background.jpg", "height": 12, "width": 16},
        ]
        annotations = [
            {"id": number, "image_id": 5, "category_id": kind, "segmentation": area, "iscrowd": 0}
            for number, (kind, area) in enumerate(instances)
        ]
        folder = root / "Images" / f"EVICAN_{part}2019"
        save(folder / name, photo(len(expected)))
        save(folder / "10_Background.jpg", photo(9))
        table = root / "annotations_EVICAN2" / f"instances_{part}2019_EVICAN2.json"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
        expected[Path(name).stem] = mask
    return expected


def lung_nodules(root: Path) -> dict[str, np.ndarray]:
    """Two pickled tables written by pandas itself, as by version 2 (columns of objects)."""
    import pandas

    folder = root / "Lung cancer segmentation dataset with Lung-RADS class"
    folder.mkdir(parents=True)
    expected = {}
    for part, shift in {"train": 0, "test": 500}.items():
        slices = [np.full((12, 16), -1000.0 + 500 * row + shift) for row in range(3)]
        masks = [box(1, row, 2, 3, 4).astype(np.int64) for row in range(3)]
        columns = {"label1": ["2", "3", "4A"], "mask": masks, "hu_array_old": slices, "hu_array": slices}
        table = pandas.DataFrame({name: pandas.Series(each, dtype=object) for name, each in columns.items()})
        table.columns = pandas.Index(list(columns), dtype=object)
        table.to_pickle(folder / f"lung_cancer_{part}.pkl")
        expected |= {f"{part}_{row:04d}": mask.astype(np.uint8) for row, mask in enumerate(masks)}
    return expected
