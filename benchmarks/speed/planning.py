"""Time what `bench --plan`, the same again, a worker and `status` do with 10,000 trials.

Trials, weights and cases are made up; what is timed is naming, writing, comparing and reading their
folders. Seconds are of the processor: a machine that does other work takes longer.

Usage: python benchmarks/speed/planning.py [--trials 10000] [--cases 10 260] [--folder DIR]
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from inflate_zoo.bench.definitions.catalog import load_protocol, load_task  # noqa: E402
from inflate_zoo.bench.definitions.results import Run  # noqa: E402
from inflate_zoo.bench.definitions.trial_folder import TrialFolder  # noqa: E402
from inflate_zoo.bench.definitions.trials import (  # noqa: E402
    ArmSpec,
    CaseNames,
    Place,
    TrialSpec,
)
from inflate_zoo.bench.engines.elsewhere import Elsewhere  # noqa: E402
from inflate_zoo.bench.training.devices import Resources  # noqa: E402
from inflate_zoo.bench.trials.folder import plan_trials  # noqa: E402
from inflate_zoo.bench.trials.readiness import require_place  # noqa: E402
from inflate_zoo.bench.trials.run_plan import begin_run, planned_trials  # noqa: E402
from inflate_zoo.bench.trials.running import standing  # noqa: E402
from inflate_zoo.bench.trials.status import run_status  # noqa: E402
from tests.support.trials import result_of  # noqa: E402 - the path comes first

ARMS, FOLDS, DONE = 20, 5, 1000
CONFIG = ROOT / "benchmarks" / "backbones" / "facebook" / "dino-vitb16" / "config.json"
Planned = list[tuple[TrialSpec, Place]]
Made = TypeVar("Made")


def made_up(count: int, cases: int, folder: Path) -> Planned:
    """Trials of 20 arms and 5 folds."""
    task, protocol = load_task("hippocampus-mini"), load_protocol("quick")
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    names = [f"case_{number:04d}" for number in range(cases)]
    entries = {name: f"{number:064x}" for number, name in enumerate(names)}
    place = Place(cache=str(folder), weights=None, command=("inflate-zoo", "bench"))
    kinds = []
    for fold in range(FOLDS):
        test = names[fold::FOLDS]
        rest = [name for name in names if name not in test]
        parts = CaseNames(
            train=rest[len(rest) // 5 :], validation=rest[: len(rest) // 5], test=test
        )
        for arm in range(ARMS):
            label = f"made-up-{arm:02d}"
            spec = ArmSpec(
                label=label, kind="inflated", source=label, scheme="center",
                architecture="ViT-B/16", config=config, weights=f"{arm:064x}",
            )  # fmt: skip
            kinds.append(
                TrialSpec(
                    task=task, protocol=protocol, arm=spec, cases=parts, entries=entries,
                    fold=fold, seed=0, channel_rule="sum",
                )
            )  # fmt: skip
    seeds = range(-(-count // len(kinds)))
    pairs = [(kind.model_copy(update={"seed": seed}), place) for seed in seeds for kind in kinds]
    return pairs[:count]


def fill(cache: Path, planned: Planned) -> None:
    """The files of the cases, empty."""
    for key in dict.fromkeys(key for spec, _ in planned for key in spec.entries.values()):
        folder = cache / "cases" / key
        folder.mkdir(parents=True)
        for name in ("image.npy", "label.npy", "reference.npy", "foreground.npy", "case.json"):
            (folder / name).touch()
        (folder / "manifest.json").touch()


class Unseen:
    """Shows nothing."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


def timed(what: str, work: Callable[[], Made], rows: list[tuple[str, float, float]]) -> Made:
    """What comes out of some work; its seconds become a row."""
    wall, processor = time.perf_counter(), time.process_time()
    made = work()
    rows.append((what, time.perf_counter() - wall, time.process_time() - processor))
    return made


def measure(count: int, cases: int, above: Path | None) -> list[tuple[str, float, float]]:
    """Rows of what was done, wall seconds, processor seconds."""
    rows: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory(dir=above) as name:
        out = Path(name) / "run"
        planned = made_up(count, cases, Path(name))

        def write() -> list[TrialFolder]:
            trials = plan_trials(out, planned, lambda *_: None)
            begin_run(out, trials)
            return trials

        trials = timed("plan", write, rows)
        timed("plan again: nothing is written", write, rows)
        for trial in trials[:DONE]:
            trial.finish(result_of(trial), Run(seconds={"training": 60.0, "evaluation": 5.0}))

        def resume() -> None:
            again = write()
            for trial in again:
                standing(trial)

        timed(f"resume: {DONE:,} done, and where each stands", resume, rows)
        timed("a worker finds them", lambda: planned_trials(out), rows)
        fill(Path(name), planned)
        timed(
            "a host looks whether it could take them",
            lambda: require_place(out, Resources("cpu")),
            rows,
        )
        watch = Elsewhere(trials, Unseen(), 0.0)
        timed("a command watches them: the first look", watch.look, rows)
        timed("each later look", watch.look, rows)
        timed("one at all, each minute", lambda: watch.look(everywhere=True), rows)
        timed("`status`", lambda: run_status(out).lines(), rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--cases", type=int, nargs="+", default=[10, 260], help="of the data set")
    parser.add_argument("--folder", type=Path, help="where to write, e.g. on a network's disk")
    options = parser.parse_args()
    print(
        f"| {options.trials:,} trials | cases | wall, s | processor, s |\n| --- | --- | --- | --- |"
    )
    for cases in options.cases:
        for what, wall, processor in measure(options.trials, cases, options.folder):
            print(f"| {what} | {cases} | {wall:.1f} | {processor:.1f} |")


if __name__ == "__main__":
    main()
