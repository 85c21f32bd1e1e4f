"""Every method behind the one interface, and the closed forms against independent computations."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from scenes import square_pair, square_support

from distillfss import FitConfig, SupportSet, evaluate, fit
from distillfss.bench.cells import find_method
from distillfss.bench.methods import METHODS, MethodSettings
from distillfss.bench.methods.budget import fit_steps
from distillfss.bench.methods.common import FrozenFeatures, stacked
from distillfss.bench.methods.decoder import FeaturePyramidDecoder
from distillfss.bench.methods.linear import BALANCES, RIDGES, Linear, Moments, at_grid, leave_one_out, pixels_of
from distillfss.bench.methods.teacher import TeacherPredictor, TransferredTeacher, fit_config, quiet
from distillfss.bench.methods.unet import UNet
from distillfss.fit_run import FitRun
from distillfss.models.classes import BELOW, merge_classes
from distillfss.preprocess import at_working_size
from distillfss.training.targets import class_masks

SETTINGS = MethodSettings(size=96, effort=0.1, init="scratch", device="cpu")
LEARNING = ("linear", "forest", "decoder", "unet", "transfer", "distill", "distill-no-teacher")


@pytest.fixture(scope="module")
def test_images() -> SupportSet:
    pairs = [square_pair(seed) for seed in range(100, 104)]
    return SupportSet.from_arrays([p[0] for p in pairs], [p[1] for p in pairs])


@pytest.mark.parametrize("name", METHODS)
def test_contract(name, test_images):
    settings = MethodSettings(size=96, effort=0.25 if name in LEARNING else 0.1, init="scratch", device="cpu")
    method = find_method(name)(settings)
    assert method.name == name
    before = torch.random.get_rng_state()
    predictor = method.fit(square_support(3))
    assert torch.equal(torch.random.get_rng_state(), before), "a fit must not use up the caller's randomness"
    assert tuple(predictor.class_names) == ("class_1",)
    masks = predictor.predict(square_pair(9, (60, 130))[0], [(60, 130), (33, 7)])
    assert [m.shape for m in masks] == [(60, 130), (33, 7)]
    assert all(m.dtype == np.uint8 and set(np.unique(m)) <= {0, 1} for m in masks)
    if name in LEARNING:
        assert evaluate(predictor, test_images).foreground_iou > 0.5


@pytest.mark.parametrize("name", ["linear", "forest", "decoder", "unet"])
def test_the_same_seed_gives_the_same_masks(name):
    support, image = square_support(2, ways=2), square_pair(9, ways=2)[0]
    settings = MethodSettings(size=64, effort=0.03, device="cpu")
    one, two = (find_method(name)(settings).fit(support).predict(image, [(96, 96)])[0] for _ in range(2))
    assert (one == two).all()


@pytest.mark.parametrize("name", ["prototype", "teacher", "instant"])
def test_a_class_without_an_example_is_found_nowhere(name):
    shown = square_support(3)
    support = SupportSet(shown.samples, ("never", "square"))
    for sample in support.samples:
        sample.mask[sample.mask == 1] = 2
    assert support.never == (0,)
    settings = MethodSettings(size=96, effort=0.1, device="cpu")
    predictor = find_method(name)(settings).fit(support)
    image = square_pair(9, (60, 130))[0]
    assert set(np.unique(predictor.predict(image, [(60, 130)])[0])) == {0, 2}
    if name != "prototype":  # others would hardly find it on such an image anyway
        _, never, square = predictor.logits(image)[0]
        torch.testing.assert_close(never, square - BELOW)


def moments_and_pixels(seed=0, count=400, width=6):
    random = np.random.default_rng(seed)
    pixels = torch.from_numpy(random.normal(size=(count, width)))
    classes = torch.from_numpy(random.integers(0, 3, count))
    classes[:20] = 255
    return Moments.of(pixels, classes, 2), pixels, classes


def test_linear_is_weighted_ridge_regression_on_one_hot_targets():
    moments, pixels, classes = moments_and_pixels()
    known = classes != 255
    x, y = pixels[known].numpy(), np.eye(3)[classes[known].numpy()]
    for ridge, balance in ((1e-3, 0.0), (1e-1, 1.0)):
        share = y.mean(0)
        weight = (share**-balance)[classes[known].numpy()]
        weight = weight / weight.sum()
        gram = np.einsum("n,ni,nj->ij", weight, x, x)
        penalty = np.diag([*[ridge * np.diag(gram)[:-1].mean()] * 5, 0])
        wanted = np.linalg.solve(gram + penalty, np.einsum("n,ni,nc->ic", weight, x, y))
        np.testing.assert_allclose(moments.solve(ridge, balance).numpy(), wanted, rtol=1e-9)


def test_moments_add_and_subtract():
    one, two = moments_and_pixels(0)[0], moments_and_pixels(1)[0]
    back = (one + two) - two
    torch.testing.assert_close(back.second, one.second)
    torch.testing.assert_close(back.count, one.count)


def test_leave_one_out_is_what_fitting_without_the_image_gives():
    parts = [moments_and_pixels(seed) for seed in range(3)]
    total = parts[0][0] + parts[1][0] + parts[2][0]
    plain = [(p[1].float(), p[2]) for p in parts]
    chosen = leave_one_out(total, {i: p[0] for i, p in enumerate(parts)}, plain)
    scores = {}
    for ridge in RIDGES:
        for balance in BALANCES:
            counts = np.zeros((2, 2))
            for out in range(3):
                rest = [p for i, p in enumerate(parts) if i != out]
                pixels, classes = (torch.cat([p[j] for p in rest]) for j in (1, 2))
                found = (parts[out][1] @ Moments.of(pixels, classes, 2).solve(ridge, balance)).argmax(1).numpy()
                truth = parts[out][2].numpy()
                for c in (1, 2):
                    p, t = (found == c) & (truth != 255), truth == c
                    counts[:, c - 1] += [(p & t).sum(), (p | t).sum()]
            scores[ridge, balance] = (counts[0] / counts[1]).mean()
    assert scores[chosen] == pytest.approx(max(scores.values()), abs=1e-6)


def test_a_single_image_needs_no_leave_one_out(test_images):
    predictor = Linear(SETTINGS).fit(square_support(1))
    assert evaluate(predictor, test_images).foreground_iou > 0.3


def test_stacked_features_are_all_layers_on_the_finest_grid():
    maps = [torch.arange(16.0).view(1, 1, 4, 4), torch.full((1, 2, 2, 2), 3.0)]
    found = stacked(maps)
    assert found.shape == (1, 3, 4, 4)
    assert torch.equal(found[:, :1], maps[0])
    assert found[:, 1:].unique().tolist() == [3.0]
    pixels, size = pixels_of(maps)
    assert (pixels.shape, size) == ((16, 4), (4, 4))
    assert pixels[5].tolist() == [5.0, 3.0, 3.0, 1.0]
    assert at_grid(torch.tensor([[1, 1, 0, 0], [1, 1, 0, 255]]), (1, 2)).tolist() in ([1, 0], [1, 255])


def test_every_layer_reaches_the_decoders_logits():
    frozen = FrozenFeatures(square_support(1), SETTINGS)
    decoder = FeaturePyramidDecoder(frozen.layers, 2).eval()
    features = [f.requires_grad_() for f in frozen.encode(torch.rand(2, 3, 64, 96) * 255)]
    logits = decoder(features)
    assert logits.shape == (2, 3, 16, 24)
    logits.square().sum().backward()
    assert all(float(f.grad.abs().sum()) > 0 for f in features)


def test_the_unets_encoder_learns_too():
    from distillfss.backbones import load_backbone

    model = UNet(load_backbone("efficientnet_lite0"), 2).train()
    logits = model(torch.rand(2, 3, 64, 96) * 255)
    assert logits.shape == (2, 3, 32, 48)
    logits.square().sum().backward()
    assert float(model.encoder.stem.weight.grad.abs().sum()) > 0


def test_opponents_are_given_the_steps_of_a_whole_fit():
    """40 + 16 sqrt(k) of transfer, 20 + 40 sqrt(k) of distillation, 60 + 8 sqrt(k) with the backbone."""
    for images in (1, 4, 25, 64):
        assert fit_steps(MethodSettings(), images) == 120 + 64 * images**0.5
    assert fit_steps(MethodSettings(effort=0.5), 25) == 220


@pytest.mark.parametrize(("name", "multiple"), [("decoder", 1), ("unet", 3)])
@pytest.mark.parametrize(("images", "seconds"), [(5, 161.4), (13, 206.9)])
def test_opponents_get_the_seconds_of_our_fit_and_a_little_more(name, multiple, images, seconds):
    """By the seconds that were measured: of whole fits of ours, and of an opponent's step."""
    method = find_method(name)(MethodSettings())
    step = importlib.import_module(METHODS[name].split(":")[0]).STEP_SECONDS
    assert 1.12 < method.steps(images) * step / (multiple * seconds) < 1.22
    half = find_method(name)(MethodSettings(effort=0.5))
    assert half.steps(images) == pytest.approx(method.steps(images) / 2, abs=1)
    assert half.identity() != method.identity()


