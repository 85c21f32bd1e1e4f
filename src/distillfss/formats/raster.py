"""GeoTIFF in, GeoTIFF out: any size, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import OutputError, UsageError
from distillfss.formats.options import PNG, FormatOptions, Prediction, Tick
from distillfss.io.areas import Ground
from distillfss.io.extras import optional
from distillfss.io.files import TEMPORARY_PREFIX, atomic_path, atomic_write, make_folder
from distillfss.io.geo import RasterSource, gdal
from distillfss.io.geo_write import BLOCK, CLASSES_TAG, PROBABILITY_NODATA, mask_tags, new_raster
from distillfss.io.masks import IGNORE
from distillfss.io.opening import quiet
from distillfss.io.polygons import refuse_placeless, write_polygons
from distillfss.tiles.engine import PROBABILITY_ONE, segment_strips
from distillfss.tiles.plan import overlap_pixels
from distillfss.tiles.scores import CanSegment, scores_of, tile_side

OVERLAY_SIDE = 2048
"""The overlay is a picture to look at: the raster with its longer side shrunk to this."""


def raster_targets(path: Path, out: Path, options: FormatOptions) -> list[Path]:
    """The files ``predict_raster`` writes, the mask first."""
    targets = [out / f"{path.stem}.{'png' if options.masks == PNG else 'tif'}"]
    targets += [out / f"{path.stem}.{kind}" for kind in options.polygons]
    if options.probabilities:
        targets.append(out / "probabilities" / f"{path.stem}.tif")
    if options.overlay:
        targets.append(out / "overlays" / f"{path.stem}.jpg")
    return targets


def predict_raster(
    segmenter: CanSegment,
    path: str | Path,
    out: str | Path,
    options: FormatOptions | None = None,
    tick: Tick | None = None,
) -> Prediction:
    """Segment a raster by tiles.

    The mask has place, size and coordinate system of the raster, 0 for background, i + 1 for ``class_names[i]``, and
    255, declared as nodata, where the raster holds none. Tiles lie on a grid fixed to the map, so that overlapping
    rasters agree, except within a tile's side of their borders.

    Parameters
    ----------
    segmenter
        The model.
    path
        A GeoTIFF, or any TIFF, PNG or JPEG however large.
    out
        Folder for ``STEM.tif``, with ``STEM.geojson`` or ``STEM.gpkg``, ``probabilities/STEM.tif`` (one band per class,
        0 to 65534) and ``overlays/STEM.jpg`` on request.
    options
        Tiles, bands, polygons, ...
    tick
        Told about every tile.

    Raises
    ------
    DataError
        The file cannot be read, or rasterio is not installed.
    UsageError
        A mask that is to be left alone is that of a model with other classes, or of another map.
    OutputError
        Something cannot be written; nothing that existed was changed.
    """
    path, out, options = Path(path), Path(out), options or FormatOptions()
    tile = tile_side(segmenter, options.tile or None)
    targets = raster_targets(path, out, options)
    kept = options.left_alone(targets)
    wanted = {target for target in targets if target not in kept}
    for folder in {target.parent for target in targets}:
        make_folder(folder)
    likely = out / "probabilities" / f"{path.stem}.tif"
    polygons = {}
    with RasterSource(path, options.bands, options.value_range) as source, ExitStack() as stack:
        counts = _Counts(["background", *segmenter.class_names], Ground.of(source.dataset))
        for kind in options.polygons:  # shows before the work, which may take hours, not after
            refuse_placeless(source.dataset, kind, path)
        as_png = options.masks == PNG
        native = targets[0]
        if not as_png and native not in wanted:
            _refuse_other_mask(native, segmenter.class_names, source)
        if as_png or (native not in wanted and likely in wanted):
            native = (
                Path(stack.enter_context(TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=out))) / f"{path.stem}.tif"
            )
        if as_png or {native, likely} & wanted or native not in targets:
            places = native, likely if likely in wanted else None
            _segment(segmenter, source, places, counts, tile, overlap_pixels(tile, options.overlap), tick)
        else:  # a mask that is there already is taken as it is
            _count(native, counts)
        for kind in options.polygons:
            target = out / f"{path.stem}.{kind}"
            if target in wanted:
                polygons[kind] = write_polygons(native, target, segmenter.class_names, path)
        drawn = out / "overlays" / f"{path.stem}.jpg"
        if drawn in wanted:
            atomic_write(drawn, _overlay(source, native))
        if as_png and targets[0] in wanted:
            _as_png(native, targets[0])
    details: dict[str, Any] = {"tile": tile, "bands": list(source.bands)}
    if source.value_range is not None:
        details["range"] = list(source.value_range)
    if polygons:
        details["polygons"] = polygons
    return Prediction(
        targets,
        source.notices,
        counts.pixels(),
        counts.square_metres(),
        source.shape,
        details=details,
        kept=kept,
    )


def _segment(
    segmenter: CanSegment,
    source: RasterSource,
    places: tuple[Path, Path | None],
    counts: _Counts,
    tile: int,
    overlap: int,
    tick: Tick | None,
) -> None:
    """Write the mask and, if there is a place for them, the probabilities."""
    mask_file, likely_file = places
    names = ["background", *segmenter.class_names]
    mask_options: dict[str, Any] = {
        "bands": 1,
        "dtype": "uint8",
        "nodata": IGNORE,
        "tags": mask_tags(segmenter.class_names),
    }
    likely_options: dict[str, Any] = {
        "bands": len(names),
        "dtype": "uint16",
        "nodata": PROBABILITY_NODATA,
        "tags": {"DISTILLFSS_SCALE": f"0 to {PROBABILITY_ONE} stand for probabilities 0 to 1"},
        "names": names,
    }
    with ExitStack() as files:
        mask = files.enter_context(new_raster(mask_file, source.dataset, **mask_options))
        likely = None
        if likely_file is not None:
            likely = files.enter_context(new_raster(likely_file, source.dataset, **likely_options))
        for strip in segment_strips(
            source,
            scores_of(segmenter),
            len(segmenter.class_names),
            tile=tile,
            overlap=overlap,
            origin=source.origin,
            probabilities=likely is not None,
            tick=tick,
        ):
            mask.write(strip.labels)
            if likely is not None and strip.probabilities is not None:
                strip.probabilities[:, strip.labels == IGNORE] = PROBABILITY_NODATA
                likely.write(strip.probabilities)
            counts.add(strip.labels, strip.row)


def _refuse_other_mask(mask: Path, class_names: Sequence[str], source: RasterSource) -> None:
    """Polygons, areas and overlays made from a mask that exists get the names of the model's classes, and its place."""
    with gdal(mask) as rasterio, quiet(), rasterio.open(mask) as dataset:
        theirs = dataset.tags().get(CLASSES_TAG, "unknown")
        same_grid = dataset.shape == source.shape and dataset.transform.almost_equals(source.dataset.transform)
        elsewhere = not same_grid or dataset.crs != source.dataset.crs
    if theirs != mask_tags(class_names)[CLASSES_TAG]:
        problem = f"with other classes than the model's ({theirs})"
    elif elsewhere:
        problem = "of other ground: its size, place or coordinate system is not the image's"
    else:
        return
    raise UsageError(
        f"the mask {mask} is there already, {problem}",
        cure="Choose another folder, or add --overwrite",
        path=source.path,
    )


