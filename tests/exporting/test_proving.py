"""How far apart a written file and our own network are."""

import math

import pytest
import torch

from inflate_zoo.errors import VerificationError
from inflate_zoo.exporting.graphs import graph_of
from inflate_zoo.exporting.proving import apart, errors_of, proof_of, random_volume
from inflate_zoo.exporting.record import TOLERANCE
from tests.support.networks import SMALL


def test_the_error_is_the_greatest_over_the_root_mean_square():
    expected = torch.tensor([3.0, -4.0, 0.0])
    got = expected + torch.tensor([0.0, 0.5, -0.1])
    assert apart(got, expected) == pytest.approx(0.5 / math.sqrt(25 / 3))


@pytest.mark.parametrize("got", [torch.full((3,), math.nan), torch.ones(4), torch.ones(1)])
def test_what_is_no_number_or_of_another_shape_is_infinitely_far(got):
    assert apart(got, torch.ones(3)) == math.inf


def test_both_see_the_same_volumes_and_each_output_is_compared():
    graph = graph_of(SMALL["inflated_vit"].network(), None)

    def twice(volume):
        seen.append(volume)
        return [2 * result for result in graph.module(volume)]

    seen = []
    with torch.no_grad():
        found = errors_of(twice, graph, graph.tried, "it")
    assert [tuple(volume.shape) for volume in seen] == list(graph.tried)
    assert len(found) == len(graph.tried) * len(graph.outputs)
    assert min(found.values()) > 1
    assert torch.equal(seen[0], random_volume(graph.tried[0]))


def test_just_within_the_tolerance_is_proved_and_beyond_it_is_refused_with_the_number():
    proof = proof_of({"one": 0.0, "other": TOLERANCE}, ["it"])
    assert proof.error_over_rms == TOLERANCE
    with pytest.raises(VerificationError, match=r"greatest error 2\.0e-04 of the RMS.*other"):
        proof_of({"one": 0.0, "other": 2e-4}, ["it"])
    for wrong in (math.inf, math.nan):
        with pytest.raises(VerificationError):
            proof_of({"one": wrong}, ["it"])
