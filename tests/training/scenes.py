"""Small annotated pictures for tests of training: a bright square on noise, so that something can be learnt."""

from __future__ import annotations

import numpy as np

from distillfss.support import SupportSet


def square_pair(seed: int, size: tuple[int, int] = (96, 96), ways: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) uint8 and mask (H, W): one square per class, each class with its own colour."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 90, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    for value in range(1, ways + 1):
        top, left = (int(rng.integers(0, side - side // 3)) for side in size)
        area = np.s_[top : top + size[0] // 3, left : left + size[1] // 3]
        mask[area] = value
        image[area] = rng.integers(160, 255, (3,)) if value == 1 else [20, 40 * value % 256, 255 - 10 * value]
    return image, mask


def square_support(count: int, ways: int = 1, sizes: tuple[tuple[int, int], ...] = ((96, 96),)) -> SupportSet:
    pairs = [square_pair(seed, sizes[seed % len(sizes)], ways) for seed in range(count)]
    return SupportSet.from_arrays([p[0] for p in pairs], [p[1] for p in pairs])


def thread_support(count: int, ways: int = 1) -> SupportSet:
    """The same with the last class in stripes of a single pixel, which no grid of stride 4 can draw."""
    images, masks = [], []
    for sample in square_support(count, ways).samples:
        mask = np.where(sample.mask == ways, 0, sample.mask)
        stripes = mask[::8]
        stripes[stripes == 0] = ways
        images.append(sample.image)
        masks.append(mask)
    return SupportSet.from_arrays(images, masks)
