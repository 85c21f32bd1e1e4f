"""The jitter of features, from what it makes of pixels whose values are known."""

import numpy as np
import torch

from distillfss.training.jitter import jittered


def test_every_channel_of_every_view_has_one_gain_and_one_offset():
    features = [torch.arange(4.0).view(1, 1, 2, 2).repeat(3, channels, 1, 1) for channels in (2000, 1000)]
    kept = [feature.clone() for feature in features]
    found = jittered(features, 0.3, np.random.default_rng(0))
    drawn = []
    for before, unchanged, after in zip(features, kept, found, strict=True):
        torch.testing.assert_close(before, unchanged, rtol=0, atol=0)
        offset = after[..., 0, 0]  # where the feature is 0
        gain = after[..., 0, 1] - offset  # and where it is 1
        torch.testing.assert_close(after, gain[..., None, None] * before + offset[..., None, None])
        drawn += [gain.flatten() - 1, offset.flatten()]
    # 9000 gains and 9000 offsets: a standard error of 0.003 of the mean, of 0.0022 of the deviation
    for part in (torch.cat(drawn[0::2]), torch.cat(drawn[1::2])):
        assert abs(float(part.mean())) < 0.013
        assert abs(float(part.std()) - 0.3) < 0.009
        assert len(part.unique()) > 8900
    # gains and offsets know nothing of each other
    assert abs(float(torch.corrcoef(torch.stack([torch.cat(drawn[0::2]), torch.cat(drawn[1::2])]))[0, 1])) < 0.045


def test_chance_is_the_steps_own():
    features = [torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(1))]
    global_state = torch.get_rng_state()
    (one,), (again,), (other,) = (jittered(features, 0.2, np.random.default_rng([7, step])) for step in (3, 3, 4))
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert not torch.allclose(one, other, atol=1e-2)
    assert torch.equal(torch.get_rng_state(), global_state)
    torch.testing.assert_close(jittered(features, 0.0, np.random.default_rng(0))[0], features[0], rtol=0, atol=0)
