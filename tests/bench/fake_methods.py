"""Methods without a network, as a researcher would bring them: copied into the working directory as ``mine``.

Every fit leaves a line in ``calls.txt`` when it begins and one when it ends, so that tests can count.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from distillfss.metrics import resize_mask


class Thresholded:
    def __init__(self, class_names, limit, reverse=False):
        self.class_names = class_names
        self.limit = limit
        self.reverse = reverse

    def predict(self, pixels, sizes):
        mask = ((pixels[:, :, 0] >= self.limit) != self.reverse).astype(np.uint8)
        return [resize_mask(mask, size) for size in sizes]


class Bright:
    """Finds everything with much red in it."""

    name = "bright"
    limit = 128

    def __init__(self, settings):
        self.settings = settings

    def identity(self):
        return {"limit": self.limit}

    def fit(self, support, unlabeled=None):
        self.note("begins", support, unlabeled)
        result = self.learn(support)
        self.note("ends", support, unlabeled)
        return result

    def learn(self, support):
        return Thresholded(support.class_names, self.limit)

    def note(self, what, support, unlabeled):
        extra = 0 if unlabeled is None else len(unlabeled)
        with Path("calls.txt").open("a") as file:
            file.write(
                f"{what} {self.name} seed {self.settings.seed} support {len(support)} extra {extra} pid {os.getpid()}\n"
            )


class Dark(Bright):
    """Finds everything else, which is wrong."""

    name = "dark"

    def learn(self, support):
        return Thresholded(support.class_names, self.limit, reverse=True)


class Swapped(Bright):
    """Names its classes the other way round, and marks everything with the second one: the data set's first."""

    name = "swapped"

    def learn(self, support):
        return Everything(tuple(reversed(support.class_names)))


class Everything:
    def __init__(self, class_names):
        self.class_names = class_names

    def predict(self, pixels, sizes):
        return [np.full(size, len(self.class_names), np.uint8) for size in sizes]


class Slow(Bright):
    """Takes a while."""

    name = "slow"

    def learn(self, support):
        for _ in range(600):
            if Path("go").exists():
                break
            time.sleep(0.1)
        return super().learn(support)


class Steady(Bright):
    """Takes a second."""

    name = "steady"

    def learn(self, support):
        time.sleep(1)
        return super().learn(support)


class Failing(Bright):
    """Raises as long as there is a file ``broken``."""

    name = "failing"

    def learn(self, support):
        if Path("broken").exists():
            raise ValueError("the method is broken")
        return super().learn(support)


class Crashing(Bright):
    """Takes its process with it."""

    name = "crashing"

    def learn(self, support):
        os.kill(os.getpid(), signal.SIGKILL)
