"""Adaptation, from what the frozen backbone and the student say on their own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scenes import square_support
from torch import nn

from distillfss import FitConfig
from distillfss.fit_run import FitRun
from distillfss.models.classes import merge_classes
from distillfss.models.mixer import resize
from distillfss.models.tail import FixedTail
from distillfss.training.loop import PhaseRunner, learning_rate
from distillfss.training.losses import segmentation_loss
from distillfss.training.targets import every_other_pixel


@pytest.fixture(scope="module")
def run() -> FitRun:
    config = FitConfig(size=96, effort=0.05, pool_views=4, jitter=0.0, adapt_batch=3, estimate=False)
    run = FitRun(square_support(3, ways=2), config, lambda _: None)
    while not run.adapts:
        run.advance()
    return run


def test_a_learning_tail_starts_as_the_frozen_backbone(run: FitRun):
    image = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0)) * 255
    wanted = run.encode(image)
    head = run.tail.encode_head(image)
    assert len(head) == run.ready.backbone.tail_from + 2  # and the map before them
    for one, two in zip(run.tail(head), wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert {id(p) for p in run.tail.parameters() if p.requires_grad} == {
        id(p) for p in run.tail.backbone.tail_parameters()
    }


def test_what_stands_for_a_tail_that_may_not_learn(run: FitRun):
    image = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0)) * 255
    tail = FixedTail(run.ready.backbone, run.ready.standardize)
    head = tail.encode_head(image)
    for one, two in zip(tail(head), run.encode(image), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(tail.fine(head), run.ready.backbone.fine(image))
    assert not tail.state_dict()
    assert tail.drawn_back(run.ready.backbone, 0.5) is tail


def test_the_loss_is_that_of_the_students_answer_to_new_views(run: FitRun):
    phase = run._phases[2]
    found = phase.loss(0, 500).detach()
    views = phase.views.advance(500)
    assert [view.number for view in views] == [1500, 1501, 1502]  # three new ones in every step
    # the same views, looked at by the whole of the frozen backbone
    random = np.random.default_rng([run.config.seed, 1, 500])
    logits = []
    for view in views:
        number = int(np.random.default_rng([run.config.seed, 3, view.number]).integers(2**62))
        image = phase.views._augmenter.view(view.source, number).image
        logits.append(run.student(run.encode(image[None]), phase.probes[view.source][None])[0])
    target = every_other_pixel(torch.cat([view.mask for view in views]), random)
    wanted = segmentation_loss(resize(merge_classes(torch.cat(logits)), target.shape[-2:]), target)
    assert float(found) == pytest.approx(float(wanted.detach()), rel=1e-4)


def test_a_step_reaches_student_and_tail_alone(run: FitRun):
    before = {name: tensor.clone() for name, tensor in run.teacher.state_dict().items()}
    run.teacher.zero_grad(set_to_none=True)
    run._phases[2].loss(1, 501).backward()
    assert all(p.grad is None for p in run.teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.teacher.state_dict().items())
    assert all(p.grad is not None for p in run.tail.backbone.tail_parameters())
    assert all(p.grad is None for p in run.ready.backbone.parameters())
    run._phases[2].model.zero_grad(set_to_none=True)


def test_slower_modules_have_a_rate_of_their_own():
    """AdamW's first step is as long as the learning rate, whatever the gradient."""
    fast, slow = nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)
    model = nn.ModuleList([fast, slow])
    starts = [module.weight.detach().clone() for module in (fast, slow)]
    inputs = torch.tensor([1.0, 2.0, -3.0])
    phase = SimpleNamespace(
        name="both", model=model, steps=50, loss=lambda step, pool_step: (fast(inputs) + 5 * slow(inputs)).sum()
    )
    runner = PhaseRunner(phase, 0, peak=1e-2, weight_decay=0.0, apart=[(slow, 1e-4)])
    runner.advance()
    for module, start, peak in zip((fast, slow), starts, (1e-2, 1e-4), strict=True):
        step = (module.weight - start).abs()
        torch.testing.assert_close(step, torch.full_like(step, learning_rate(0, 50, peak)), rtol=1e-2, atol=1e-9)
