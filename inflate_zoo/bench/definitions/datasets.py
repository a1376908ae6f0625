"""A data set as both layouts give it: cases, labels, and what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.errors import UsageError


@dataclass(frozen=True)
class Finding:
    """Something wrong with a data set.

    Attributes:
        case: Name of the case, or empty where it concerns the whole data set.
        what: What was found, with the file or field.
        hint: What to do.
    """

    case: str
    what: str
    hint: str


@dataclass(frozen=True)
class Case:
    """One labelled image.

    Attributes:
        name: File name of the label without its ending, behind its folder's if such names repeat.
        images: One file with all channels, or one per channel, in channel order.
        label: File of the label.
    """

    name: str
    images: tuple[Path, ...]
    label: Path


@dataclass(frozen=True)
class Dataset:
    """A data set on disk.

    Attributes:
        folder: Where its dataset.json lies.
        name: Name of the folder.
        title: What dataset.json calls it.
        modality: `CT`, `MRI`, or what dataset.json says.
        channels: Names of the input channels, in file order; empty where dataset.json has none.
        labels: Label name to its value in the files; empty where dataset.json has them wrong.
        regions: Region name to the label values it unites.
        cases: Cases whose files are all there, sorted by name.
        listed: Their names in the order of dataset.json, where it lists them.
        license: As stated, or `unknown`.
        citation: Whom to cite.
        problems: What is wrong with dataset.json, and which cases are missing or doubled.
        warnings: What of dataset.json deserves a look, such as cases that it does not use.
        task: Bundled task that says what channels and labels mean, where there is no dataset.json.
    """

    folder: Path
    name: str
    title: str
    modality: str
    channels: tuple[str, ...]
    labels: Mapping[str, int]
    regions: Mapping[str, tuple[int, ...]]
    cases: tuple[Case, ...]
    listed: tuple[str, ...]
    license: str
    citation: str
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...] = ()
    task: str | None = None

    @property
    def stated_by(self) -> str:
        """What names channels and labels."""
        return f"task '{self.task}'" if self.task else "dataset.json"

    @property
    def or_table(self) -> str:
        """Of what to correct: ` or dataset.json`, where there is one."""
        return "" if self.task else " or dataset.json"


def refuse_problems(dataset: Dataset) -> None:
    """Refuse a data set with problems: without its missing cases the folds would be others.

    Raises:
        UsageError: Lists them.
    """
    if dataset.problems:
        raise UsageError(
            f"the data set '{dataset.name}' has {len(dataset.problems)} problem(s)",
            details=[f"{p.case}: {p.what}" if p.case else p.what for p in dataset.problems],
            hint="run 'inflate-zoo data check' on its folder",
        )
