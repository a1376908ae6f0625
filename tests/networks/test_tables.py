"""What a file has beside what is shown of it."""

import pytest
import torch

from inflate_zoo.networks.tables import as_in_file, file_tables
from inflate_zoo.networks.vit.config import VitConfig
from tests.networks.vit.test_network import PLAIN
from tests.support import networks

FORM = VitConfig(**PLAIN)
SMALL = FORM.for_volume((4, 6, 6))


@pytest.fixture
def shown():
    """Tensors of a file, and those made of them for a smaller volume."""
    torch.manual_seed(0)
    tensors = {name: torch.randn(shape) for name, shape in FORM.shapes().items()}
    return tensors, FORM.fit(tensors, SMALL)


def test_only_what_is_shown_otherwise_is_kept(shown):
    tensors, fitted = shown
    kept = file_tables(FORM, tensors, fitted)
    assert kept is not None
    assert list(kept.tables) == ["pos_embed"]
    assert kept.tables["pos_embed"] is tensors["pos_embed"]
    assert file_tables(FORM, tensors, FORM.fit(tensors, FORM)) is None


@pytest.mark.parametrize("kind", networks.SMALL)
def test_nothing_is_kept_where_no_table_is_shown_otherwise(kind):
    config = networks.SMALL[kind].config
    tensors = {name: torch.randn(shape) for name, shape in config.shapes().items()}
    assert file_tables(config, tensors, config.fit(tensors, config)) is None


def test_what_nothing_trained_is_the_files_again(shown):
    tensors, fitted = shown
    form, stored = as_in_file(SMALL, fitted, file_tables(FORM, tensors, fitted))
    assert form == FORM.with_volume(SMALL.volume)
    assert stored.keys() == tensors.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in tensors.items())


def test_what_was_trained_counts(shown):
    tensors, fitted = shown
    kept = file_tables(FORM, tensors, fitted)
    fitted["pos_embed"] = fitted["pos_embed"] + 1e-6
    form, stored = as_in_file(SMALL, fitted, kept)
    assert form == SMALL
    assert torch.equal(stored["pos_embed"], fitted["pos_embed"])


def test_a_trained_depth_table_stands_beside_the_files_own_plane(shown):
    tensors, fitted = shown
    kept = file_tables(FORM, tensors, fitted)
    fitted["depth_embed"] = torch.ones_like(fitted["depth_embed"])
    form, stored = as_in_file(SMALL, fitted, kept)
    assert (form.position_grid, form.depth_positions) == (FORM.position_grid, 1)
    assert torch.equal(stored["pos_embed"], tensors["pos_embed"])
    assert torch.equal(stored["depth_embed"], fitted["depth_embed"])


def test_a_network_of_another_type_has_the_files_tables_in_that_type(shown):
    tensors, fitted = shown
    kept = file_tables(FORM, tensors, fitted)
    half = {name: tensor.half() for name, tensor in fitted.items()}
    form, stored = as_in_file(SMALL, half, kept)
    assert form.position_grid == FORM.position_grid
    assert torch.equal(stored["pos_embed"], tensors["pos_embed"].half())


def test_nothing_kept_is_the_network_as_it_is(shown):
    _, fitted = shown
    form, stored = as_in_file(SMALL, fitted, None)
    assert (form, stored.keys()) == (SMALL, fitted.keys() - {"depth_embed"})
