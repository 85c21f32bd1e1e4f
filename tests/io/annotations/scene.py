"""A scene of drawn objects, its mask by brute force (shapely, pixel by pixel), and folders of every format."""

from __future__ import annotations

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from PIL import Image
from pycocotools import mask as coco_mask
from shapely.geometry import MultiPolygon, Polygon

HEIGHT, WIDTH = 60, 83
Drawing = tuple[str, "Polygon | MultiPolygon | np.ndarray"]


def star(x: float, y: float, radius: float, points: int, seed: int) -> Polygon:
    """An irregular star-shaped polygon, so simple (no crossing)."""
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, points))
    reach = radius * random.uniform(0.5, 1, points)
    # three decimals, as tools write them
    return Polygon(np.round(np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], 1), 3))


def brushed(seed: int) -> np.ndarray:
    """A brushed area (HEIGHT, WIDTH) with holes, several parts and single pixels."""
    random = np.random.default_rng(seed)
    return np.asarray(Image.fromarray(random.random((10, 14))).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)) > 0.6


@dataclass(frozen=True)
class Scene:
    """Images by name, each with its objects in their order; ``holes`` says whether polygons may have some."""

    drawings: dict[str, list[Drawing]]

    @property
    def names(self) -> list[str]:
        return sorted(self.drawings)


def scene(*, holes: bool, bitmaps: bool, parts: bool) -> Scene:
    """Two images of the classes leaf and stem, the second overlapping the first."""
    drawings: dict[str, list[Drawing]] = {}
    for number, name in enumerate(("a", "b")):
        big = star(30, 28, 26, 17, number)
        hole = star(30, 28, 8, 6, 50 + number).intersection(star(30, 28, 9, 9, 60 + number).convex_hull)
        leaf: Polygon | MultiPolygon = Polygon(big.exterior.coords, [hole.exterior.coords]) if holes else big
        if parts:
            leaf = MultiPolygon([leaf, star(70, 10, 8, 7, 30 + number)])
        objects: list[Drawing] = [("leaf", leaf), ("stem", star(52, 40, 22, 12, 10 + number))]
        if bitmaps:
            objects.append(("leaf", brushed(number) & (np.arange(WIDTH) > 50)))
        # reaches beyond the image on two sides
        objects.append(("stem", star(2, 58, 12, 9, 20 + number)))
        drawings[name] = objects
    return Scene(drawings)


def polygons(shape: Polygon | MultiPolygon) -> list[Polygon]:
    return list(shape.geoms) if isinstance(shape, MultiPolygon) else [shape]


