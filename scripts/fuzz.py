"""Damage small files of every allowed format at random for as long as asked, and hold the decoder to its rule.

    python scripts/fuzz.py --seconds 300 --seed 1 --keep findings

Every file has to be decoded as another decoder decodes it, or refused with an error that names it. What breaks the rule
is counted, shown and, with --keep, kept. Exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from random import Random

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "io")]

from judging import Wrong, judge, judge_mask  # noqa: E402
from mutations import mask_seeds, mutated, seeds  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", default="", help="only seeds whose name begins so: png, tiff, jpeg, webp, gif, ...")
    parser.add_argument("--masks", action="store_true", help="masks, whose numbers are compared, in place of images")
    parser.add_argument("--keep", type=Path, help="folder for files that break the rule")
    parser.add_argument("--here", action="store_true", help="decode in this process: faster, and a crash ends the run")
    options = parser.parse_args()
    os.environ["DISTILLFSS_ISOLATE"] = "0" if options.here else "1"
    warnings.simplefilter("ignore")
    logging.disable()

    files = {
        name: content
        for name, content in (mask_seeds() if options.masks else seeds()).items()
        if name.startswith(options.format)
    }
    random, outcomes, broken, slowest = Random(options.seed), Counter(), Counter(), 0.0
    until = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            name = random.choice(sorted(files))
            content = mutated(random, files[name])
            started = time.monotonic()
            try:
                outcome = (judge_mask if options.masks else judge)(Path(folder) / "damaged", content)
            except Exception as error:  # not only Wrong: anything that is no refusal breaks the rule
                outcome = "WRONG"
                reason = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
                broken[name, reason[:100]] += 1
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    kept = f"{name.replace(' ', '_')}-{options.seed}-{sum(broken.values())}"
                    (options.keep / kept).write_bytes(content)
            outcomes[name.split()[0], outcome] += 1
            slowest = max(slowest, time.monotonic() - started)
    for (name, outcome), count in sorted(outcomes.items()):
        print(f"{name:<10} {outcome:<20} {count:>8}")
    print(f"{sum(outcomes.values())} files, the slowest took {slowest:.2f} s")
    for (name, reason), count in broken.most_common(40):
        print(f"{count:>6}  {name}: {reason}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
