"""What a phase loads, and when."""

import subprocess
import sys

from helpers import REPOSITORY, cli_environment

NO_STEP = """
import sys
from scenes import square_support
from distillfss import FitConfig, fit
fit(square_support(3), FitConfig(size=96, instant=True))
print("torch._dynamo" in sys.modules)
fit(square_support(3), FitConfig(size=96, effort=0.02, pool_views=6, estimate=False))
print("torch._dynamo" in sys.modules)
"""


def test_a_model_without_steps_does_not_wait_for_the_optimiser():
    """PyTorch's first optimiser imports its compiler: two seconds of an instant model's seven."""
    environment = cli_environment()
    environment["PYTHONPATH"] += f":{REPOSITORY / 'tests' / 'training'}"
    done = subprocess.run([sys.executable, "-c", NO_STEP], capture_output=True, text=True, env=environment, timeout=300)
    assert done.stdout.split() == ["False", "True"], done.stderr
