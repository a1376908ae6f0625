"""Time `inflate-zoo report` on many records: 12 tasks, 8 arms, 5 folds, 21 seeds, 10,080 in all.

Every value is made up; what is timed is reading, ranking, drawing and writing.

Usage: python benchmarks/speed/report.py [--seeds 21] [--profile]
"""

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from inflate_zoo.bench.report.writing import write_report  # noqa: E402
from tests.support import records  # noqa: E402 - the path comes first

TASKS, FOLDS, CASES = 12, 5, 20  # cases of a fold
VOXELS = 1000  # of a region
ARMS = records.arms_of(("made-up/vit-one", "made-up/vit-two"), ("center", "average", "repeat"))[:8]


def count_voxels(record: dict[str, Any]) -> None:
    """Add the counts of voxels that real records have, and several folds are pooled by."""
    for case in record["result"]["cases"]:
        for scores in case["regions"].values():
            same = round(VOXELS * scores["dice"])
            counts = {"prediction_voxels": VOXELS, "reference_voxels": VOXELS}
            scores |= {**counts, "intersection": same, "dice": same / VOXELS}


def write(folder: Path, seeds: int) -> int:
    """Made-up records; returns how many."""
    count = 0
    for place in range(TASKS):
        task = records.task(f"made-up-{place:02d}", ("anterior", "posterior"))
        for fold in range(FOLDS):
            names = [f"{fold}_{case:03d}" for case in range(CASES)]
            for arm in ARMS:
                for seed in range(seeds):
                    made = records.record(arm, seed, task=task, fold=fold, cases_named=names)
                    count_voxels(made)
                    records.save(folder, made, overlays=not seed and not fold)
                    count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=21, help="trainings of each arm and fold")
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write(folder, options.seeds)
        profile = cProfile.Profile()
        began = time.perf_counter()
        if options.profile:
            profile.enable()
        write_report([folder], folder)
        profile.disable()
        spent = time.perf_counter() - began
        page = (folder / "report.html").stat().st_size
    print(f"{count:,} records: {spent:.1f} s, a page of {page / 1e6:.1f} MB")
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(35)


if __name__ == "__main__":
    main()
