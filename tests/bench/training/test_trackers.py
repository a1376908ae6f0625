"""Trackers of experiments: what they are told, and that nothing hangs on them."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
from accelerate import tracking
from accelerate.utils import LoggerType

from inflate_zoo.bench.training import trackers as module
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.training.trackers import require_trackers
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.errors import UsageError
from tests.support.trials import FROZEN, one_thread, tiny_run

MADE = []


class Recorder(tracking.GeneralTracker):
    """Accelerate's form of a tracker, which keeps what it is told."""

    name = "wandb"
    requires_logging_directory = False

    def __init__(self, project, **options):
        super().__init__()
        self.project, self.options, self.logged, self.over = project, options, [], False
        MADE.append(self)

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step=None, **_):
        self.logged.append((step, values))

    def finish(self):
        self.over = True


class Broken(Recorder):
    """A service that is not there any more after the first value."""

    def log(self, values, step=None, **_):
        super().log(values, step)
        raise ConnectionError("no route to host")

    def finish(self):
        raise ConnectionError("no route to host")


class Absent(Recorder):
    def __init__(self, project, **options):
        raise PermissionError("api_key not configured")


@pytest.fixture
def use(monkeypatch):
    """Has accelerate take a class for wandb."""
    MADE.clear()
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.WANDB, LoggerType.MLFLOW])

    def use(kind, name="wandb"):
        monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, kind)

    return use


def run(trial, *names):
    with one_thread():
        return run_trial(trial, Resources("cpu", 0, trackers=names), Silent())


def result(trial):
    return json.loads((trial.folder / "record.json").read_text())["result"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The result of the same trial without a tracker."""
    trial = tiny_run(tmp_path_factory.mktemp("plain"), *FROZEN).trial()
    assert run(trial) == "done"
    return result(trial)


def test_a_trials_run_says_what_it_is_and_has_its_curves(tmp_path, use, plain, monkeypatch):
    use(Recorder)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.delenv("WANDB_DIR", raising=False)
    trial = tiny_run(tmp_path, *FROZEN).trial()
    assert run(trial, "wandb") == "done"
    (made,) = MADE
    spec = trial.spec
    assert made.project == f"{spec.task.name}-{spec.protocol.name}"
    assert made.options == {
        "name": "vit center, seed 0, fold 0",
        "id": trial.folder.name,
        "resume": "allow",
        "group": "vit center",
        "settings": {"silent": True},
        "dir": str(trial.folder),
    }
    said = {name: made.config[name] for name in ("hash", "arm", "seed", "fold", "task", "steps")}
    assert said == {"hash": trial.folder.name, "arm": "vit center", "seed": 0, "fold": 0,
                    "task": spec.task.name, "steps": 6}  # fmt: skip
    assert str(tmp_path) not in json.dumps(made.config)
    told = {}
    for step, values in made.logged:
        for name, value in values.items():
            told.setdefault(name, []).append([step, value])
    assert told["loss"] == plain["curves"]["loss"]
    assert told["validation_dice"] == plain["curves"]["validation_dice"]
    mean = sum(case["mean_dice"] for case in plain["cases"]) / len(plain["cases"])
    assert told["test_dice"] == [[6, pytest.approx(mean)]]
    region = next(iter(plain["mean"]))
    assert told[f"test/{region}/dice"] == [[6, plain["mean"][region]["dice"]]]
    assert made.over
    assert result(trial) == plain


def test_a_project_of_the_users_is_taken(tmp_path, use, monkeypatch):
    use(Recorder)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_DIR", "there")
    assert run(tiny_run(tmp_path, *FROZEN).trial(), "wandb") == "done"
    assert MADE[0].project == "mine"
    assert "dir" not in MADE[0].options


@pytest.mark.parametrize(("kind", "times"), [(Broken, 1), (Absent, 1)])
def test_a_tracker_that_fails_is_told_once_and_ends_no_training(tmp_path, use, plain, kind, times):
    use(kind)
    trial = tiny_run(tmp_path, *FROZEN).trial()
    with pytest.warns(UserWarning, match="wandb failed, and the trial goes on without") as told:
        assert run(trial, "wandb") == "done"
    assert len(told) == times
    assert result(trial) == plain


def test_several_are_told_alike_whichever_fails(tmp_path, use, monkeypatch):
    class Other(Recorder):
        name = "mlflow"

    use(Broken)
    use(Other, "mlflow")
    monkeypatch.setattr(module, "_of_mlflow", lambda _: {})
    with pytest.warns(UserWarning, match="wandb failed"):
        assert run(tiny_run(tmp_path, *FROZEN).trial(), "wandb", "mlflow") == "done"
    first, second = MADE
    assert len(first.logged) == 1
    assert len(second.logged) > 3
    assert second.over


def test_a_trial_that_goes_on_goes_on_in_mlflows_run(tmp_path, use, monkeypatch):
    class Other(Recorder):
        name, config = "mlflow", None

    asked = []

    def search(**options):
        asked.append(options)
        return [SimpleNamespace(info=SimpleNamespace(run_id="before"))]

    known = ModuleType("mlflow")
    known.__spec__ = ModuleSpec("mlflow", None)
    known.get_experiment_by_name, known.search_runs = (lambda name: name), search
    monkeypatch.setitem(sys.modules, "mlflow", known)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "")
    use(Other, "mlflow")
    trial = tiny_run(tmp_path, *FROZEN).trial()
    assert run(trial, "mlflow") == "done"
    assert MADE[0].options == {"run_name": "vit center, seed 0, fold 0", "run_id": "before"}
    assert MADE[0].config is None  # it has it
    assert asked[0]["experiment_names"] == ["mine"]
    assert asked[0]["filter_string"] == f"params.hash = '{trial.folder.name}'"
    known.get_experiment_by_name = lambda _: None
    assert "run_id" not in module._of_mlflow(trial)


def test_names_that_mlflow_refuses_are_changed(tmp_path, use):
    use(Recorder)
    trial = tiny_run(tmp_path, *FROZEN).trial()
    accelerator = SimpleNamespace(is_main_process=True)
    accelerator.init_trackers = lambda *_: accelerator.trackers.append(Recorder("x"))
    with module.tracking(trial, accelerator, ["wandb"]) as track:
        track({"test/left: a|b/dice": 0.5}, 3)
    assert MADE[-1].logged == [(3, {"test/left_ a_b/dice": 0.5})]


def test_only_the_first_of_several_processes_tracks(tmp_path, use):
    trial = tiny_run(tmp_path, *FROZEN).trial()
    with module.tracking(trial, SimpleNamespace(is_main_process=False), ["wandb"]) as track:
        track({"loss": 1.0}, 1)
    assert MADE == []


def test_what_cannot_be_had_is_refused_by_a_sentence(monkeypatch):
    with pytest.raises(UsageError, match="no tracker named 'wand'") as caught:
        require_trackers(["wand"])
    assert caught.value.hint == "did you mean 'wandb'?"
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "mlflow" else name)
    require_trackers(["wandb"])
    with pytest.raises(UsageError, match="--tracker mlflow needs the package mlflow") as caught:
        require_trackers(["wandb", "mlflow"])
    assert caught.value.hint.startswith('pip install "mlflow')
