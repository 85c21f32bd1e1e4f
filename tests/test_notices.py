"""What is said of many files is said once."""

from __future__ import annotations

from distillfss.notices import Alike, once_each


def test_what_differs_in_file_and_numbers_is_said_of_the_first() -> None:
    said = [
        "a/1.tif: values 300 to 7300.5 were stretched",
        "a: objects overlap in 3 pixels",
        "a/2.tif: values 12 to 99 were stretched",
        "a/2.tif: turned upright",
        "a/3.tif: values 0 to 1 were stretched",
        "a: objects overlap in 3 pixels (in 2 images)",
        "a/4.tif: turned upright",
    ]
    assert once_each(said) == [
        "a/1.tif: values 300 to 7300.5 were stretched (and 2 more images likewise)",
        "a: objects overlap in 3 pixels",
        "a/2.tif: turned upright (and 1 more image likewise)",
        "a: objects overlap in 3 pixels (in 2 images)",
    ]
    assert once_each([]) == []


def test_what_is_told_one_after_the_other_is_said_once_too() -> None:
    alike = Alike()
    for number in range(3):
        alike.add(f"a: b/{number}.png", f"{number + 0.5} % are transparent")
    alike.add("a/4", "turned upright")
    assert alike.lines == ["a: b/0.png: 0.5 % are transparent (and 2 more images likewise)", "a/4: turned upright"]
    assert Alike().lines == []
