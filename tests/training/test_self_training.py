"""Self-training, from what adaptation leaves and from what the student says on its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scenes import square_pair, square_support
from torch import nn

from distillfss import FitConfig, fit
from distillfss.errors import UsageError
from distillfss.fit_run import FitRun
from distillfss.models.classes import merge_classes
from distillfss.models.mixer import resize
from distillfss.training import self_training
from distillfss.training.adapt import Adapt
from distillfss.training.augment import STRONG, Augmenter
from distillfss.training.losses import segmentation_loss
from distillfss.training.self_training import SURE, mean_answer, own_answers
from distillfss.training.state import load_state, save_state
from distillfss.training.targets import every_other_pixel
from distillfss.unlabeled import working_images

QUICK = FitConfig(size=96, effort=0.05, pool_views=4, adapt_batch=3, estimate=False)
WITHOUT = [square_pair(seed)[0] for seed in (31, 32, 33, 34)]


@pytest.fixture(autouse=True)
def four_are_many(monkeypatch):
    """So that they have all the steps there are."""
    monkeypatch.setattr(self_training, "MOST", len(WITHOUT))


def make_run(config: FitConfig = QUICK) -> FitRun:
    return FitRun(square_support(3), config, lambda _: None, unlabeled=working_images(WITHOUT, 96))


def weights(run: FitRun) -> dict[str, torch.Tensor]:
    segmenter = run.segmenter()
    return {**segmenter._student.state_dict(), **segmenter.parts[0].state_dict()}


def test_it_begins_with_what_adaptation_leaves_and_ends_with_what_it_learnt_itself():
    run = make_run()
    while run._phase < 2 or run._runner.step < run._phases[2].steps - 1:
        run.advance()
    alone = FitRun(square_support(3), QUICK, lambda _: None)
    while not alone.done:
        alone.advance()
    run.advance()
    assert run._phases[run._phase].name == "self-train"
    begun = weights(run)
    for name, tensor in weights(alone).items():
        assert torch.equal(tensor, begun[name]), name
    while not run.done:
        run.advance()
    done = weights(run)
    for name, tensor in run.student.state_dict().items():
        assert torch.equal(tensor, done[name]), name
    assert sum(not torch.equal(done[name], begun[name]) for name in begun) > 50
    assert run.segmenter().summary["steps"]["self-train"] == QUICK.adapt_steps(3)
    assert run.segmenter().summary["unlabeled"] == 4


@pytest.mark.parametrize(("most", "steps"), [(4, 4), (8, 2), (100, 1)])
def test_few_images_have_few_steps(monkeypatch, most, steps):
    monkeypatch.setattr(self_training, "MOST", most)
    assert QUICK.adapt_steps(3) == 4
    assert make_run()._phases[3].steps == steps


class Sayer(nn.Module):
    """Says one class with logits from the image itself: a student whose answers can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, features: list[torch.Tensor], fine: None) -> tuple[torch.Tensor, None]:
        foreground = features[0][:, :1]
        return torch.stack([torch.zeros_like(foreground), foreground], 2), None


def test_only_sure_answers_are_taken():
    """Logits of two classes: the likelier one has sigmoid(|x|), which is 0.8 at |x| = ln 4."""
    border = float(np.log(SURE / (1 - SURE)))
    values = torch.tensor([[0.0, border - 0.1, border + 0.1, 9.0], [-0.5, 0.1 - border, -0.1 - border, -9.0]])
    image = torch.arange(8, dtype=torch.uint8).view(1, 2, 4)
    tail = SimpleNamespace(encode_head=lambda images: [values.view(-1)[images[:, :1].long()]])
    answers = own_answers(Sayer(), Tail(tail), [image])
    assert answers[0].tolist() == [[255, 255, 1, 1], [255, 255, 0, 0]]
    assert answers[0].dtype == torch.uint8