def test_settings_reach_the_fit():
    settings = MethodSettings(seed=3, backbone="efficientnet_lite1", size=128, device="cpu", effort=0.5, init="scratch")
    assert vars(settings).items() <= vars(fit_config(settings)).items()


def test_distill_is_fit():
    support, image = square_support(2), square_pair(9)[0]
    config = fit_config(SETTINGS)
    assert (
        find_method("distill")(SETTINGS).fit(support).predict(image, [(96, 96)])[0] == fit(support, config)(image)
    ).all()


def test_a_variant_differs_in_the_knobs_it_names_and_in_nothing_else():
    varied = find_method("distill@jitter=0,crop=0.5,use_teacher=no,init=scratch,pool_views=32")(MethodSettings(seed=3))
    assert varied.name == "distill@jitter=0,crop=0.5,use_teacher=no,init=scratch,pool_views=32"
    changes = {"jitter": 0.0, "crop": 0.5, "use_teacher": False, "init": "scratch", "pool_views": 32}
    assert varied.identity() == {"config": vars(FitConfig(seed=3, estimate=False, **changes))}
    instant = find_method("instant@init=scratch")(MethodSettings())
    assert instant.identity() == {"config": vars(FitConfig(instant=True, estimate=False, init="scratch"))}
    support, image = square_support(2), square_pair(9)[0]
    found = find_method("distill@jitter=0")(SETTINGS).fit(support).predict(image, [(96, 96)])[0]
    assert (found == fit(support, fit_config(SETTINGS, jitter=0.0))(image)).all()


