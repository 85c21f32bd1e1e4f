"""Classes added to a model and taken away: what was there gives the same answers to the last bit, through files too."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import write_pair
from safetensors.torch import load_file, save_file
from scenes import square_pair, square_support
from test_artifact import make_segmenter

from distillfss import FitConfig, Segmenter, SupportSet, extend
from distillfss.errors import FitInterrupted, ModelFileError, UsageError
from distillfss.extending import GIVE_WAY, config_for, joined, new_classes
from distillfss.extension_effects import Effects, effects
from distillfss.fit_preparation import Progress
from distillfss.fit_run import FitRun
from distillfss.fitting import Resumed
from distillfss.io.labelled import Sample
from distillfss.models.composite import StudentParts, side_by_side
from distillfss.models.student import Student
from distillfss.notices import Notice, NoticeKind
from distillfss.preprocess import at_working_size
from distillfss.quality.strangeness import MARGIN, strangeness

QUICK = FitConfig(effort=0.1, pool_views=6, distill_batch=3)
IMAGES = [square_pair(90 + seed, size, ways=3)[0] for seed, size in enumerate([(96, 96), (70, 130), (33, 31)])]


def answers(model: Segmenter, image: np.ndarray) -> tuple[list[torch.Tensor], torch.Tensor]:
    """A model's standardised pyramid and its logits per class (n, 2, h, w)."""
    backbone, standardize, student = model.parts
    with torch.inference_mode():
        pyramid = standardize(backbone(at_working_size(image, model.size)[None]))
        return pyramid, student(pyramid)[0][0]


def assert_same_classes(one: Segmenter, other: Segmenter, names: tuple[str, ...]) -> None:
    """The logits of these classes, and the pyramids they are of, agree bit for bit."""
    for image in IMAGES:
        (first, a), (second, b) = answers(one, image), answers(other, image)
        assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
        for name in names:
            assert torch.equal(a[one.class_names.index(name)], b[other.class_names.index(name)]), name


def third_class(count: int = 3) -> SupportSet:
    """Squares of three classes of which only the third is annotated, as ``rust``."""
    samples = square_support(count, ways=3).samples
    return SupportSet.from_arrays([s.image for s in samples], [(s.mask == 3) * 1 for s in samples], ["rust"])


@pytest.fixture(scope="module")
def old() -> Segmenter:
    return make_segmenter(ways=2)


@pytest.fixture(scope="module")
def extended(old: Segmenter) -> Segmenter:
    return extend(old, third_class(), QUICK)


@pytest.fixture
def file(extended: Segmenter, tmp_path: Path) -> Path:
    extended.without("class_1").save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


# What stays


def test_old_classes_answer_as_before(old: Segmenter, extended: Segmenter) -> None:
    assert extended.class_names == ("class_1", "class_2", "rust")
    assert extended.info.parts == ((True, True), (True,))
    assert_same_classes(old, extended, old.class_names)
    assert old.class_names == ("class_1", "class_2")
    assert isinstance(old.parts[2], Student)


def test_the_merged_answer_differs_only_where_the_new_class_is_strongest(old: Segmenter, extended: Segmenter) -> None:
    for image in IMAGES:
        logits = answers(extended, image)[1]
        newest = logits[:, 1].argmax(0) == 2
        before, after = old.logits(image)[0], extended.logits(image)[0]
        assert torch.equal(before[:, ~newest], after[:3, ~newest])


def test_taking_classes_away(old: Segmenter, extended: Segmenter) -> None:
    rest = extended.without("class_1")
    assert rest.class_names == ("class_2", "rust")
    assert rest.info.parts == ((False, True), (True,))
    assert_same_classes(extended, rest, rest.class_names)
    only_new = extended.without("class_1", "class_2")
    assert only_new.info.parts == ()  # one student with all its classes: an ordinary model again
    assert_same_classes(extended, only_new, ("rust",))
    back = extended.without("rust")
    assert back.parts[2] is old.parts[2]
    assert back.info.parts == ()
    of_one_student = old.without("class_2")
    assert of_one_student.info.parts == ((True, False),)
    assert_same_classes(old, of_one_student, ("class_1",))
    assert np.array_equal(of_one_student(IMAGES[0], probabilities=True)[0], of_one_student(IMAGES[0]))


