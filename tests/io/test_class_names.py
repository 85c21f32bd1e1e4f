"""Names of classes that are the same, or nearly, to the eye."""

from __future__ import annotations

import pytest

from distillfss.io.class_names import alike, class_name, perhaps_one


def test_composed_and_decomposed_letters_are_one_name() -> None:
    assert class_name(" O\u0308lfleck ") == class_name("\u00d6lfleck") == "\u00d6lfleck"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Crop", "crop", True),
        ("class 2", "class_2", True),
        ("black-spot", "blackspot", True),
        ("Einschluß", "EINSCHLUSS", True),
        ("Ölfleck", "ölfleck", True),
        ("crop", "crops", False),
        ("ER+", "ER-", False),  # a sign at the end stands between no words
        ("+", "-", False),
        ("crop", "crop", False),
    ],
)
def test_names_that_nearly_agree(one: str, other: str, same: bool) -> None:
    assert alike(one, ["leaf", other]) == (other if same else None)


def test_every_class_is_told_with_the_first_it_is_like() -> None:
    assert perhaps_one(["Crop", "weed", "crop", "CROP", "Weed"]) == [
        (
            f"{first} and {name} differ only in capitals or in what stands between words",
            "Name them alike if they are one class, or choose with --classes",
        )
        for first, name in (("Crop", "crop"), ("Crop", "CROP"), ("weed", "Weed"))
    ]
    assert perhaps_one(["crop", "weed"]) == []
