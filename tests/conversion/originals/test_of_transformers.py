"""Originals that transformers builds."""

from types import SimpleNamespace

import torch
from torch import nn

from inflate_zoo.conversion.originals import of_transformers
from inflate_zoo.conversion.originals.references import Asked
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import build_transformers
from tests.support.recorded import case


def _asked(kind):
    recorded = case(kind)
    understood = understand(recorded.header, recorded.config, None, None)
    model = build_transformers(kind, num_hidden_layers=2)
    return Asked(understood, dict(model.state_dict()), (4, 4)), model


def test_a_class_that_transformers_has_not_is_not_built(monkeypatch):
    import transformers

    asked, _ = _asked("vit")
    monkeypatch.setattr(transformers, "ViTModel", None)
    assert of_transformers.encoder(asked) is None


def test_tensors_that_it_cannot_take_are_no_original():
    asked, _ = _asked("vit")
    name = next(name for name in asked.state if name.endswith("cls_token"))
    del asked.state[name]
    assert of_transformers.encoder(asked) is None


def test_patches_run_over_height_width_and_channel():
    seen = []
    model = SimpleNamespace(config=SimpleNamespace(patch_size=2))

    class Model:
        config = model.config

        def __call__(self, values, mask, grid):
            seen.append((values, mask, grid))
            return SimpleNamespace(last_hidden_state=values)

    images = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    of_transformers.tokens_of_patches(Model(), images, 6)
    ((values, mask, grid),) = seen
    assert grid.tolist() == [[2, 3], [2, 3]]
    assert mask.shape == (2, 6)
    second = images[0, :, 0:2, 2:4].permute(1, 2, 0).flatten()
    torch.testing.assert_close(values[0, 1], second, rtol=0, atol=0)


def test_all_tokens_are_normed_where_the_model_norms_the_pooled_one():
    norm, tokens = nn.LayerNorm(8), torch.randn(1, 5, 8)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.post_layernorm = norm

        def forward(self, _):
            return SimpleNamespace(last_hidden_state=tokens)

    got = of_transformers.all_normed_tokens(Model(), torch.zeros(1), 4)
    torch.testing.assert_close(got, norm(tokens), rtol=0, atol=0)