def test_adding_and_taking_away_again_and_again(old: Segmenter, extended: Segmenter) -> None:
    fourth = make_segmenter(ways=2)
    fourth._describe(type(old.info)(**{**vars(old.info), "class_names": ("x", "y")}))
    model = joined(extended, fourth).without("class_2", "x")
    assert model.class_names == ("class_1", "rust", "y")
    assert model.info.parts == ((True, False), (True,), (False, True))
    assert_same_classes(extended, model, ("class_1", "rust"))
    assert_same_classes(fourth, model, ("y",))
    model = model.without("rust")
    assert model.info.parts == ((True, False), (False, True))
    assert_same_classes(extended, model, ("class_1",))


def test_an_estimate_of_other_classes_is_not_kept(old: Segmenter, extended: Segmenter) -> None:
    old.summary["estimate"] = {"iou": 0.5}
    try:
        for changed in (joined(old, make_segmenter(ways=1)), joined(extended, old).without("rust")):
            assert "estimate" not in changed.summary
        assert "estimate" in old.summary
    finally:
        del old.summary["estimate"]


def test_a_new_class_starts_from_the_mixer_of_the_old_ones(old: Segmenter) -> None:
    """All of it but the gain of the probe, which is weighed anew; whatever strides features join at in it."""
    backbone, standardize, _ = old.parts
    torch.manual_seed(3)
    light = Segmenter(backbone, standardize, Student(backbone.layers, 2, joining=(8,)), old.info, torch.device("cpu"))
    for model in (old, light):
        run = FitRun(third_class(), config_for(model, QUICK), lambda _: None, beside=model)
        learnt, start = model.parts[2].mixer, run.ready.teacher.mixer
        assert start.joining == run.ready.student.mixer.joining == learnt.joining
        tensors = {name: tensor for name, tensor in start.state_dict().items() if name != "probe_gain"}
        assert len(tensors) == len(learnt.state_dict()) - 1
        assert all(torch.equal(tensor, learnt.state_dict()[name]) for name, tensor in tensors.items())
        assert run.ready.start.name == "dcama-lite0, mixer of the model"


def test_images_it_was_extended_with_are_not_unlike_what_it_knows() -> None:
    model = make_segmenter(ways=2)
    support = third_class()
    most = min(strangeness_of(model, sample.image) for sample in support.samples) / 2
    model.summary["strangeness_limit"] = most
    assert all(model.answer(sample.image).judged.strangeness > 1 for sample in support.samples)
    extended = extend(model, support, QUICK)
    assert extended.strangeness_limit == pytest.approx(
        MARGIN * max(strangeness_of(model, sample.image) for sample in support.samples), rel=1e-4
    )
    assert all(extended.answer(sample.image).judged.strangeness < 1 for sample in support.samples)
    assert model.strangeness_limit == most
    assert extended.without(extended.class_names[-1]).strangeness_limit == most  # it knows them no longer
    kept = extended.without(model.class_names[0])
    assert kept.strangeness_limit == extended.strangeness_limit


def strangeness_of(model: Segmenter, image: np.ndarray) -> float:
    return strangeness(answers(model, image)[0], model.parts[0].layers)


def test_what_was_done_is_in_the_summary(old: Segmenter, extended: Segmenter) -> None:
    model = extended.without("class_1")
    (addition,) = model.summary["extended"]
    assert addition["classes"] == ["rust"]
    assert addition["images"] == 3
    assert addition["shots"] == {"rust": 3}
    assert addition["config"]["size"] == old.size
    assert model.summary["removed"] == [{"classes": ["class_1"]}]
    assert model.summary["images"] == old.summary["images"]
    assert "extended" not in old.summary


def test_a_new_class_gives_way_to_old_ones_and_not_to_background(old: Segmenter) -> None:
    """Beside nothing it decides as it learnt to; beside an old class it is weaker than it was by a fixed number."""
    run = FitRun(third_class(), config_for(old, instant()), lambda _: None, beside=old)
    while not run.done:
        run.advance()
    learnt = run.segmenter()
    placed = extend(old, third_class(), instant()).without(*old.class_names)
    a, b = (answers(model, IMAGES[0])[1].double() for model in (learnt, placed))
    torch.testing.assert_close(b, a - GIVE_WAY, atol=1e-5, rtol=0)
    assert np.array_equal(learnt(IMAGES[0]), placed(IMAGES[0]))


