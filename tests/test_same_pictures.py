"""An image and its copies, however changed, are one scene; pictures that only look alike are not."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from distillfss import SupportSet
from distillfss.io.labelled import Sample
from distillfss.same_pictures import scenes


def texture(seed: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """Structure at the scale that a small picture keeps, (64, 96, 3)."""
    small = np.random.default_rng(seed).integers(40, 200, (16, 16), np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert("RGB"))


def marked(seed: int, shape: tuple[int, int] = (64, 96)) -> np.ndarray:
    """A mask of two boxes, of class 1 and 2."""
    row, column = np.random.default_rng(seed).integers(0, 30, 2)
    mask = np.zeros(shape, np.uint8)
    mask[row : row + 20, column : column + 25] = 1
    mask[row + 10 : row + 30, column + 30 : column + 50] = 2
    return mask


def stored_anew(image: np.ndarray) -> np.ndarray:
    """Smaller, blurred, and through JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).resize((72, 48)).filter(ImageFilter.GaussianBlur(0.7)).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def test_copies_are_of_the_scene_of_the_first() -> None:
    one, two, three = (texture(seed) for seed in range(3))
    a, b, c = (marked(seed) for seed in range(3))
    lighter = np.clip(two[:, ::-1] * 1.2 + np.linspace(0, 30, 96)[None, :, None], 0, 255).astype(np.uint8)
    pairs = [
        (one, a),
        (two, b),
        (lighter, b[:, ::-1]),
        (np.rot90(one), np.rot90(a)),
        (three, c),
        (stored_anew(one), np.asarray(Image.fromarray(a).resize((72, 48), Image.Resampling.NEAREST))),
        (three, a),  # pixel by pixel: whatever the mask says
        (np.rot90(lighter, 2), np.rot90(b[:, ::-1], 2)),
    ]
    images, masks = zip(
        *((np.ascontiguousarray(image), np.ascontiguousarray(mask)) for image, mask in pairs), strict=True
    )
    assert scenes(images, masks, 2) == [0, 1, 1, 0, 4, 0, 4, 1]
    support = SupportSet.from_arrays(images, masks)
    assert (support.scenes, support.firsts, support.different) == ((0, 1, 1, 0, 4, 0, 4, 1), [0, 1, 4], 3)
    assert support.shots() == {"class_1": 8, "class_2": 8}
    assert support.fewest() == 3


def test_parts_before_a_fixed_camera_are_told_apart_by_their_masks() -> None:
    """Five parts that are one to the eye, each with a fault of its own; one has none, and so has its copy."""
    part = texture(7)
    images, masks = [], []
    for seed in range(5):
        image, mask = part.copy(), np.zeros((64, 96), np.uint8)
        row, column = np.random.default_rng(seed).integers(0, 50, 2)
        image[row : row + 6, column : column + 6] = 250
        mask[row : row + 6, column : column + 6] = 1
        images.append(image)
        masks.append(mask)
    bare = [part, np.clip(part.astype(int) + 3, 0, 255).astype(np.uint8)]
    found = scenes([*images, *bare], [*masks, *(np.zeros((64, 96), np.uint8) for _ in bare)], 1)
    assert found == [0, 1, 2, 3, 4, 5, 5]


def test_the_left_of_two_is_not_the_right_one_mirrored() -> None:
    """A symmetric picture, one side of it marked in each of two annotations of different classes."""
    half = texture(3, (48, 64))
    image = np.concatenate([half, half[:, ::-1]], 1)
    left, right = np.zeros((64, 96), np.uint8), np.zeros((64, 96), np.uint8)
    left[20:40, 10:30], right[20:40, 66:86] = 1, 2
    other = np.clip(image.astype(int) + 5, 0, 255).astype(np.uint8)
    assert scenes([image, other], [left, right], 2) == [0, 1]
    assert scenes([image, other], [left, np.ascontiguousarray(left[:, ::-1])], 2) == [0, 0]


def test_versions_of_an_image_are_known_by_name() -> None:
    names = [f"{name}_jpg.rf.{digit * 32}" for name, digit in [("a", "0"), ("b", "1"), ("a", "f"), ("a", "g")]]
    names += ["a_jpg.rf.0", "a_jpg"]
    samples = [Sample(name, texture(seed), marked(seed)) for seed, name in enumerate(names)]
    assert SupportSet(samples, ("one", "two")).scenes == (0, 1, 0, 3, 4, 5)


def test_the_scenes_of_a_part_of_a_set_are_its_own() -> None:
    images = [texture(0), texture(1), np.ascontiguousarray(texture(1)[::-1])]
    masks = [marked(0), marked(1), np.ascontiguousarray(marked(1)[::-1])]
    support = SupportSet([Sample(str(i), *pair) for i, pair in enumerate(zip(images, masks, strict=True))], ("a", "b"))
    assert support.subset([1, 2]).scenes == (0, 0)
    assert support.subset([0, 2]).scenes == (0, 1)
