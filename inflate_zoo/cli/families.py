"""`inflate-zoo families`."""

from inflate_zoo.cli.common import Debug, Format, OutputFormat, guarded, print_json, tell

NAME = "families"


@guarded
def command(
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """List the naming schemes of 2D checkpoints that can be converted."""
    from inflate_zoo.catalog import families

    schemes = families()
    if format is OutputFormat.json:
        fields = {"name", "summary", "library", "model_types", "examples"}
        print_json([scheme.model_dump(mode="json", include=fields) for scheme in schemes])
        return
    width = max(len(scheme.name) for scheme in schemes) + 2
    for scheme in schemes:
        tell(f"{scheme.name:<{width}}{scheme.summary}")
        tell(f"{'':<{width}}e.g. {', '.join(scheme.examples[:2])}")
