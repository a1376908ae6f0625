"""`inflate-zoo families` and `inflate-zoo schemes`."""

from inflate_zoo.cli.common import Debug, Format, OutputFormat, guarded, print_json, tell_facts

NAME = "families"
SCHEMES_NAME = "schemes"


@guarded
def command(
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """List the families of 2D checkpoints that can be converted."""
    from inflate_zoo.naming.catalog import families

    schemes = families()
    if format is OutputFormat.json:
        fields = {"name", "summary", "library", "model_types", "examples"}
        print_json([scheme.model_dump(mode="json", include=fields) for scheme in schemes])
        return
    width = max(len(scheme.name) for scheme in schemes) + 2
    for scheme in schemes:
        examples = f"e.g. {', '.join(scheme.examples[:2])}"
        tell_facts([(scheme.name, scheme.summary), ("", examples)], width)


@guarded
def schemes_command(
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """List the ways in which a 2D kernel becomes a 3D one."""
    from inflate_zoo.inflation.schemes import SCHEMES

    told = {name: scheme.summary for name, scheme in SCHEMES.items()}
    if format is OutputFormat.json:
        print_json([{"name": name, "summary": summary} for name, summary in told.items()])
        return
    tell_facts(told.items(), 10)
