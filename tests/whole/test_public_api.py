"""What users rely on: names, and that using them twice in a fresh process works."""

import subprocess
import sys
import tomllib
from pathlib import Path

import inflate_zoo
from tests.support.checkpoints import save_transformers

ROOT = Path(__file__).parents[2]


def test_public_names_are_frozen():
    assert inflate_zoo.__all__ == [
        "SCHEMES",
        "Backbone",
        "convert",
        "families",
        "load",
        "param_groups",
        "segmenter",
        "verify",
        "zoo",
    ]
    assert set(inflate_zoo.__all__) <= set(dir(inflate_zoo))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(inflate_zoo, "convrt")


def test_importing_the_package_and_help_import_nothing_heavy():
    code = (
        "import sys, inflate_zoo, inflate_zoo.cli.app\n"
        "from typer.testing import CliRunner\n"
        "for words in (['--help'], ['convert', '--help'], ['families'], ['schemes'], ['zoo']):\n"
        "    assert CliRunner().invoke(inflate_zoo.cli.app.app, words).exit_code == 0, words\n"
        "heavy = {'torch', 'timm', 'transformers', 'huggingface_hub', 'numpy', 'monai'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_public_function_works_twice_in_a_fresh_process(tmp_path):
    save_transformers("vit", tmp_path / "vit")
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import inflate_zoo, torch\n"
        "for number in range(2):\n"
        "    folder = inflate_zoo.convert('vit', f'out{number}')\n"
        "    assert inflate_zoo.verify(folder, 'vit').passed\n"
        "    assert isinstance(inflate_zoo.load(folder), inflate_zoo.Backbone)\n"
        "    inflate_zoo.load(folder).save_pretrained(f'saved{number}')\n"
        "    inflate_zoo.Backbone.from_pretrained(f'saved{number}')\n"
        "    network = inflate_zoo.load(folder)\n"
        "    trained = inflate_zoo.segmenter(network, classes=2, features=8)\n"
        "    trained.save_pretrained(f'trained{number}')\n"
        "    assert inflate_zoo.load(f'trained{number}').classes == 2\n"
        "    inflate_zoo.param_groups(trained, learning_rate=1.0, weight_decay=0.1)\n"
        "    assert {f.name for f in inflate_zoo.families()} >= {'hf_vit', 'timm_vit'}\n"
        "    names = [entry.name for entry in inflate_zoo.zoo()]\n"
        "    own = next(name for name in names if name.startswith('builtin-'))\n"
        "    assert isinstance(inflate_zoo.load(own), inflate_zoo.Backbone)\n"
        "    assert sorted(inflate_zoo.SCHEMES) == ['average', 'center', 'repeat', 'taper']\n"
    )
    env = {"PYTHONPATH": str(ROOT), "INFLATE_ZOO_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=env)


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "inflate_zoo/version.py"
    assert "version:" not in (ROOT / "CITATION.cff").read_text().replace("cff-version:", "")


def test_torch_floor():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "torch>=2.10" in project["project"]["dependencies"]
