"""A network as one function of a volume."""

import pytest
import torch

from inflate_zoo import Backbone, segmenter
from inflate_zoo.errors import UsageError
from inflate_zoo.exporting import graphs
from inflate_zoo.exporting.graphs import capture, graph_of
from tests.support.checkpoints import randomize
from tests.support.exports import fewer_blocks
from tests.support.networks import SMALL

VIT = SMALL["inflated_vit"]


def sliced():
    """A segmenter that sees each slice alone."""
    config = fewer_blocks("inflated_vit").model_copy(update={"patch_depth": 1})
    net = randomize(Backbone(config.for_volume((1, *config.volume[1:]))))
    return randomize(segmenter(net, classes=3, decoder="linear", slice_wise=True))


def test_shapes_that_are_told_are_those_that_come_out():
    net = VIT.network()
    graph = graph_of(net, None)
    for shape in graph.tried:
        volume = torch.rand(shape)
        with torch.no_grad():
            results = graph.module(volume)
        for told, found in zip((*graph.inputs, *graph.outputs), (volume, *results), strict=True):
            assert len(told.axes) == len(told.shape) == found.ndim
            sides = [shape[0] if side == "batch" else side for side in told.shape]
            assert list(found.shape) == sides


def test_any_number_is_tried_with_others_than_the_one_that_is_captured():
    graph = graph_of(VIT.network(), None)
    assert graph.dynamic == {0: "batch"}
    tried = {shape[0] for shape in graph.tried}
    assert 1 in tried
    assert len(tried) > 1
    assert graph.captured[0] not in tried
    fixed = graph_of(VIT.network(), 3)
    assert fixed.dynamic == {}
    assert fixed.tried == (fixed.captured,)
    assert fixed.captured[0] == 3


def test_a_segmenter_of_slices_takes_any_depth():
    graph = graph_of(sliced(), None)
    assert graph.dynamic == {0: "batch", 2: "depth"}
    assert graph.outputs[0].shape[2] == "depth"
    assert len({shape[2] for shape in graph.tried}) > 1
    module = capture(graph).module()
    for shape in graph.tried:
        volume = torch.rand(shape)
        with torch.no_grad():
            torch.testing.assert_close(module(volume), graph.module(volume))


def test_the_centre_slice_alone_is_told():
    depth = VIT.config.patch_depth
    net = VIT.network((depth, *VIT.config.volume[1:]))
    graph = graph_of(segmenter(net, classes=3, decoder="upernet", features=8), None)
    assert graph.outputs[0].shape[:3] == ("batch", 3, 1)


def test_what_torch_cannot_capture_is_a_sentence(monkeypatch):
    class Choosing(torch.nn.Module):
        def forward(self, volume):
            return (volume if volume.sum() > 0 else -volume,)

    graph = graph_of(VIT.network(), None)
    graph = graphs.Graph(Choosing(), graph.inputs, graph.outputs, graph.tried, graph.captured)
    with pytest.raises(UsageError, match=r"torch\.export cannot capture the network") as caught:
        capture(graph)
    assert caught.value.hint


def test_running_out_of_memory_stays_what_it_is(monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch.export, "export", full)
    with pytest.raises(MemoryError):
        capture(graph_of(VIT.network(), None))
