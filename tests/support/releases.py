"""Which releases of others are here: what their older ones lack cannot be asked of them."""

from importlib.metadata import version

from packaging.version import Version


def before(name: str, release: str) -> bool:
    """Whether a package is older than a release."""
    return Version(version(name)) < Version(release)
