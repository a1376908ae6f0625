"""What to type so that nnU-Net trains on a backbone: texts alone, without torch or nnU-Net."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.conversion.record import RECORD, read_conversion
from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.files.reading import read_json, require_files, require_folder, require_regular
from inflate_zoo.files.writing.contents import form_text
from inflate_zoo.hub.addresses import is_local, parse_address
from inflate_zoo.networks.base import SEGMENTER_TYPE
from inflate_zoo.networks.known import is_known
from inflate_zoo.nnunet.options import FILE, Options
from inflate_zoo.registry.listing import find_card

TRAINER = "nnUNetTrainerInflated"
EXTENSION = Path(__file__).parent / "extension"
VARIABLE = "nnUNet_extTrainer"
LIBRARY, LEAST = "nnunetv2", (2, 8)  # the first release that asks VARIABLE for trainers
ALONE = (f"{LIBRARY}>=2.8.0", "dynamic-network-architectures>=0.4.4,<0.5")
# The second wants a timm that unpickles what it loads, for networks that are not used here: alone
# `pip install nnunetv2` would replace ours.
INSTALL = 'pip install ".[nnunet]", then pip install --no-deps ' + " ".join(
    f'"{name}"' for name in ALONE
)
_FOLDERS = ("nnUNet_preprocessed", "nnUNet_raw")
_TRAIN = "train 3d_fullres or 3d_lowres"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be trained.

    Attributes:
        dataset: nnU-Net's number of the data set.
        name: Its folder's name, or a pattern for it where that is not known.
        configuration: nnU-Net's, e.g. `3d_fullres`.
        fold: A number, or `all`.
        options: The choice of a backbone.
    """

    dataset: int
    name: str
    configuration: str
    fold: str
    options: Options

    def require_supported(self) -> None:
        """Refuse nnU-Net's configurations that the trainer refuses, by their names.

        Raises:
            UsageError: It is `2d` or a cascade.
        """
        name = self.configuration
        if name.startswith("2d"):
            raise UsageError(f"configuration '{name}' is 2D, the backbone is 3D", hint=_TRAIN)
        if "cascade" in name:
            raise UsageError(
                f"configuration '{name}' takes labels as channels, which no source has seen",
                hint=_TRAIN,
            )

    @property
    def place(self) -> str:
        """Where the choice goes, for a shell."""
        if self.name.endswith("*"):  # no shell finds a file by a pattern before it is there
            return f'"$(echo "$nnUNet_preprocessed"/{self.name})"/{FILE}'
        return f'"$nnUNet_preprocessed"/{shlex.quote(self.name)}/{FILE}'

    @property
    def content(self) -> str:
        """What goes there."""
        return form_text(self.options)

    @property
    def commands(self) -> dict[str, str]:
        """What is typed to prepare, to train and to predict."""
        dataset = f"-d {self.dataset} -c {shlex.quote(self.configuration)}"
        trainer = f"-tr {TRAINER}"
        fold, name = shlex.quote(self.fold), shlex.quote(self.configuration)
        return {
            "prepare": f"nnUNetv2_plan_and_preprocess {dataset} --verify_dataset_integrity",
            "train": f"nnUNetv2_train {self.dataset} {name} {fold} {trainer}",
            "predict": f"nnUNetv2_predict -i IMAGES -o PREDICTIONS {dataset} -f {fold} {trainer}",
        }

    def script(self) -> str:
        """All of it, as a shell takes it."""
        folder, commands = shlex.quote(str(EXTENSION)), self.commands
        more = f"${{{VARIABLE}:+{os.pathsep}${VARIABLE}}}"
        return "\n".join(
            [
                "# nnUNet_raw, nnUNet_preprocessed and nnUNet_results name folders of yours.",
                "# The trainer is found through:",
                f"export {VARIABLE}={folder}{more}",
                commands["prepare"],
                "# The backbone is chosen in the data set's folder, and kept with trained folds.",
                f"tee {self.place} <<'END' >/dev/null",
                f"{self.content}END",
                commands["train"],
                "# Needs neither that file nor the source.",
                commands["predict"],
            ]
        )


def name_of(dataset: int, environment: Mapping[str, str]) -> str:
    """Name of a data set's folder, as nnU-Net's folders have it; a pattern where they do not."""
    start = f"Dataset{dataset:03d}_"
    for variable in _FOLDERS:
        home = environment.get(variable)
        found = sorted(path.name for path in Path(home).glob(f"{start}*")) if home else []
        if len(found) == 1:
            return found[0]
    return f"{start}*"


def settled(source: str) -> tuple[str, bool | None]:
    """A source as it may stand in a file, and whether it takes intensities in [0, 1].

    Args:
        source: As a user typed it. A folder's path becomes absolute.

    Returns:
        The second is `None` where nothing on this machine tells.

    Raises:
        UsageError: There is no such folder or zoo entry, it has no weights, or it is no name of a
            repo.
        ConfigError: The folder is none of a backbone.
    """
    if "/" not in source and not is_local(source):
        return source, find_card(source)[0].fold_normalization
    if not is_local(source):
        parse_address(source)
        return source, None
    folder = Path(source)
    hint = "name a folder that 'inflate-zoo convert' wrote"
    require_folder(folder, hint)
    require_files(folder, ["config.json"], hint)
    _require_backbone(folder)
    recorded = (folder / RECORD).is_file()
    folded = read_conversion(folder).recipe.fold_normalization if recorded else None
    return str(folder.resolve()), folded


def _require_backbone(folder: Path) -> None:
    """Refuse what is plainly none; whether weights and config fit is seen when they are loaded."""
    found = read_json(folder / "config.json").get("model_type")
    if found == SEGMENTER_TYPE:
        raise ConfigError(
            "config.json is that of a segmenter, not of a backbone",
            hint="name the backbone that it was trained from; nnU-Net trains a decoder of its own",
        )
    if not is_known(found):
        raise ConfigError(
            f"config.json: model_type is {found!r}, no 3D backbone's",
            hint=f"convert the 2D checkpoint first: inflate-zoo convert {shlex.quote(str(folder))}",
        )
    require_regular(folder / "model.safetensors", folder)