def test_an_answer_is_the_mean_over_mirror_images():
    """A model that sees light pixels and leans to the upper left: by hand, in float64, pixel by pixel."""
    random = np.random.default_rng(3)
    image = torch.from_numpy(random.integers(0, 256, (3, 4, 6), dtype=np.uint8))
    lean = torch.linspace(3, -3, 24).view(1, 1, 4, 6)
    tail = Tail(SimpleNamespace(encode_head=lambda images: [images[:, :1] / 64 - 2 + lean]))
    found = mean_answer(Sayer(), tail, image)
    logits, leaning = image[0].numpy() / 64 - 2.0, lean[0, 0].double().numpy()
    for y in range(4):
        for x in range(6):
            spots = [(y, x), (y, 5 - x), (3 - y, x), (3 - y, 5 - x)]  # where that pixel is in the four of them
            wanted = np.mean([1 / (1 + np.exp(-(logits[y, x] + leaning[spot]))) for spot in spots])
            assert float(found[1, y, x]) == pytest.approx(wanted, abs=1e-6)
            assert float(found[0, y, x]) == pytest.approx(1 - wanted, abs=1e-6)
    sure = found.max(0).values >= SURE
    assert 0 < int(sure.sum()) < sure.numel()
    assert torch.equal(own_answers(Sayer(), tail, [image])[0] != 255, sure)


class Tail:
    """Nothing learns."""

    def __init__(self, head: SimpleNamespace) -> None:
        self.encode_head = head.encode_head

    def __call__(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        return features

    def fine(self, features: list[torch.Tensor]) -> None:
        return None


def test_the_loss_is_that_of_annotation_and_that_of_the_answers():
    run = make_run(FitConfig(**{**vars(QUICK), "jitter": 0.0}))
    while run._phase < 3:
        run.advance()
    phase = run._phases[3]
    found = phase.loss(2, 700).detach()
    annotated = Adapt.loss(phase, 2, 700).detach()
    # views of the images and their answers, looked at one by one
    answers = own_answers(run.student, run.tail, phase.images)
    assert all(torch.equal(one, two) for one, two in zip(answers, phase.answers, strict=True))
    augmenter = Augmenter(square_support(3), 96, STRONG).of(phase.images, answers)
    logits, masks = [], []
    for number in (6, 7, 8):  # three in every step
        epoch, place = divmod(number, 4)
        source = int(np.random.default_rng([1, 2, epoch]).permutation(4)[place])
        view = augmenter.view(source, int(np.random.default_rng([1, 3, number]).integers(2**62)))
        logits.append(run.student(run.tail(run.tail.encode_head(view.image[None])))[0])
        masks.append(view.mask)
    target = every_other_pixel(torch.stack(masks), np.random.default_rng([1, 1, 2]))
    own = segmentation_loss(resize(merge_classes(torch.cat(logits)), target.shape[-2:]), target)
    assert float(own.detach()) > 0
    assert float(found) == pytest.approx(float(annotated + own.detach()), rel=1e-4)


def test_it_goes_on_from_a_state_to_the_same_model(tmp_path):
    whole, first = make_run(), make_run()
    while not whole.done:
        whole.advance()
    while first._phase < 3 or first._runner.step < 2:
        first.advance()
    save_state(tmp_path / "state", first.state(), first.fingerprint())
    second = make_run()
    second.restore(load_state(tmp_path / "state", second.fingerprint()))
    while not second.done:
        second.advance()
    there = weights(second)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, there[name]), name
    others = FitRun(square_support(3), QUICK, lambda _: None, unlabeled=working_images(WITHOUT[:3], 96))
    assert load_state(tmp_path / "state", others.fingerprint()) is None


def test_fit_takes_arrays_and_learns_something_else_from_them():
    config = FitConfig(size=96, effort=0.05, pool_views=4, estimate=False)
    with_them, without = (fit(square_support(3), config, unlabeled=given) for given in (WITHOUT, None))
    assert (with_them.summary["unlabeled"], without.summary["unlabeled"]) == (4, 0)
    assert "self-train" not in without.summary["steps"]
    image = square_pair(9)[0]
    assert not torch.equal(with_them.logits(image), without.logits(image))


@pytest.mark.parametrize("knobs", [{"backbone_rate": 0.0}, {"instant": True}])
def test_a_backbone_that_does_not_learn_has_no_use_for_them(knobs):
    config = FitConfig(**{**vars(QUICK), **knobs})
    with pytest.raises(UsageError, match="teach a backbone that learns"):
        fit(square_support(3), config, unlabeled=WITHOUT)
