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


def version_of(name: str) -> str:
    """The version of a library that is installed.

    Args:
        name: Of its distribution. Another one may bring the module, as onnxruntime-gpu does that of
            onnxruntime: the module then tells; `unknown` where it does not.

    Raises:
        ModuleNotFoundError: Neither is there.
    """
    from importlib import import_module
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return str(getattr(import_module(name.replace("-", "_")), "__version__", "unknown"))


def _name(requirement: str) -> str:
    """`surface-distance` of `surface-distance==0.1`."""
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), None)
    return requirement[:end].replace("_", "-")