def test_without_a_teacher_none_is_trained_and_the_mixer_starts_the_same():
    run = FitRun(square_support(2), fit_config(SETTINGS, use_teacher=False), quiet)
    assert run.transferred
    before = {name: t.clone() for name, t in run.teacher.state_dict().items()}
    assert torch.equal(run.teacher.mixer.logits.weight, before["mixer.logits.weight"])
    while not run.done:
        run.advance()
    assert all(torch.equal(t, before[name]) for name, t in run.teacher.state_dict().items())
    assert run.segmenter().summary["steps"]["transfer"] == 0


def test_the_transferred_teacher_is_shown_the_whole_support():
    support, image = square_support(3), square_pair(9)[0]
    predictor = TransferredTeacher(SETTINGS).fit(support)
    assert isinstance(predictor, TeacherPredictor)
    run = predictor._run
    features = [torch.cat(layer) for layer in zip(*(view.features for view in run.ready.plain), strict=True)]
    masks = class_masks(torch.cat([view.mask for view in run.ready.plain]), 1)
    with torch.no_grad():
        query = run.ready.standardize(run.ready.backbone(at_working_size(image, 96)[None]))
        wanted = merge_classes(run.teacher(query, run.teacher.support_tokens(features, masks, run.ready.probe))[0])
    torch.testing.assert_close(predictor.logits(image), wanted)
    assert len(run.ready.plain) == 3


def test_the_transferred_teacher_is_that_of_a_fit_and_with_many_images_has_more_steps():
    run = FitRun(square_support(3), fit_config(SETTINGS), quiet)
    while not run.transferred:
        run.advance()
    alone = TransferredTeacher(SETTINGS).fit(square_support(3))._run
    for name, tensor in run.teacher.state_dict().items():
        assert torch.equal(alone.teacher.state_dict()[name], tensor), name
    config = fit_config(SETTINGS)
    many = TransferredTeacher(SETTINGS).fit(square_support(16))._run.steps_taken()["transfer"]
    assert many == config.transfer_steps(16) > config.transfer_steps(16, 5)
