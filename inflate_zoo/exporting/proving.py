"""Random inputs through a written file and through our own network: how far apart they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from inflate_zoo.conversion.measuring import error, rms
from inflate_zoo.errors import VerificationError
from inflate_zoo.exporting.graphs import Graph
from inflate_zoo.exporting.record import TOLERANCE, ExportProof

Run = Callable[[Tensor], Sequence[Tensor]]
"""What runs a written file: from a volume to all outputs, in their order."""


def random_volume(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Intensities in [0, 1], the same for the same shape and seed."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def errors_of(run: Run, graph: Graph, shapes: Iterable[Sequence[int]], by: str) -> dict[str, float]:
    """Errors over the root mean square of what our own network gives, by case.

    Args:
        run: Runs the written file.
        graph: Our network.
        shapes: Of the volumes that both see.
        by: What runs the file, to name the cases by.
    """
    found = {}
    for shape in shapes:
        volume = random_volume(shape)
        with torch.inference_mode():
            expected = graph.module(volume)
        got = run(volume)
        for output, one, other in zip(graph.outputs, got, expected, strict=True):
            case = f"{by}, {'x'.join(map(str, shape))}: {output.name}"
            found[case] = apart(one, other)
    return found


def apart(got: Tensor, expected: Tensor) -> float:
    """Greatest absolute difference over the root mean square of what is expected."""
    if got.shape != expected.shape:
        return float("inf")
    return error(got.double(), expected.double(), rms(expected.double()))


def proof_of(errors: dict[str, float], by: Sequence[str]) -> ExportProof:
    """The proof, if every error is within the tolerance.

    Raises:
        VerificationError: One is not; names the worst.
    """
    beyond = [name for name, value in errors.items() if not value <= TOLERANCE]  # NaN is beyond
    worst = max(beyond or errors, key=errors.__getitem__)
    if beyond:
        raise VerificationError(
            f"the written file does not give what the network gives: greatest error "
            f"{errors[worst]:.1e} of the RMS (tolerance {TOLERANCE:.0e}), {worst}",
            hint="nothing was kept; please report the network and the versions of the libraries",
        )
    return ExportProof(error_over_rms=errors[worst], errors=errors, by=tuple(by))