# The file


def test_a_round_trip_changes_no_logit(extended: Segmenter, file: Path) -> None:
    again = Segmenter.load(file)
    assert again.info == extended.without("class_1").info
    assert again.class_names == ("class_2", "rust")
    assert_same_classes(extended, again, again.class_names)
    assert torch.equal(again.logits(IMAGES[0]), extended.without("class_1").logits(IMAGES[0]))
    assert_same_classes(extended, extend(again, named(third_class(), "z"), instant()), again.class_names)


def named(support: SupportSet, *names: str) -> SupportSet:
    return SupportSet(support.samples, names)


def instant() -> FitConfig:
    return FitConfig(**{**vars(QUICK), "instant": True})


def metadata(path: Path) -> dict[str, str]:
    raw = path.read_bytes()
    return json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["__metadata__"]


def test_an_ordinary_model_is_written_as_it_always_was(old: Segmenter, extended: Segmenter, tmp_path: Path) -> None:
    paths = [tmp_path / "old.safetensors", tmp_path / "back.safetensors"]
    old.save(paths[0])
    extended.without("rust").save(paths[1])
    for path in paths:
        assert metadata(path)["format_version"] == "1"
        assert "parts" not in json.loads(metadata(path)["info"])
    first, second = (load_file(path) for path in paths)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_beside_a_model_that_draws_details(old: Segmenter, tmp_path: Path) -> None:
    """Its classes stay the same to the last bit, through files too; what is added is brought to their grid."""
    backbone, standardize, _ = old.parts
    torch.manual_seed(2)
    student = Student(backbone.layers, 2, backbone.fine_channels)
    torch.nn.init.normal_(student.detail.correct.weight)
    fine = Segmenter(backbone, standardize, student, replace(old.info, details=True), torch.device("cpu"))
    both = extend(fine, third_class(), QUICK)
    image = IMAGES[1]
    with torch.inference_mode():
        before, after = fine._seen(image)[0], both._seen(image)[0]
    assert after.shape == (1, 3, 2, *before.shape[-2:])
    assert torch.equal(after[:, :2], before)
    both.save(tmp_path / "m.safetensors")
    assert metadata(tmp_path / "m.safetensors")["format_version"] == "3"
    assert torch.equal(Segmenter.load(tmp_path / "m.safetensors").logits(image), both.logits(image))
    assert torch.equal(both.without("rust").logits(image), fine.logits(image))
    assert both.parts[2].members[1].detail is None  # the new squares are no thinner than the grid
    alone = both.without("class_1", "class_2")
    assert not alone.info.details
    assert alone.logits(image).shape[-1] == before.shape[-1] // 2
    alone.save(tmp_path / "n.safetensors")
    assert metadata(tmp_path / "n.safetensors")["format_version"] == "1"


def test_a_thin_class_draws_details_where_old_classes_do(old: Segmenter, tmp_path: Path) -> None:
    """And only there: beside classes on the coarser grid they would come out on another one than before."""
    backbone, standardize, _ = old.parts
    student = Student(backbone.layers, 2, backbone.fine_channels)
    drawing = Segmenter(backbone, standardize, student, replace(old.info, details=True), torch.device("cpu"))
    samples = square_support(3, ways=3).samples
    lines = [np.zeros_like(sample.mask) for sample in samples]
    for line in lines:
        line[:, 30:32] = 1
    thin = SupportSet.from_arrays([sample.image for sample in samples], lines, ["wire"])
    assert extend(old, thin, QUICK).parts[2].members[1].detail is None
    both = extend(drawing, thin, QUICK)
    assert float(both.parts[2].members[1].detail.correct.weight.detach().abs().max()) > 0  # it has learnt
    with torch.inference_mode():
        before, after = drawing._seen(IMAGES[1])[0], both._seen(IMAGES[1])[0]
    assert torch.equal(after[:, :2], before)
    both.save(tmp_path / "m.safetensors")
    assert torch.equal(Segmenter.load(tmp_path / "m.safetensors").logits(IMAGES[1]), both.logits(IMAGES[1]))
    assert both.without("class_1", "class_2").info.details


