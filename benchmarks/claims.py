"""How often the ranking claims what is not so, and finds what is: `python benchmarks/claims.py`.

Studies are drawn as in tests/support/studies.py; nothing is trained. Prints Markdown: the share of
studies of equal arms in which any difference is claimed, the worst of 10, 25 and 52 cases and of
eight settings, which stands beside it; the same share where `random` fails in one of five
trainings, 25 cases; then, of sources that are better than `random` by a gain, the best by twice as
much, the share that is found above `random` / the share of the others that are found below the
best, 25 cases.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from inflate_zoo.bench.ranking import questions
from tests.support import studies

SEEDS = (2, 3, 4, 5, 10)
GAINS = (0.02, 0.03, 0.05)


def errors(count: int) -> None:
    print(f"| arms | {' | '.join(f'{seeds} seeds' for seeds in SEEDS)} |")
    print("| :-- |" + " :-- |" * len(SEEDS))
    for arms, depth in ((2, 0), (3, 0), (4, 0), (8, 0), (5, 2), (9, 3)):
        worst = [worst_error(count, arms, depth, seeds) for seeds in SEEDS]
        name = f"{arms}, {depth} of them `2d`" if depth else f"{arms}"
        shown = " | ".join(f"{error:.3f} {setting}" for error, setting in worst)
        print(f"| {name} | {shown} |", flush=True)


def worst_error(count: int, arms: int, depth: int, seeds: int) -> tuple[float, str]:
    """Over all settings and numbers of cases, with the setting."""
    asked = questions.ask(studies.contestants(arms, depth))
    found = []
    for cases in studies.CASES:
        for place, (name, setting) in enumerate(studies.SETTINGS.items()):
            rng = arms, seeds, cases, place
            means = studies.simulate(count, arms, seeds, cases, setting, rng=rng)
            found.append((studies.error(means, asked), name))
    return max(found)


def collapses(count: int) -> None:
    setting = studies.Setting(collapse=0.2)
    print(f"| arms, `random` failing | {' | '.join(f'{seeds} seeds' for seeds in SEEDS)} |")
    print("| :-- |" + " --: |" * len(SEEDS))
    for arms in (2, 6):
        asked = questions.ask(studies.contestants(arms))
        drawn = (studies.simulate(count, arms, seeds, 25, setting) for seeds in SEEDS)
        shown = " | ".join(f"{studies.error(means, asked):.3f}" for means in drawn)
        print(f"| {arms} | {shown} |", flush=True)


def powers(count: int) -> None:
    print(f"| arms x seeds | {' | '.join(f'+{gain}' for gain in GAINS)} |")
    print("| :-- |" + " --: |" * len(GAINS))
    for name, setting in studies.LIKE_TRAININGS.items():
        for arms in (4, 8):
            for seeds in (3, 5, 10):
                found = [studies.power(count, arms, seeds, 25, setting, gain) for gain in GAINS]
                shown = " | ".join(f"{above:.2f} / {apart:.2f}" for above, apart in found)
                print(f"| {arms} x {seeds}, {name} | {shown} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=4000, help="studies per number")
    count = parser.parse_args().studies
    errors(count)
    print()
    collapses(count)
    print()
    powers(count)


if __name__ == "__main__":
    main()