def _count(mask: Path, counts: _Counts) -> None:
    """The classes of a mask raster."""
    with gdal(mask) as rasterio, rasterio.open(mask) as dataset:
        for row in range(0, dataset.height, BLOCK):
            labels = dataset.read(1, window=((row, min(row + BLOCK, dataset.height)), (0, dataset.width)))
            counts.add(labels, row)


class _Counts:
    """Pixels and square metres of every class: no two pixels of a map need cover the same area."""

    ROWS = 64
    """Of a strip that are taken to be alike."""

    def __init__(self, names: Sequence[str], ground: Ground | None) -> None:
        self._names, self._ground = names, ground
        self._pixels = np.zeros(256, np.int64)
        self._metres = np.zeros(256)

    def add(self, labels: NDArray[np.uint8], row: int) -> None:
        """Labels (h, W) of whole rows, from this one on."""
        self._pixels += np.bincount(labels.ravel(), minlength=256)
        for start in range(0, len(labels), self.ROWS):
            some = labels[start : start + self.ROWS]
            areas = None if self._ground is None else self._ground.row_areas(row + start + len(some) // 2)
            if areas is None:
                self._ground = None
                return
            weights = np.broadcast_to(areas, some.shape).ravel()
            self._metres += np.bincount(some.ravel(), weights, minlength=256)

    def pixels(self) -> dict[str, int]:
        counted = {name: int(self._pixels[value]) for value, name in enumerate(self._names)}
        return {**counted, "nodata": int(self._pixels[IGNORE])} if self._pixels[IGNORE] else counted

    def square_metres(self) -> dict[str, float] | None:
        if self._ground is None:
            return None
        return {name: float(f"{self._metres[value]:.10g}") for value, name in enumerate(self._names)}


def _as_png(mask: Path, out: Path) -> None:
    """Convert a mask raster to PNG in strips, with its palette."""
    shutil, rasterio = optional("rasterio.shutil"), optional("rasterio")
    with atomic_path(out) as temporary, rasterio.Env(GDAL_PAM_ENABLED=False):
        try:
            shutil.copy(mask, temporary, driver="PNG")
        except rasterio.errors.RasterioError as error:
            raise OutputError(
                f"could not be written ({error.__cause__ or error})",
                cure="Free some space, then run it again",
                path=out,
            ) from error


def _overlay(source: RasterSource, mask: Path) -> bytes:
    from distillfss.report.overlay import encode_jpeg, overlay

    window = source.shrunk(OVERLAY_SIDE)
    with gdal(mask) as rasterio, rasterio.open(mask) as dataset:
        labels = dataset.read(1, out_shape=window.pixels.shape[:2])
    return encode_jpeg(overlay(window.pixels, labels))