def test_a_new_class_learns_on_after_distillation(old: Segmenter) -> None:
    """From strongly changed views, with what stands for the backbone's tail; so far of the way as in a fit is kept."""
    run = FitRun(third_class(), config_for(old, QUICK), lambda _: None, beside=old)
    while not run.done:
        run.advance()
    assert run.steps_taken()["adapt"] == config_for(old, QUICK).adapt_steps(3) > 0
    assert run._phases[2].rivals.student is old.parts[2]
    assert run.segmenter().parts[0] is old.parts[0]
    name, share = "mixer.logits.weight", 3 / (3 + QUICK.adapt_prior)
    start, end = run.distilled[name], run.student.state_dict()[name]
    assert not torch.equal(start, end)
    torch.testing.assert_close(run.segmenter().parts[2].state_dict()[name], start + share * (end - start))


def test_a_reader_from_before_says_update(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert metadata(file)["format_version"] == "2"
    monkeypatch.setattr("distillfss.artifact.NEWEST_VERSION", 1)
    with pytest.raises(ModelFileError, match=r"format version 2 is newer than 1.*Update distillfss"):
        Segmenter.load(file)


def rewritten(path: Path, tensors: dict[str, torch.Tensor] | None = None, version: str = "2", **info: Any) -> None:
    """The file with a changed description or other tensors, its check sum that of the tensors."""
    from distillfss.artifact import tensors_sha256

    tensors = load_file(path) if tensors is None else tensors
    about = metadata(path)
    about["info"] = json.dumps({**json.loads(about["info"]), **info})
    save_file(tensors, path, {**about, "format_version": version, "sha256": tensors_sha256(tensors)})


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"parts": [[True, True], [True]]}, "impossible numbers"),  # three classes for two names
        ({"parts": [[False, True], [False], [True]]}, "impossible numbers"),  # a student without a class
        ({"parts": [[False, True], [], [True]]}, "impossible numbers"),
        ({"parts": [[True, True]]}, "impossible numbers"),  # an ordinary model in disguise
        ({"parts": [[True] + [False] * 20, [True]]}, "impossible numbers"),  # a student of 21 classes
        ({"parts": [[False] * 10**5 + [True], [True]]}, "impossible numbers"),
        ({"parts": [[True]] * 21}, "impossible numbers"),
        ({"parts": [[1, 0], [True]]}, "description is damaged"),
        ({"parts": [True, True]}, "description is damaged"),
        ({"parts": {"0": [True]}}, "description is damaged"),
        ({"parts": "ab"}, "description is damaged"),
        ({"parts": None}, "description is damaged"),
        ({"parts": []}, "does not fit its format version"),
        ({"parts": [[True], [True]]}, r"wrong shape \(student\.members\.0\."),
        ({"parts": [[True, False], [False, True]]}, r"wrong shape \(student\.members\.1\."),
        ({"parts": [[True, False], [False, True]], "architecture": "dcama"}, "does not fit efficientnet_lite0"),
        ({"class_names": ["only"]}, "impossible numbers"),
        ({"class_names": ["same", "same"]}, "twice"),
    ],
)
def test_descriptions_that_lie(file: Path, info: dict[str, Any], said: str) -> None:
    rewritten(file, **info)
    with pytest.raises(ModelFileError) as caught:
        Segmenter.load(file)
    assert caught.value.path == file
    assert re.search(said, caught.value.problem), caught.value.problem


def test_parts_under_the_old_version_are_refused(file: Path) -> None:
    rewritten(file, version="1")
    with pytest.raises(ModelFileError, match="does not fit its format version"):
        Segmenter.load(file)


def test_tensors_that_belong_to_no_student(file: Path) -> None:
    tensors = load_file(file)
    rewritten(file, {**tensors, "student.members.2.probe": torch.zeros(1)})
    with pytest.raises(ModelFileError, match=r"1 tensors belong to no student \(student\.members\.2\.probe\)"):
        Segmenter.load(file)


