"""A fit as a whole: it learns, repeats itself, resumes exactly, and copes with one image, empty masks, many classes."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import square_pair, square_support, thread_support

from distillfss import FitConfig, Segmenter, SupportSet, fit, fitting
from distillfss.errors import FitInterrupted, OutputError, UsageError
from distillfss.fit_run import FitRun, Progress
from distillfss.models.composite import draws_details
from distillfss.support import Sample
from distillfss.training.interrupt import graceful_interrupt
from distillfss.training.loop import FINAL_SHARE, WARM_UP_STEPS, learning_rate
from distillfss.training.state import load_state, save_state

STARTS = "auto", "scratch"
QUICK = FitConfig(size=96, effort=0.1, pool_views=6, distill_batch=3)


def parameters(segmenter: Segmenter) -> dict[str, torch.Tensor]:
    return segmenter._student.state_dict()


def assert_same(one: Segmenter, two: Segmenter) -> None:
    a, b = parameters(one), parameters(two)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_it_learns_and_generalises_to_a_new_image():
    segmenter = fit(square_support(4), FitConfig(size=96, effort=0.5, pool_views=24))
    scores = []
    for seed in (101, 102, 103):
        image, mask = square_pair(seed)
        found = segmenter(image)
        scores.append(((found == 1) & (mask == 1)).sum() / ((found == 1) | (mask == 1)).sum())
    assert np.mean(scores) > 0.7


def test_an_instant_model_takes_no_step_and_knows_the_squares():
    support, seen = square_support(4), []
    config = FitConfig(size=96, instant=True)
    segmenter = fit(support, config, progress=seen.append)
    assert {(p.step, p.steps) for p in seen if p.phase != "prepare"} == {(0, 0)}
    scores = []
    for seed in (101, 102, 103):
        image, mask = square_pair(seed)
        found = segmenter(image)
        scores.append(((found == 1) & (mask == 1)).sum() / ((found == 1) | (mask == 1)).sum())
    assert np.mean(scores) > 0.5
    said = segmenter.summary["estimate"]["classes"]["class_1"]
    assert said["validated"] == said["start"] > 0
    # attention and mixer are the start's, untouched
    run = FitRun(support, config, lambda _: None)
    start = run.teacher.mixer.state_dict()
    assert all(torch.equal(t, start[name]) for name, t in segmenter._student.mixer.state_dict().items())
    assert torch.equal(segmenter._student.probe, run.ready.probe)


def test_one_image_gives_no_instant_model_from_nothing():
    """Its probe is not heard and nothing else was ever learnt: the masks would be noise, in silence."""
    with pytest.raises(UsageError, match=r"one image gives no instant model.*annotate a second"):
        fit(square_support(1), FitConfig(size=96, instant=True, init="scratch"))
    assert fit(square_support(1), FitConfig(size=96, instant=True)).class_names == ("class_1",)


def test_the_same_seed_gives_the_same_model_and_another_another():
    support = square_support(2)
    one, same, other = (fit(support, FitConfig(**{**vars(QUICK), "seed": seed})) for seed in (1, 1, 2))
    assert_same(one, same)
    assert any(not torch.equal(a, b) for a, b in zip(parameters(one).values(), parameters(other).values(), strict=True))


def test_fitting_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    fit(square_support(1), QUICK)
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize(
    ("scene", "stop_at"),
    [
        *((square_support, step) for step in (0, 3, 5, 7, 8, 12, 15, 16, 20, 22)),
        (thread_support, 12),
        (thread_support, 20),
    ],
)
def test_resuming_anywhere_gives_the_uninterrupted_model(tmp_path, scene, stop_at):
    """In the first phase, with the cross-validation beside it, at the seams, and in the other phases."""
    support = scene(3)
    whole = FitRun(support, QUICK, lambda _: None)
    while not whole.done:
        whole.advance()
    first = FitRun(support, QUICK, lambda _: None)
    transfer, distill, validation = QUICK.transfer_steps(3), QUICK.distill_steps(3), first.validation.steps_in_all
    assert (transfer, distill, validation) == (7, 9, 6)
    for _ in range(stop_at):
        first.advance()
    assert first.validation.steps_done == min(stop_at, validation)
    assert first.handed_over == (stop_at >= transfer)
    assert first.adapts == (stop_at >= transfer + distill)
    save_state(tmp_path / "state", first.state(), "print")
    second = FitRun(support, QUICK, lambda _: None)
    found = load_state(tmp_path / "state", "print")
    assert found is not None
    second.restore(found)
    assert second.steps_done == stop_at
    assert second.validation.steps_done == min(stop_at, validation) // 2 * 2  # a fold that was not done starts over
    while not second.done:
        second.advance()
    assert_same(whole.segmenter(), second.segmenter())
    assert draws_details(second.segmenter().parts[2]) == (scene is thread_support)
    assert second.estimate().classes == whole.estimate().classes
    for name, tensor in whole.segmenter().parts[0].state_dict().items():
        assert torch.equal(tensor, second.segmenter().parts[0].state_dict()[name]), name
    steps = {"transfer": 7, "distill": QUICK.distill_steps(3), "adapt": QUICK.adapt_steps(3)}
    assert whole.segmenter().summary["steps"] == steps


def test_more_than_five_images_make_adaptation_alone_longer_where_the_backbone_learns():
    config = FitConfig()

    def steps(images: int, few: float | None = 5) -> tuple[int, int, int]:
        return tuple(phase(images, few) for phase in (config.transfer_steps, config.distill_steps, config.adapt_steps))

    assert [steps(images) for images in (1, 5, 6, 25, 80)] == [
        (56, 60, 68),
        (76, 109, 78),
        (76, 109, 92),
        (76, 109, 255),
        (76, 109, 260),
    ]
    # no step more or less than in three phases that all get longer: 120 + 64 sqrt(k)
    assert sum(steps(25)) == sum(steps(25, None)) == 120 + 64 * 5
    assert steps(25, None) == (120, 220, 100)
    assert FitConfig(instant=True).adapt_steps(25, 5) == 0
    assert FitConfig(effort=0.5).adapt_steps(80, 5) == 130
    support = square_support(9)
    learning, frozen = (FitRun(support, replace(QUICK, backbone_rate=rate), lambda _: None) for rate in (2e-4, 0.0))
    assert [phase.steps for phase in learning._phases] == [8, 11, 13]
    assert [phase.steps for phase in frozen._phases] == [9, 14]
    # nine images of three classes each in its own three are few
    samples = [Sample(s.name, s.image, s.mask * np.uint8(1 + n % 3)) for n, s in enumerate(support.samples)]
    of_three = FitRun(SupportSet(samples, ("a", "b", "c")), QUICK, lambda _: None)
    assert [phase.steps for phase in of_three._phases] == [9, 14, 8]


def test_what_fine_tuning_leaves_of_the_cross_validation_comes_after_it():
    alone = FitRun(square_support(3), replace(QUICK, use_teacher=False), lambda _: None)
    assert alone.steps_in_all == QUICK.distill_steps(3) + QUICK.adapt_steps(3)
    alone.advance()  # there is no fine-tuning, only the seam
    seen = []
    while alone.validating:
        seen.append((alone.validation.steps_done, alone.steps_done, alone.progress("").phase))
        alone.advance()
    assert seen == [(step, 0, "validate") for step in range(6)]
    alone.advance()
    assert alone.steps_done == 1


def test_the_backbones_later_stages_learn_and_nothing_else_of_it(tmp_path):
    support = square_support(3)
    run = FitRun(support, QUICK, lambda _: None)
    before = {name: tensor.clone() for name, tensor in run.ready.backbone.state_dict().items()}
    late = {id(p) for p in run.ready.backbone.tail_parameters()}
    later = {name for name, p in run.ready.backbone.named_parameters() if id(p) in late}
    while not run.done:
        run.advance()
    segmenter = run.segmenter()
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.ready.backbone.state_dict().items())
    after = segmenter.parts[0].state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == later
    assert not any(p.requires_grad for p in segmenter.parts[0].parameters())
    # such a backbone is in no package: it goes into the file, and comes back out of it
    segmenter.save(tmp_path / "model.safetensors")
    loaded, image = Segmenter.load(tmp_path / "model.safetensors"), square_pair(9)[0]
    assert loaded.info.backbone_embedded
    assert torch.equal(loaded.logits(image), segmenter.logits(image))
    answers = [model.answer(image).judged.strangeness for model in (segmenter, loaded)]
    assert answers[0] == answers[1] is not None


def test_a_part_of_the_way_is_gone_back():
    """Three images and a prior of one: three quarters of the way, in every weight of student and backbone."""
    ends, start = {}, {}
    for prior in (0.0, 1.0):
        run = FitRun(square_support(3), replace(QUICK, adapt_prior=prior), lambda _: None)
        while not run.adapts:
            run.advance()
        start = {name: tensor.clone() for name, tensor in run.student.state_dict().items()}
        while not run.done:
            run.advance()
        segmenter = run.segmenter()
        ends[prior] = parameters(segmenter), segmenter.parts[0].state_dict()
        frozen = run.ready.backbone.state_dict()
    moved = 0
    for before, all_the_way, kept in ((start, ends[0.0][0], ends[1.0][0]), (frozen, ends[0.0][1], ends[1.0][1])):
        for name, tensor in kept.items():
            wanted = 0.25 * before[name] + 0.75 * all_the_way[name]
            torch.testing.assert_close(tensor, wanted, rtol=1e-4, atol=1e-6)
            moved += not torch.equal(before[name], all_the_way[name])
    assert moved > 50


@pytest.mark.parametrize(("rate", "images", "kept"), [(2e-4, 2, 0.4), (0.0, 1, 0.2), (0.0, 3, 1.0)])
def test_with_one_or_two_images_a_part_of_distillation_is_taken_back(monkeypatch, rate, images, kept):
    """Two images: two fifths of the way, in every weight of the student."""
    config = replace(QUICK, backbone_rate=rate, estimate=False)
    ends, start = {}, {}
    for share in (1.0, None):
        run = FitRun(square_support(images), config, lambda _: None)
        if share is not None:
            monkeypatch.setattr(FitConfig, "distill_share", lambda self, shots: 1.0)
        while not run.handed_over:
            run.advance()
        start = {name: tensor.clone() for name, tensor in run.student.state_dict().items()}
        while not (run.adapts or run.done):
            run.advance()
        ends[share] = {name: tensor.clone() for name, tensor in run.student.state_dict().items()}
        monkeypatch.undo()
    moved = 0
    for name, tensor in ends[None].items():
        wanted = (1 - kept) * start[name] + kept * ends[1.0][name]
        torch.testing.assert_close(tensor, wanted, rtol=1e-4, atol=1e-6)
        moved += not torch.equal(start[name], ends[1.0][name])
    assert moved > 20


def test_a_meta_trained_teacher_learns_nothing_from_one_image_alone():
    """Query and support would be views of one picture; a teacher from scratch has nothing better."""
    steps = [FitRun(square_support(1), replace(QUICK, init=init), lambda _: None)._phases[0].steps for init in STARTS]
    assert steps == [0, QUICK.transfer_steps(1)]
    two = FitRun(square_support(2), QUICK, lambda _: None)
    assert two._phases[0].steps == QUICK.transfer_steps(2)


@pytest.mark.parametrize("knobs", [{"backbone_rate": 0.0}, {"instant": True}])
def test_a_backbone_that_is_to_stay_as_it_is_does(knobs):
    run = FitRun(square_support(3), replace(QUICK, **knobs), lambda _: None)
    while not run.done:
        run.advance()
    segmenter = run.segmenter()
    assert segmenter.parts[0] is run.ready.backbone
    assert "adapt" not in segmenter.summary["steps"]
    assert "strangeness_middle" not in segmenter.summary
    assert not segmenter.embeds_backbone


def test_a_first_model_is_the_student_as_it_takes_over():
    support, found = square_support(3), []

    def keep(segmenter: Segmenter) -> None:
        state = {name: tensor.clone() for name, tensor in parameters(segmenter).items()}
        found.append((state, segmenter.summary, segmenter(square_pair(9)[0])))

    fit(support, QUICK, first_model=keep)
    ((state, summary, mask),) = found
    assert summary["steps"] == {"transfer": 7, "distill": 0, "adapt": 0}
    assert "estimate" not in summary
    assert mask.shape == (96, 96)
    run = FitRun(support, QUICK, lambda _: None)
    while not run.handed_over:
        run.advance()
    for name, tensor in parameters(run.segmenter()).items():
        assert torch.equal(tensor, state[name]), name
    fit(support, FitConfig(size=96, instant=True), first_model=keep)
    assert len(found) == 1


def test_a_state_belongs_to_its_support_and_settings(tmp_path):
    run = FitRun(square_support(1), QUICK, lambda _: None)
    run.advance()
    path = tmp_path / "state"
    save_state(path, run.state(), "mine")
    assert load_state(path, "mine") is not None
    assert load_state(path, "another") is None
    assert load_state(tmp_path / "missing", "mine") is None
    path.write_bytes(path.read_bytes()[:200])
    assert load_state(path, "mine") is None
    path.write_bytes(b"")
    assert load_state(path, "mine") is None


def test_ctrl_c_keeps_the_state_and_the_next_call_goes_on(tmp_path):
    support, path = square_support(2), tmp_path / "model.part"
    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if progress.phase == "transfer" and progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(FitInterrupted, match=r"model\.part: stopped at step 2 of \d+.*same command again"):
        fit(support, QUICK, state=path, progress=stop)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert path.is_file()
    resumed = fit(support, QUICK, state=path, progress=seen.append)
    assert "going on at step 2" in " ".join(p.message for p in seen)
    assert_same(resumed, fit(support, QUICK))


def test_a_finished_fit_is_not_lost_before_its_model_is_saved(tmp_path):
    support, path = square_support(1), tmp_path / "model.part"
    segmenter = fit(support, QUICK, state=path)
    steps: list[Progress] = []
    again = fit(support, QUICK, state=path, progress=steps.append)
    assert_same(segmenter, again)
    trained = [p for p in steps if p.phase in ("transfer", "distill", "adapt")]
    assert [p.step for p in trained] == [trained[0].steps]  # nothing was computed twice


def test_ctrl_c_while_the_last_state_is_written_loses_nothing(tmp_path, monkeypatch):
    path, real = tmp_path / "model.part", fitting.save_state

    def save(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        real(*given)

    monkeypatch.setattr(fitting, "save_state", save)
    with pytest.raises(FitInterrupted, match=r"stopped at step (\d+) of \1\.") as caught:
        fit(square_support(1), QUICK, state=path)
    assert caught.value.terminated
    monkeypatch.undo()
    steps: list[Progress] = []
    fit(square_support(1), QUICK, state=path, progress=steps.append)
    assert "going on at step" in " ".join(p.message for p in steps)


def test_a_state_goes_where_no_other_file_is(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("precious")
    seen: list[Progress] = []
    for path, said in ((notes, "is no state of a fit"), (tmp_path / "nowhere" / "a.part", "folder")):
        with pytest.raises(OutputError, match=said):
            fit(square_support(1), QUICK, state=path, progress=seen.append)
    assert notes.read_text() == "precious"
    assert {p.phase for p in seen} == {"prepare"}


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with graceful_interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupt.requested
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_fit_works_outside_the_main_thread():
    found: list[Segmenter] = []
    thread = threading.Thread(target=lambda: found.append(fit(square_support(1), QUICK)))
    thread.start()
    thread.join()
    assert_same(found[0], fit(square_support(1), QUICK))


def test_progress_starts_at_once_and_counts_to_the_end():
    seen: list[Progress] = []
    fit(square_support(2), QUICK, progress=seen.append)
    assert seen[0].phase == "prepare"
    steps = [p for p in seen if p.phase in ("transfer", "distill", "adapt")]
    assert [p.step for p in steps] == list(range(1, steps[-1].steps + 1))
    assert [p.phase for p in seen if p.phase != "prepare"] == sorted(
        (p.phase for p in seen if p.phase != "prepare"), key=["transfer", "distill", "adapt"].index
    )
    assert {p.steps for p in steps} == {steps[-1].steps}


@pytest.mark.parametrize("ways", [1, 2, 20])
def test_one_image_and_many_classes(ways):
    image, mask = striped(ways)
    support = SupportSet.from_arrays([image], [mask])
    segmenter = fit(support, QUICK)
    found, probabilities = segmenter(image, probabilities=True)
    assert found.shape == mask.shape
    assert probabilities.shape == (*mask.shape, ways + 1)


def striped(ways: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.repeat(np.arange(ways + 1, dtype=np.uint8), 8)[None].repeat(64, axis=0)
    return np.repeat((mask * 12)[..., None], 3, axis=2), mask


def test_empty_and_ignored_masks_and_mixed_sizes_are_no_obstacle():
    pairs = [square_pair(seed, size) for seed, size in enumerate([(96, 96), (40, 120), (130, 70), (64, 64)])]
    pairs[1][1][:] = 0
    pairs[2][1][:] = 255
    segmenter = fit(SupportSet.from_arrays([p[0] for p in pairs], [p[1] for p in pairs]), QUICK)
    assert all(bool(torch.isfinite(t).all()) for t in parameters(segmenter).values())
    assert segmenter(pairs[1][0]).shape == (40, 120)


def test_nothing_of_the_support_is_in_the_model():
    """Same names, same shapes, same bytes whatever k: the cost of use cannot depend on it."""
    shapes = []
    for count in (1, 5):
        segmenter = fit(square_support(count), QUICK)
        shapes.append({name: tensor.shape for name, tensor in parameters(segmenter).items()})
    assert shapes[0] == shapes[1]


def test_learning_rate_rises_and_falls():
    rates = [learning_rate(step, 200, 1.0) for step in range(200)]
    assert rates[0] == pytest.approx(1 / WARM_UP_STEPS)
    assert max(rates) == rates[WARM_UP_STEPS - 1] == pytest.approx(0.978, abs=0.01)
    assert rates[-1] == pytest.approx(FINAL_SHARE, abs=0.001)
    assert rates[WARM_UP_STEPS:] == sorted(rates[WARM_UP_STEPS:], reverse=True)


@pytest.mark.parametrize(
    ("knobs", "hint"),
    [
        ({"device": "tpu"}, "auto, cpu"),
        ({"size": 10}, "64 to 2048"),
        ({"effort": 0}, "above 0"),
        ({"seed": -1}, "0 or more"),
        ({"new_views": 65}, "0 to pool_views"),
        ({"jitter": -0.1}, "from 0, which is none"),
        ({"backbone_rate": -1e-4}, "from 0, which leaves the backbone"),
        ({"adapt_batch": 0}, "1 or more"),
        ({"adapt_prior": -1}, "0 or more images"),
    ],
)
def test_settings_are_checked(knobs, hint):
    with pytest.raises(UsageError, match=hint):
        FitConfig(**knobs)


def test_the_fingerprint_covers_what_decides_the_outcome():
    assert FitConfig().fingerprint() == FitConfig(device="cpu").fingerprint()
    assert FitConfig().fingerprint() != FitConfig(seed=1).fingerprint()
    assert FitConfig().fingerprint() != FitConfig(learning_rate=1e-3).fingerprint()


def test_a_device_that_is_not_there_is_named():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UsageError, match=r"'cuda' is not available.*cpu"):
        fit(square_support(1), FitConfig(device="cuda"))


@pytest.mark.parametrize(
    ("support", "config", "told"),
    [
        ([np.zeros((9, 9, 3), np.uint8)], None, "a support of Python type list"),
        (square_support(2), {"size": 128}, "a config of Python type dict"),
    ],
)
def test_what_is_no_support_or_config_is_told(support: object, config: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        fit(support, config)  # type: ignore[arg-type]
