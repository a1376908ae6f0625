"""How long a run will take, from its first steps on."""

import pytest

from inflate_zoo.cli.bench.pace import Pace


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def train(pace, clock, name, steps, *, loading=2.0, each=1.0, first=1, until=None):
    pace.begin(name)
    clock.now += loading
    for step in range(first, (until or steps) + 1):
        pace.step(name, step, steps)
        if step < (until or steps):
            clock.now += each


def test_nothing_is_said_before_anything_was_measured(clock):
    pace = Pace(4, 1, clock=clock)
    assert pace.left() is None
    train(pace, clock, "a", 100, until=3)
    assert pace.left() is None
    assert pace.per_step() is None
    assert pace.left_of("a") is None


def test_the_first_steps_tell_of_all(clock):
    pace = Pace(4, 1, clock=clock)
    train(pace, clock, "a", 100, until=11)
    assert pace.per_step() == pytest.approx(1)
    assert pace.left_of("a") == pytest.approx(89)
    assert pace.left() == pytest.approx(4 * 102 - 12)


def test_a_trial_that_ended_tells_better_than_its_steps(clock):
    pace = Pace(4, 1, clock=clock)
    train(pace, clock, "a", 100)
    clock.now += 49  # evaluation
    pace.end("a")
    assert pace.left() == pytest.approx(3 * 150)
    train(pace, clock, "b", 100, until=51)
    assert pace.left() == pytest.approx(3 * 150 - 52)
    assert pace.ended == 1


def test_trials_at_a_time_share_what_is_left(clock):
    pace = Pace(5, 2, clock=clock)
    train(pace, clock, "a", 100)
    clock.now += 49
    pace.end("a")
    assert pace.left() == pytest.approx(4 * 150 / 2)
    for name in ("b", "c", "d", "e"):
        pace.begin(name)
    for name in ("b", "c", "d"):
        pace.end(name)
    assert pace.left() == pytest.approx(150)  # the last one has nobody to share with


def test_what_was_done_already_does_not_count_as_quick(clock):
    pace = Pace(4, 1, clock=clock)
    pace.end("done before")
    assert pace.left() is None
    train(pace, clock, "resumed", 100, first=81)
    clock.now += 9
    pace.end("resumed")
    assert pace.left() == pytest.approx(2 * (2 + 99 + 9 + 1), rel=0.03)


def test_what_is_known_to_be_done_is_not_waited_for(clock):
    pace = Pace(30, 2, [f"done {number}" for number in range(25)], clock)
    train(pace, clock, "a", 100, until=11)
    assert pace.ended == 25
    assert pace.left() == pytest.approx((5 * 102 - 12) / 2)
    pace.begin("done 0")  # its turn has come
    pace.end("done 0")
    assert pace.ended == 25
    assert pace.left() == pytest.approx((5 * 102 - 12) / 2)
    pace.begin("done 1")  # it was not, after all
    assert pace.ended == 24
    assert pace.left() == pytest.approx((6 * 102 - 12) / 2)


def test_a_failure_in_the_middle_tells_nothing_of_a_whole_trial(clock):
    pace = Pace(3, 1, clock=clock)
    train(pace, clock, "a", 100, until=50)
    pace.end("a")
    assert pace.left() is None