def test_no_student_is_built_that_the_file_does_not_hold(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred bytes of description must not have twenty large networks built."""
    built = []
    monkeypatch.setattr(
        "distillfss.models.students.STUDENTS",
        {"distillfss": lambda layers, ways: built.append(ways) or Student(layers, ways)},
    )
    rewritten(file, class_names=[f"c{i}" for i in range(20)], parts=[[False] * 19 + [True]] * 20)
    with pytest.raises(ModelFileError, match=r"student\.members\.0"):
        Segmenter.load(file)
    assert built == [20]


# What is new in a support


def test_old_classes_in_the_new_masks_only_say_what_is_not_new(old: Segmenter) -> None:
    given = SupportSet(square_support(2, ways=3).samples, ("class_2", "rust", "class_1"))
    found = new_classes(old, given)
    assert found.support.class_names == ("rust",)
    assert found.known == ("class_2", "class_1")
    assert "the model knows class_2, class_1" in found.notices[-1]
    for sample, original in zip(found.support.samples, given.samples, strict=True):
        assert np.array_equal(sample.mask, original.mask == 2)


def test_images_of_old_classes_only_say_where_the_new_one_is_not(old: Segmenter) -> None:
    """Their background may hold the new class, so it does not count, nor do classes that the model does not know."""
    image, mask = square_pair(7, (40, 50), ways=3)
    mask[:4] = 255
    assert {0, 1, 2, 3} <= set(np.unique(mask))
    known = SupportSet([Sample("a", image, mask)], ("class_2", "moss", "class_1"))
    found = new_classes(old, third_class(), [known])
    assert len(found.support) == len(third_class()) + 1
    assert found.support.class_names == ("rust",)
    assert np.array_equal(found.support.samples[-1].mask, np.where((mask == 1) | (mask == 3), 0, 255))
    assert found.notices == ("the model does not know moss: left out of the known images",)
    with pytest.raises(UsageError, match="the model knows none of moss, fern"):
        new_classes(old, third_class(), [SupportSet([Sample("a", image, mask % 3)], ("moss", "fern"))])


def test_an_image_that_is_annotated_twice_is_one(old: Segmenter) -> None:
    """Else it would be among those that are to answer it. Its own mask counts, the other one where that is silent."""
    image, mask = square_pair(7, (40, 50), ways=3)
    own = np.where(mask == 3, 1, np.where(np.arange(50) < 25, 255, 0)).astype(np.uint8)
    given = SupportSet.from_arrays([*IMAGES[:1], image], [np.zeros(IMAGES[0].shape[:2], np.uint8), own], ["rust"])
    known = SupportSet.from_arrays([image, image], [mask % 3, mask % 3], ["class_1", "class_2"])
    found = new_classes(old, given, [known, known]).support
    assert len(found) == 2
    assert ((own == 255) & (mask > 0)).any()
    assert np.array_equal(found.samples[1].mask, np.where((own == 255) & (mask % 3 > 0), 0, own))
    assert len(new_classes(old, third_class(), [known, known]).support) == len(third_class()) + 1


def test_known_images_are_learnt_from(old: Segmenter, extended: Segmenter, tmp_path: Path) -> None:
    """A folder and a set of them count alike, and they change the new class alone."""
    pairs = [square_pair(40 + seed, (64, 64), ways=2) for seed in range(3)]  # others than those of the new class
    sets = [SupportSet.from_arrays(*zip(*part, strict=True), ["class_1", "class_2"]) for part in (pairs[:2], pairs[2:])]
    for number, sample in enumerate(sets[0].samples):
        write_pair(tmp_path, f"square{number}", sample.image, sample.mask)
    one, other = extend(old, third_class(), QUICK, known=sets[0]), extend(old, third_class(), QUICK, known=tmp_path)
    assert_same_classes(one, other, one.class_names)
    assert_same_classes(old, one, old.class_names)
    logits = [
        answers(model, IMAGES[0])[1][2] for model in (extended, one, extend(old, third_class(), QUICK, known=sets))
    ]
    assert not torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[1], logits[2])


def test_ignored_pixels_stay_ignored_and_empty_images_are_kept(old: Segmenter) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    masks = [np.zeros((64, 64), np.uint8) for _ in range(2)]
    masks[0][:8], masks[0][8:16], masks[0][16:24] = 1, 2, 255
    found = new_classes(old, SupportSet.from_arrays([image, image], masks, ["class_1", "rust"])).support
    assert [np.unique(sample.mask).tolist() for sample in found.samples] == [[0, 1, 255], [0]]
    assert (found.samples[0].mask[8:16] == 1).all()


def test_a_named_class_without_a_pixel_is_not_added(old: Segmenter) -> None:
    found = new_classes(old, named(third_class(), "rust", "dent"))
    assert found.support.class_names == ("rust",)
    assert any("no pixel of dent in any mask: not added" in notice for notice in found.notices)


def test_classes_that_the_model_knows_need_no_pixel(old: Segmenter) -> None:
    """A list of all classes is usual; of these nothing is to be annotated, and nothing to be warned of."""
    given = SupportSet.from_arrays(
        [sample.image for sample in third_class().samples],
        [3 * sample.mask for sample in third_class().samples],
        ["class_1", "class_2", "rust"],
    )
    assert "will never find" in given.notices[0]
    found = new_classes(old, given)
    assert (found.known, found.support.class_names) == (("class_1", "class_2"), ("rust",))
    assert found.notices == found.support.notices == ()
    assert new_classes(old, given.subset([0])).support.notices == ()


def test_notices_are_chosen_by_their_kind_whatever_they_say(old: Segmenter) -> None:
    """A folder may be called as it pleases."""
    about_a_folder = "so the model will never find it/images/a.png: 16-bit values were stretched"
    samples = third_class().samples
    given = SupportSet(samples, ("rust",), [about_a_folder, Notice("of class_1 nothing", NoticeKind.NEVER_FOUND)])
    assert given.notices == (about_a_folder, "of class_1 nothing")
    assert new_classes(old, given).support.notices == (about_a_folder,)


@pytest.mark.parametrize(("name", "alike"), [("Class_1", "class_1"), ("class 2", "class_2"), ("class_3", None)])
def test_names_that_are_nearly_those_of_the_model(old: Segmenter, name: str, alike: str | None) -> None:
    found = new_classes(old, named(third_class(), name))
    assert found.support.class_names == (name,)
    said = f"{name} is added as a class of its own; if it is the model's {alike}, name it like that"
    assert found.notices == (() if alike is None else (said,))


def test_made_up_names_are_told() -> None:
    model = make_segmenter(ways=2)
    model.class_names = ("crop", "weed")
    assert new_classes(model, named(third_class(), "class_1")).notices == (
        "the masks' classes have no names and are called class_1; name them with --classes or in meta.json, and what "
        "the model knows as it does (crop, weed)",
    )
    assert new_classes(model, named(third_class(), "class_2")).notices == ()


def test_nothing_new(old: Segmenter) -> None:
    with pytest.raises(UsageError, match=r"knows class_2 already.*--classes"):
        new_classes(old, named(third_class(), "class_2"))


def test_more_than_twenty_classes() -> None:
    with pytest.raises(UsageError, match=r"20 classes and 1 new ones are more than 20.*--remove"):
        new_classes(make_segmenter(ways=20), third_class())


def test_images_read_with_other_bands_than_the_models(old: Segmenter) -> None:
    support = third_class()
    support.reading = {"bands": [4, 3, 2]}
    with pytest.raises(UsageError, match=r'with "bands": \[4, 3, 2\], .* neither bands nor a range.*out of meta\.json'):
        new_classes(old, support)


def test_images_read_without_the_bands_of_the_models(old: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old, "summary", {"reading": {"bands": [4, 3, 2], "range": [0.0, 3000.0]}})
    (said,) = new_classes(old, third_class()).notices
    assert 'read with "bands": [4, 3, 2], "range": [0.0, 3000.0], which the new ones are not' in said
    assert said.endswith("if they are maps or scans, give SupportSet.from_folder the model's reading")
    support = third_class()
    support.reading = {"bands": [1]}
    with pytest.raises(UsageError, match=r'with "bands": \[1\], .*with "bands": \[4, 3, 2\].*Let meta\.json say'):
        new_classes(old, support)


def test_a_class_is_taken_away_by_a_name_of_decomposed_letters() -> None:
    model = make_segmenter(ways=2)
    model.info = replace(model.info, class_names=("a", "\u00d6l"))
    model.class_names = model.info.class_names
    assert model.without("O\u0308l").class_names == ("a",)
    assert new_classes(model, named(third_class(), "O\u0308lfleck")).support.class_names == ("\u00d6lfleck",)


@pytest.mark.parametrize(
    ("names", "said"),
    [(("nothing",), "no class nothing.*class_1, class_2"), (("class_1", "class_2"), "no class would")],
)
def test_what_cannot_be_taken_away(old: Segmenter, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        old.without(*names)


def test_the_papers_student_is_refused(old: Segmenter) -> None:
    model = make_segmenter(ways=2)
    model._describe(type(old.info)(**{**vars(old.info), "architecture": "dcama"}))
    for change in (lambda: extend(model, third_class(), QUICK), lambda: model.without("class_1")):
        with pytest.raises(UsageError, match="'dcama' cannot be extended"):
            change()


# Going on, and what came of it


def test_a_stopped_extension_goes_on_to_the_same_model(old: Segmenter, extended: Segmenter, tmp_path: Path) -> None:
    import os
    import signal

    def stop(progress: Any) -> None:
        if progress.phase == "distill":
            os.kill(os.getpid(), signal.SIGINT)

    state = tmp_path / "m.part"
    with pytest.raises(FitInterrupted, match="same command again"):
        extend(old, third_class(), QUICK, state=state, progress=stop)
    seen: list[Progress] = []
    resumed = extend(old, third_class(), QUICK, state=state, progress=seen.append)
    (going_on,) = (told for told in seen if isinstance(told, Resumed))
    assert going_on.message.startswith("going on at step")
    for image in IMAGES:
        assert torch.equal(resumed.logits(image), extended.logits(image))
    other = old.without("class_2")  # the same images beside another model are another piece of work
    seen.clear()
    extend(other, third_class(), QUICK, state=state, progress=seen.append)
    assert not any(isinstance(told, Resumed) for told in seen)


def test_figures_of_an_extension_by_hand() -> None:
    class Fixed:
        def __init__(self, names: tuple[str, ...], mask: list[list[int]]) -> None:
            self.class_names, self.mask = names, np.array(mask, np.uint8)

        def predict(self, pixels: np.ndarray, sizes: Any) -> list[np.ndarray]:
            return [self.mask for _ in sizes]

    truth = np.array([[0, 0, 0, 1, 1, 255]], np.uint8)
    support = SupportSet.from_arrays([np.zeros((1, 6, 3), np.uint8)], [truth], ["new"])
    found = effects(Fixed(("a", "b"), [[1, 2, 0, 1, 0, 1]]), Fixed(("a", "b", "new"), [[1, 3, 3, 3, 0, 3]]), support)
    assert found.iou == {"new": pytest.approx(1 / 4)}  # right at place 3; wrong at 1 and 2; missed at 4
    assert found.lost == pytest.approx(1 / 2)  # of places 0 and 1
    assert found.owner == {"new": ("a", 0.5)}  # place 3
    assert found.doubts() == []
    nothing = effects(Fixed(("a",), [[0] * 6]), Fixed(("a", "new"), [[0] * 6]), support)
    assert (nothing.lost, nothing.owner, nothing.doubts()) == (None, {}, [])
    for iou, share, doubted in ((0.24, 0.5, True), (0.25, 1.0, False), (0.0, 0.49, False)):
        assert bool(Effects({"new": iou}, None, {"new": ("a", share)}).doubts()) == doubted


def test_parts_are_concatenated_in_order() -> None:
    class Constant(torch.nn.Module):
        def __init__(self, *values: float) -> None:
            super().__init__()
            self.values = torch.tensor(values).view(1, -1, 1, 1, 1)

        def forward(self, query: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
            return self.values.expand(1, -1, 2, 1, 1), [self.values[:, :, 0]]

    module, parts = side_by_side(
        [Constant(1, 2, 3), Constant(4), Constant(5, 6)], ((True, False, True), (False,), (True, True))
    )
    assert isinstance(module, StudentParts)
    assert parts == ((True, False, True), (True, True))
    logits, maps = module([])
    assert logits[0, :, 0, 0, 0].tolist() == [1, 3, 5, 6]
    assert maps[0].flatten().tolist() == [1, 3, 5, 6]