def covered(shape: Polygon | MultiPolygon | np.ndarray, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Which pixel centres lie in a shape, one by one."""
    if isinstance(shape, np.ndarray):
        return shape
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.asarray(shapely.contains_xy(shape, columns, rows))


def expected(objects: Sequence[Drawing], names: Sequence[str] = ("leaf", "stem")) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for label, shape in objects:
        mask[covered(shape)] = names.index(label) + 1
    return mask


def write_images(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")


def ring(points: object) -> list[list[float]]:
    """Points of a shapely ring without the last, which repeats the first."""
    return [list(point) for point in list(points.coords)[:-1]]  # type: ignore[attr-defined]


def png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


def cropped(mask: np.ndarray) -> tuple[int, int, np.ndarray]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def runs(flat: np.ndarray) -> list[int]:
    """Run lengths, background first."""
    changes = np.flatnonzero(np.diff(flat.astype(int))) + 1
    bounds = np.concatenate([[0], changes, [flat.size]])
    return ([0] if flat[0] else []) + np.diff(bounds).tolist()


def coco(folder: Path, made: Scene) -> None:
    write_images(folder / "images", made.names)
    images, annotations = [], []
    for number, name in enumerate(made.names):
        images.append({"id": number, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH})
        for place, (label, shape) in enumerate(made.drawings[name]):
            if isinstance(shape, np.ndarray):
                packed = coco_mask.encode(np.asfortranarray(shape.astype(np.uint8)))
                plain = {"size": [HEIGHT, WIDTH], "counts": runs(shape.T.ravel())}
                segmentation = plain if number else {"size": packed["size"], "counts": packed["counts"].decode()}
            else:
                segmentation = [np.ravel(ring(part.exterior)).tolist() for part in polygons(shape)]
            annotations.append(
                {
                    "id": 10 * number + place,
                    "image_id": number,
                    "category_id": {"leaf": 3, "stem": 7}[label],
                    "iscrowd": int(isinstance(shape, np.ndarray)),
                    "segmentation": segmentation,
                }
            )
    categories = [{"id": 7, "name": "stem"}, {"id": 3, "name": "leaf"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))


def labelme(folder: Path, made: Scene) -> None:
    write_images(folder, made.names)
    for name in made.names:
        shapes = []
        for label, shape in made.drawings[name]:
            if isinstance(shape, np.ndarray):
                top, left, pixels = cropped(shape)
                corners = [[left, top], [left + pixels.shape[1] - 1, top + pixels.shape[0] - 1]]
                text = base64.b64encode(png(pixels)).decode()
                shapes.append({"label": label, "points": corners, "shape_type": "mask", "mask": text})
            else:
                shapes += [
                    {"label": label, "points": ring(part.exterior), "shape_type": "polygon"} for part in polygons(shape)
                ]
        content = {"shapes": shapes, "imagePath": f"..\\x\\{name}.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
        (folder / f"{name}.json").write_text(json.dumps({"version": "5.5.0", **content, "imageData": None}))


def cvat(folder: Path, made: Scene) -> None:
    write_images(folder / "images", made.names)
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations><version>1.1</version><meta><job><labels>"]
    lines += [f"<label><name>{name}</name></label>" for name in ("leaf", "stem")]
    lines.append("</labels></job></meta>")
    for number, name in enumerate(made.names):
        lines.append(f'<image id="{number}" name="{name}.png" width="{WIDTH}" height="{HEIGHT}">')
        objects = []
        for order, (label, shape) in enumerate(made.drawings[name]):
            rest = f'label="{label}" occluded="0" z_order="{order}"'
            if isinstance(shape, np.ndarray):
                top, left, pixels = cropped(shape)
                rle = ", ".join(map(str, runs(pixels.ravel())))
                place = f'left="{left}" top="{top}" width="{pixels.shape[1]}" height="{pixels.shape[0]}"'
                objects.append(f'<mask rle="{rle}" {place} {rest}></mask>')
            for part in [] if isinstance(shape, np.ndarray) else polygons(shape):
                points = ";".join(f"{x},{y}" for x, y in ring(part.exterior))
                objects.append(f'<polygon points="{points}" {rest}></polygon>')
        lines += [*reversed(objects), "</image>"]  # z_order decides, not the place in the file
    (folder / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))


def yolo(folder: Path, made: Scene) -> None:
    write_images(folder / "images" / "train", made.names)
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "data.yaml").write_text("path: .\ntrain: images/train\nnames:\n  0: leaf\n  1: stem\n")
    for name in made.names:
        lines = []
        for label, shape in made.drawings[name]:
            assert not isinstance(shape, np.ndarray)
            for part in polygons(shape):
                shares = (np.array(ring(part.exterior)) / (WIDTH, HEIGHT)).ravel()
                lines.append(" ".join([str(("leaf", "stem").index(label)), *map(repr, shares.tolist())]))
        (folder / "labels" / "train" / f"{name}.txt").write_text("\n".join(lines) + "\n")


def brush(mask: np.ndarray) -> list[int]:
    """Label Studio's packing, every value a run of one, eight bits of length at most: the format allows it."""
    rgba = np.repeat(mask.astype(np.uint8).ravel() * 255, 4)
    bits = [f"{rgba.size:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in (3, 4, 8, 16))]
    value = bool(rgba[0])
    for length in runs(rgba > 0)[int(rgba[0] > 0) :]:
        while length > 0:
            now = min(length, 256)
            bits.append(f"1{2:02b}{now - 1:08b}{255 if value else 0:08b}")
            length -= now
        value = not value
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


def label_studio(folder: Path, made: Scene) -> None:
    write_images(folder / "images", made.names)
    tasks = []
    for number, name in enumerate(made.names):
        results = []
        for label, shape in made.drawings[name]:
            size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
            if isinstance(shape, np.ndarray):
                value = {"format": "rle", "rle": brush(shape), "brushlabels": [label]}
                results.append({"type": "brushlabels", "value": value, **size})
            for part in [] if isinstance(shape, np.ndarray) else polygons(shape):
                points = (np.array(ring(part.exterior)) / (WIDTH, HEIGHT) * 100).tolist()
                value = {"points": points, "closed": True, "polygonlabels": [label]}
                results.append({"type": "polygonlabels", "value": value, **size})
        path = f"/data/upload/1/0a1b2c3d-{name}.png" if number else f"/data/local-files/?d=pictures/{name}.png"
        old = {"result": [], "was_cancelled": False, "updated_at": "2020-01-01T00:00:00Z"}
        new = {"result": results, "was_cancelled": False, "updated_at": "2024-01-01T00:00:00Z"}
        tasks.append({"id": number, "data": {"image": path}, "annotations": [new, old], "predictions": []})
    (folder / "project.json").write_text(json.dumps(tasks))


def supervisely(folder: Path, made: Scene) -> None:
    write_images(folder / "ds0" / "img", made.names)
    (folder / "ds0" / "ann").mkdir()
    classes = [{"title": name, "shape": "any", "color": "#ff0000"} for name in ("leaf", "stem")]
    (folder / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    for name in made.names:
        objects = []
        for label, shape in made.drawings[name]:
            if isinstance(shape, np.ndarray):
                top, left, pixels = cropped(shape)
                data = base64.b64encode(zlib.compress(png(pixels))).decode()
                bitmap = {"data": data, "origin": [left, top]}
                objects.append({"classTitle": label, "geometryType": "bitmap", "bitmap": bitmap})
            for part in [] if isinstance(shape, np.ndarray) else polygons(shape):
                points = {"exterior": ring(part.exterior), "interior": [ring(each) for each in part.interiors]}
                objects.append({"classTitle": label, "geometryType": "polygon", "points": points})
        content = {"description": "", "tags": [], "size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}
        (folder / "ds0" / "ann" / f"{name}.png.json").write_text(json.dumps(content))


def imagej(folder: Path, made: Scene) -> None:
    from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

    write_images(folder / "images", made.names)
    (folder / "rois").mkdir()
    for name in made.names:
        with zipfile.ZipFile(folder / "rois" / f"{name}.zip", "w") as archive:
            for number, (label, shape) in enumerate(made.drawings[name]):
                assert not isinstance(shape, np.ndarray)
                parts = polygons(shape)
                rings = [each for part in parts for each in (part.exterior, *part.interiors)]
                if len(rings) == 1:
                    roi = ImagejRoi.frompoints(np.array(ring(rings[0]), np.float32))
                else:
                    path: list[float] = []
                    for each in rings:
                        points = ring(each)
                        path += [0, *points[0]] + [v for p in points[1:] for v in (1, *p)] + [4]
                    left, top, right, bottom = (round(v) for v in shape.bounds)
                    roi = ImagejRoi(
                        roitype=ROI_TYPE.RECT,
                        options=ROI_OPTIONS(0),
                        left=left,
                        top=top,
                        right=right,
                        bottom=bottom,
                        shape_roi_size=len(path),
                        multi_coordinates=np.array(path, np.float32),
                    )
                roi.version = 228
                roi.group = {"leaf": 2, "stem": 5}[label]
                archive.writestr(f"{number:04d}.roi", roi.tobytes())


def geojson(folder: Path, made: Scene) -> None:
    write_images(folder / "images", made.names)
    (folder / "annotations").mkdir()
    for number, name in enumerate(made.names):
        features = []
        for label, shape in made.drawings[name]:
            assert not isinstance(shape, np.ndarray)
            properties = {"objectType": "annotation", "classification": {"name": label, "color": [1, 2, 3]}}
            geometry = shapely.geometry.mapping(shape)
            features.append({"type": "Feature", "id": "x", "geometry": geometry, "properties": properties})
        content = features if number else {"type": "FeatureCollection", "features": features}
        (folder / "annotations" / f"{name}.geojson").write_text(json.dumps(content))


WRITERS: dict[str, tuple[Callable[[Path, Scene], None], dict[str, bool]]] = {
    "coco": (coco, {"holes": False, "bitmaps": True, "parts": True}),
    "labelme": (labelme, {"holes": False, "bitmaps": True, "parts": True}),
    "cvat": (cvat, {"holes": False, "bitmaps": True, "parts": True}),
    "yolo": (yolo, {"holes": False, "bitmaps": False, "parts": True}),
    "label-studio": (label_studio, {"holes": False, "bitmaps": True, "parts": True}),
    "supervisely": (supervisely, {"holes": True, "bitmaps": True, "parts": True}),
    "imagej": (imagej, {"holes": True, "bitmaps": False, "parts": True}),
    "geojson": (geojson, {"holes": True, "bitmaps": False, "parts": True}),
}
