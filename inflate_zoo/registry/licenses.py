"""Licenses by their identifiers on the Hub, and what they say about passing weights on.

Inflated weights are a derived work of the source's. Free licenses let them be passed on, with
notice and under their terms; copyleft and share-alike ones under the same license; Open RAIL ones
with the use restrictions attached. NonCommercial licenses of Creative Commons allow it where it
serves no commerce and names the author. NoDerivatives licenses forbid it: a conversion is a
derivative. Agreements of a single maker (`llama2`, `gemma`), families whose members differ (`cc`),
`other` and `unknown` cannot be judged by their name: somebody has to read them.
"""

_FREE = """
afl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0
cc-by-2.5 cc-by-3.0 cc-by-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 ecl-2.0 etalab-2.0 isc
mit ncsa odc-by pddl postgresql unlicense wtfpl zlib
"""
_BINDING = """
agpl-3.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m cc-by-sa-3.0
cc-by-sa-4.0 cdla-sharing-1.0 creativeml-openrail-m epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gfdl gpl
gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 mpl-2.0 ms-pl odbl ofl-1.1 openrail openrail++ osl-3.0
cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
"""
_NON_COMMERCIAL = """
cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
"""

_ALLOWING = frozenset([*_FREE.split(), *_BINDING.split(), *_NON_COMMERCIAL.split()])
_KEPT = frozenset(_BINDING.split())


def may_pass_on(license: str) -> bool | None:  # noqa: A002 - the card's name for it
    """Whether weights made from weights under a license may be passed on.

    Args:
        license: Its identifier on the Hub, in any case.

    Returns:
        `None` where its name does not tell.
    """
    name = license.strip().lower()
    if name.startswith("cc-") and "nd" in name.split("-"):  # in whatever version
        return False
    return True if name in _ALLOWING else None


def non_commercial(license: str) -> bool:  # noqa: A002 - the card's name for it
    """Whether a license is one of Creative Commons that excludes commercial use."""
    return "-nc-" in license.lower()


def binds(license: str) -> bool:  # noqa: A002 - the card's name for it
    """Whether what is made from weights under a license stays under that one, word for word.

    Args:
        license: Its identifier on the Hub, in any case.
    """
    return license.strip().lower() in _KEPT
