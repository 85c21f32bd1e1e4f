"""Figures other people published, for a table of their own: measured elsewhere, on other splits, not mixed with ours.

Foreground IoU in per cent at 384 px. The authors print the best of several runs, chosen on the test set.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "README and result.ipynb of github.com/pasqualedem/DistillFSS, the code of DistillFSS (arXiv 2512.05613)"


@dataclass(frozen=True)
class Published:
    """One method of the paper on one of its data sets: IoU by number of support images in all.

    Attributes
    ----------
    name, dataset
        The data set's name here (a key of ``releases.RELEASES``), and its title.
    """

    name: str
    dataset: str
    method: str
    iou: dict[int, float]


def _rows(name: str, dataset: str, shots: tuple[int, ...], **methods: tuple[float | None, ...]) -> list[Published]:
    return [
        Published(name, dataset, TITLES[method], {k: v for k, v in zip(shots, values, strict=True) if v is not None})
        for method, values in methods.items()
    ]


TITLES = {
    "bam": "BAM, ResNet-50",
    "hdmnet": "HDMNet, ResNet-50",
    "patnet": "PATNet, ResNet-50",
    "dmtnet": "DMTNet, ResNet-50",
    "dcama": "DCAMA, Swin-B",
    "transfer_r50": "TransferFSS, ResNet-50",
    "transfer": "TransferFSS, Swin-B",
    "distill": "DistillFSS, Swin-B",
}

PUBLISHED: tuple[Published, ...] = (
    *_rows(
        "dsb2018",
        "Nucleus (DSB2018)",
        (5, 10, 25, 50),
        bam=(11.0, 11.3, 12.1, 11.1),
        hdmnet=(19.6, 19.9, 21.2, 21.8),
        patnet=(37.7, 32.0, 33.4, 33.4),
        dmtnet=(19.2, 19.8, 21.5, 23.5),
        dcama=(28.8, 24.8, 31.8, 28.6),
        transfer=(73.1, 79.0, 69.5, 79.4),
        distill=(69.6, 71.2, 68.2, 79.7),
    ),
    *_rows("kvasir_seg", "Kvasir-SEG", (5, 50), bam=(19.0, 23.0), transfer=(45.2, 60.0), distill=(37.3, 57.1)),
    *_rows(
        "isic2018",
        "ISIC 2018, 3 classes",
        (9, 15, 30, 60),
        bam=(9.7, 8.3, 8.5, 8.7),
        hdmnet=(9.2, 7.8, 8.2, 7.8),
        patnet=(16.0, 13.5, 16.0, 17.0),
        dmtnet=(15.0, 15.1, 15.6, 17.4),
        dcama=(8.7, 7.3, 7.2, 7.7),
        transfer=(14.4, None, 13.0, 22.2),
        distill=(13.3, 16.0, 17.7, 23.4),
    ),
    *_rows(
        "pothole_mix",
        "Pothole Mix",
        (5, 10, 25, 50),
        bam=(1.5, 1.5, 3.9, 2.2),
        hdmnet=(3.5, 3.5, 3.4, 3.5),
        patnet=(8.9, 15.4, 9.9, 8.8),
        dmtnet=(10.7, 8.4, 7.8, 8.2),
        dcama=(16.8, 18.9, 11.9, 10.4),
        transfer=(17.4, 16.0, 22.7, 31.8),
        distill=(17.0, 17.5, 14.5, 32.0),
    ),
    *_rows("weedmap", "WeedMap", (5, 50), bam=(6.6, 6.2), transfer=(51.0, 64.2), distill=(44.4, 62.0)),
    *_rows(
        "lung_nodules",
        "Lung nodules",
        (5, 10, 25, 50),
        bam=(0.2, 0.2, 0.2, 0.2),
        hdmnet=(0.0, 0.1, 0.1, 0.2),
        patnet=(0.1, 0.2, 0.3, 0.3),
        dmtnet=(0.2, 0.2, 0.2, 0.2),
        dcama=(0.2, 0.3, 0.2, 0.2),
        transfer_r50=(8.5, 13.7, 22.2, 24.3),
        transfer=(3.4, 2.3, 1.5, 2.5),
        distill=(3.3, 0.5, 2.5, 4.9),
    ),
    *_rows("industrial", "Industrial defects", (10, 80), bam=(5.0, 4.9), transfer=(4.1, 48.2), distill=(3.5, 46.1)),
)
