"""Official releases of data sets, turned into the layout that everything here reads.

``RELEASES`` lists them. Importing it opens no file and needs nothing beyond NumPy and Pillow.
"""

from __future__ import annotations

from distillfss.bench.releases import (
    deepglobe,
    dsb2018,
    evican,
    industrial,
    isic2018,
    kvasir_seg,
    lung_nodules,
    phenobench,
    pothole_mix,
    weedmap,
)
from distillfss.bench.releases.base import Release

RELEASES: dict[str, Release] = {
    "weedmap": weedmap.RELEASE,
    "dsb2018": dsb2018.RELEASE,
    "kvasir_seg": kvasir_seg.RELEASE,
    "lung_nodules": lung_nodules.RELEASE,
    "isic2018": isic2018.RELEASE,
    "pothole_mix": pothole_mix.RELEASE,
    "pothole_mix_cracks": pothole_mix.CRACKS,
    "industrial": industrial.RELEASE,
    "industrial_fold0": industrial.FOLD_RELEASES[0],
    "industrial_fold1": industrial.FOLD_RELEASES[1],
    "industrial_fold2": industrial.FOLD_RELEASES[2],
    "industrial_fold3": industrial.FOLD_RELEASES[3],
    "deepglobe": deepglobe.RELEASE,
    "phenobench": phenobench.RELEASE,
    "evican": evican.RELEASE,
}
"""By name, those of the paper first."""
