"""What trials need of memory: the estimates, and what the first of a kind teaches."""

import pytest

from inflate_zoo.bench.definitions.results import Run
from inflate_zoo.bench.definitions.trial_folder import TrialFolder, place_file
from inflate_zoo.bench.engines import needs
from inflate_zoo.bench.engines.needs import Needs, memory_bound, trial_bound
from tests.support.trials import FROZEN, result_of, tiny_protocol, tiny_run

GB = 1 << 30


def test_the_memory_of_a_trial_grows_with_what_it_trains(tmp_path):
    small = tiny_run(tmp_path).trials[0].spec.arm.config
    large = small.model_copy(update={"embed_dim": 1024, "mlp_dim": 4096})
    protocol = tiny_protocol()
    bounds = [memory_bound(configs, protocol) for configs in ((), (small,), (large,))]
    assert bounds[0] < bounds[1] < bounds[2]
    assert bounds[2] > bounds[0] + 16 * 2 * 12 * 1024**2 / 2  # weights, gradients, moments
    assert memory_bound((small, large), protocol) == bounds[2]
    wide = tiny_protocol("network.window=['spacing',64,64]")
    assert memory_bound((small,), wide) > bounds[1]
    frozen = tiny_protocol(*FROZEN)
    assert bounds[0] < memory_bound((large,), frozen) < bounds[2]


def test_a_trial_needs_more_where_it_scores_larger_volumes(tmp_path):
    small, large = (
        trial_bound(tiny_run(tmp_path / name, shape=shape).trials[0])
        for name, shape in (("small", (14, 12, 6)), ("large", (56, 12, 6)))
    )
    assert large - small >= (56 - 14) * 12 * 6 * (2 * 3 * 4 + 80)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Two arms, three seeds; whatever their estimates say, 4 GB each."""
    monkeypatch.setattr(needs, "trial_bound", lambda trial: 4 * GB)
    return tiny_run(tmp_path, kinds=("inflated", "random"), seeds=3)


def finish(trial, peak, device="cpu"):
    trial.finish(result_of(trial), Run(peak_memory_bytes=peak, device=device))


def test_trials_that_need_less_than_estimated_let_more_run_at_a_time(run):
    counted = Needs(run.trials, 8 * GB, 5)
    assert counted.at_once == 2
    first, second, third, *_ = run.trials
    assert counted.fits(third, ())
    assert counted.fits(third, {first.folder: 0})
    assert not counted.fits(third, {first.folder: 0, second.folder: 1})
    finish(first, GB)
    assert counted.ended(first) == ""  # the other arm is measured by no one yet
    assert counted.fits(third, {second.folder: 0})
    finish(second, 2 * GB)
    assert counted.ended(second) == "trials take up to 2.2 GiB of memory: 3 at a time"
    assert counted.at_once == 3


def test_trials_that_need_more_than_estimated_let_fewer_run(run):
    counted = Needs(run.trials, 8 * GB, 5)
    first, second, third, fourth, *_ = run.trials
    finish(second, 6 * GB)
    assert counted.ended(second).endswith(": 1 at a time")
    assert not counted.fits(first, {fourth.folder: 0})
    assert not counted.fits(fourth, {first.folder: 0})
    assert counted.fits(fourth, ())  # alone it always may
    assert counted.fits(third, {first.folder: 0})


def test_what_was_over_before_teaches_too_and_is_asked_for_nothing_else(run):
    over, *waiting = run.trials
    finish(over, GB)
    finish(waiting[0], GB)
    (over.folder / place_file(over.place)).unlink()  # another host planned and ran it
    over = TrialFolder(over.folder)
    counted = Needs(waiting[1:], 8 * GB, 5)
    assert counted.fits(over, {waiting[1].folder: 0, waiting[2].folder: 1})
    assert counted.ended(over) == ""
    assert counted.ended(waiting[0]) == "trials take up to 1.1 GiB of memory: 5 at a time"


@pytest.mark.parametrize("peak, device", [(None, "cpu"), (GB, "NVIDIA H100")])
def test_what_says_nothing_of_this_machine_is_no_measurement(run, peak, device):
    counted = Needs(run.trials, 8 * GB, 5)
    for trial in run.trials[:3]:
        finish(trial, peak, device)
        assert counted.ended(trial) == ""
    assert counted.ended(run.trials[3]) == ""  # failed: it has no record
    assert counted.at_once == 2
