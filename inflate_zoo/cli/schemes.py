"""`inflate-zoo schemes`."""

import inspect

from inflate_zoo.cli.common import Debug, Format, OutputFormat, guarded, print_json, tell

NAME = "schemes"


@guarded
def command(
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """List the ways in which a 2D kernel becomes a 3D one."""
    from inflate_zoo.schemes import SCHEMES

    told = {
        name: (inspect.getdoc(scheme) or "").splitlines()[0] for name, scheme in SCHEMES.items()
    }
    if format is OutputFormat.json:
        print_json([{"name": name, "summary": summary} for name, summary in told.items()])
        return
    for name, summary in told.items():
        tell(f"{name:<10}{summary}")
