"""The paper's split and support, by hand."""

from __future__ import annotations

import pytest

from distillfss.bench.paper_protocol import evenly_spread, paper_split, paper_support
from distillfss.bench.protocol import PROTOCOLS, SUPPORTS, draw_unlabeled
from distillfss.errors import DataError


def test_a_fifth_by_seed_42_as_scikit_learn_draws_it():
    names = [f"n{i}" for i in range(10)]
    # numpy.random.RandomState(42).permutation(10) is 8 1 5 0 7 2 9 4 3 6
    assert paper_split(names) == (["n0", "n2", "n3", "n4", "n5", "n6", "n7", "n9"], ["n1", "n8"])
    assert paper_split(names[::-1]) == paper_split(names)
    model_selection = pytest.importorskip("sklearn.model_selection")
    for number in (11, 60, 664, 1000):
        names = sorted(f"image_{i}" for i in range(number))
        train, test = model_selection.train_test_split(names, test_size=0.2, random_state=42)
        assert paper_split(names) == (sorted(train), sorted(test))


def test_an_official_split_is_honoured_and_validation_images_are_neither():
    official = {"a": "test", "b": "train", "c": "validation", "d": "train", "gone": "test"}
    assert paper_split(["d", "c", "b", "a", "unnamed"], official) == (["b", "d"], ["a"])
    with pytest.raises(DataError, match='1 images "train" and 0 "test"'):
        paper_split(["a", "b"], {"a": "train"})


@pytest.mark.parametrize(
    ("length", "number", "places"),
    [
        (100, 1, [0]),
        (100, 2, [0, 99]),
        (100, 3, [0, 49, 99]),
        (100, 4, [0, 24, 49, 99]),
        (100, 5, [0, 24, 49, 74, 99]),
        (100, 10, [0, 6, 12, 24, 36, 49, 61, 74, 86, 99]),
        (3, 5, [0, 1, 2]),
        (1, 5, [0]),
        (0, 5, []),
    ],
)
def test_ends_then_midpoints(length, number, places):
    assert evenly_spread(length, number) == places


def test_support_of_one_class_is_spread_over_the_sorted_names():
    classes = {f"n{i:02d}": [1] for i in reversed(range(20))}
    assert paper_support(classes, 3) == ["n00", "n09", "n19"]
    assert SUPPORTS["even"](classes, 3, 7) == ["n00", "n09", "n19"]


def test_with_one_class_per_image_each_class_gets_its_share_with_background_counted():
    # three classes, 9 shots: 9 // 4 = 2 of each, its first and its last image
    classes = {f"n{i:02d}": [1 + i % 3] for i in range(30)}
    assert paper_support(classes, 9) == ["n00", "n27", "n01", "n28", "n02", "n29"]
    assert len(paper_support(classes, 2)) == 3


def test_with_several_classes_per_image_the_spread_is_over_all_images():
    classes = {f"n{i}": [1, 2] if i % 2 else [1] for i in range(9)}
    assert paper_support(classes, 3) == ["n0", "n4", "n8"]


def test_protocols_by_name():
    names = [f"n{i}" for i in range(10)]
    assert PROTOCOLS["paper"].divide("anything", names, None, []) == paper_split(names)
    assert PROTOCOLS["paper"].divide("x", ["a", "b"], {"a": "test", "b": "train"}, []) == (["b"], ["a"])
    # the locked split is ours, also where there is an official one
    assert PROTOCOLS["locked"].divide("x", names, dict.fromkeys(names, "test"), [])[1] != names
    assert (PROTOCOLS["locked"].support, PROTOCOLS["locked"].seeds) == ("random", (0, 1, 2))
    assert (PROTOCOLS["paper"].support, PROTOCOLS["paper"].seeds) == ("even", (0,))


def test_images_without_annotation_are_of_the_pool_nested_and_not_support():
    pool = [f"n{i}" for i in range(8)]
    few, many = (draw_unlabeled(pool, ["n0", "n5"], number, 3) for number in (2, 99))
    assert many[:2] == few
    assert sorted(many) == ["n1", "n2", "n3", "n4", "n6", "n7"]
    assert draw_unlabeled(pool, ["n0"], 0, 3) == []
