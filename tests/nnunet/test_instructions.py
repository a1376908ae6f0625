"""What to type: a script that a shell takes."""

import json
import os
import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest

import inflate_zoo
from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.nnunet.instructions import ALONE, EXTENSION, INSTALL, Job, name_of, settled
from inflate_zoo.nnunet.options import FILE, Options, read_options


def job(name="Dataset104_Hippocampus", configuration="3d_fullres"):
    return Job(104, name, configuration, "0", Options(source="org/weights"))


@pytest.mark.parametrize("name", ["Dataset104_Hippocampus", "Dataset104_*"])
def test_the_script_runs_in_a_shell(name, tmp_path):
    """With commands that write down how they were called."""
    place = tmp_path / "pre processed" / "Dataset104_Hippocampus"
    place.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for command in ("plan_and_preprocess", "train", "predict"):
        path = tmp_path / "bin" / f"nnUNetv2_{command}"
        path.write_text(f'#!/bin/sh\necho {command} $nnUNet_extTrainer "$@"\n')
        path.chmod(0o755)
    env = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "nnUNet_preprocessed": str(place.parent),
        "nnUNet_extTrainer": "/elsewhere",
    }
    done = subprocess.run(
        ["sh", "-eu", "-c", job(name).script()], env=env, capture_output=True, text=True, check=True
    )
    folders = f"{EXTENSION}:/elsewhere"
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        [
            f"plan_and_preprocess {folders} -d 104 -c 3d_fullres --verify_dataset_integrity",
            f"train {folders} 104 3d_fullres 0 -tr nnUNetTrainerInflated",
            f"predict {folders} -i IMAGES -o PREDICTIONS -d 104 -c 3d_fullres -f 0 "
            "-tr nnUNetTrainerInflated",
        ],
    )
    assert [path.name for path in place.iterdir()] == [FILE]
    assert read_options(place, {}) == Options(source="org/weights")


def test_the_file_shows_all_that_may_be_chosen():
    assert json.loads(job().content).keys() == Options.model_fields.keys()


@pytest.mark.parametrize("configuration", ["2d", "2d_small", "3d_cascade_fullres"])
def test_configurations_of_another_kind_are_refused_by_name(configuration):
    with pytest.raises(UsageError, match=f"configuration '{configuration}'"):
        job(configuration=configuration).require_supported()
    job(configuration="3d_lowres").require_supported()


def test_a_data_sets_name_is_looked_up(tmp_path):
    raw, prepared = tmp_path / "raw", tmp_path / "prepared"
    environment = {"nnUNet_raw": str(raw), "nnUNet_preprocessed": str(prepared)}
    assert name_of(4, environment) == "Dataset004_*"
    (raw / "Dataset004_Hippocampus").mkdir(parents=True)
    assert name_of(4, environment) == "Dataset004_Hippocampus"
    assert name_of(4, {}) == "Dataset004_*"
    (raw / "Dataset004_Again").mkdir()
    assert name_of(4, environment) == "Dataset004_*"
    (prepared / "Dataset004_Again").mkdir(parents=True)
    assert name_of(4, environment) == "Dataset004_Again"


def test_a_source_is_written_so_that_it_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inflate_zoo.convert("builtin/clip", "clip-3d", verify=False)
    assert settled("./clip-3d") == (str(tmp_path / "clip-3d"), False)
    assert settled("clip-3d") == (str(tmp_path / "clip-3d"), False)
    (tmp_path / "clip-3d" / "conversion.json").unlink()
    assert settled("clip-3d") == (str(tmp_path / "clip-3d"), None)
    assert settled("org/weights@v1") == ("org/weights@v1", None)
    assert settled("builtin-clip-3d-center") == ("builtin-clip-3d-center", True)


def test_what_is_no_source_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'builtin-clip-3d-center'"):
        settled("builtin-clip-3d-centre")
    with pytest.raises(UsageError, match="is no folder"):
        settled(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match=rf"'{tmp_path.name}' holds no config\.json"):
        settled(str(tmp_path))
    for written, told in (
        ("vit", "model_type is 'vit', no 3D backbone's"),
        ([], r"model_type is \[\], no 3D backbone's"),
        ("inflated_vit_segmenter", "is that of a segmenter, not of a backbone"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": written}))
        with pytest.raises(ConfigError, match=told):
            settled(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "inflated_vit"}')
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        settled(str(tmp_path))


ROOT = Path(__file__).parents[2]


def names(lines):
    """Of distributions, as an index has them."""
    found = (re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line)
    return {name.lower().replace("_", "-") for name in found}


def test_the_extra_holds_what_nnunet_asks_for_and_no_more():
    try:
        asked = [line for name in names(ALONE) for line in requires(name)]
    except PackageNotFoundError:
        pytest.skip("installed apart: see benchmarks/examples")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = names(project["optional-dependencies"]["nnunet"])
    ours = names(project["dependencies"])
    assert names(asked) - extra - ours - names(ALONE) == set()
    assert extra - names(asked) == {"monai"}  # of our decoder


def test_the_page_tells_the_same_installation():
    page = (ROOT / "benchmarks" / "examples" / "README.md").read_text(encoding="utf-8")
    for command in INSTALL.split(", then "):
        assert command in page
