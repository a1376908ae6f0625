"""Libraries that some commands need, and how to get them."""

from collections.abc import Iterable


def install_hint(modules: Iterable[str]) -> str:
    """The command that installs the libraries of modules, in the versions that are asked for."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        stated = [line.partition(";")[0].strip() for line in requires("inflate-zoo") or ()]
    except PackageNotFoundError:  # the sources, not installed
        stated = []
    wanted = [module.replace("_", "-") for module in modules]
    known = {_name(requirement): requirement for requirement in stated}
    return "pip install " + " ".join(f'"{known.get(name, name)}"' for name in wanted)


def _name(requirement: str) -> str:
    """`surface-distance` of `surface-distance==0.1`."""
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), None)
    return requirement[:end].replace("_", "-")
