"""Target monai-vit: weights that `monai.networks.nets.ViT` loads strictly.

Dimensions: B batch, P prefix tokens, L patch tokens, D depth tokens, E embed_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from inflate_zoo.errors import UsageError
from inflate_zoo.exporting.monai_keys import layout, monai_tensors, obstacles
from inflate_zoo.exporting.proving import apart, proof_of, random_volume
from inflate_zoo.exporting.record import ExportProof, MonaiVit
from inflate_zoo.exporting.record import Tensor as TensorFacts
from inflate_zoo.exporting.target import Export, ExportJob
from inflate_zoo.extras import version_of
from inflate_zoo.files.checkpoints import SafetensorsCheckpoint
from inflate_zoo.files.dtypes import dtype_name
from inflate_zoo.files.writing.contents import write_safetensors
from inflate_zoo.networks.backbone import VitBackbone
from inflate_zoo.networks.vit.config import VitConfig
from inflate_zoo.segmentation.segmenter import Segmenter

FILE = "model.safetensors"
_BATCH = 2


class MonaiVitExport(Export):
    """The backbone's weights under the names of MONAI's ViT."""

    modules = ("monai", "einops")
    packages = ("torch", "monai", "einops")

    def __init__(self, job: ExportJob) -> None:
        super().__init__(job)
        backbone = job.source.backbone
        if found := obstacles(backbone.config):
            raise UsageError(
                f"'{job.source.name}' cannot become MONAI's ViT exactly: {found[0]}",
                details=found[1:],
                hint="--to onnx and --to torch-export take it",
            )
        if job.batch is not None:
            raise UsageError(
                "weights are for any number of volumes: --batch does not belong to monai-vit",
                hint="leave --batch out",
            )
        assert isinstance(backbone, VitBackbone)  # noqa: S101 - for mypy: others have an obstacle
        config = backbone.config
        self._backbone, self._config = backbone, config
        self.volume = config.volume
        self.monai_vit = layout(config)
        self.files = (FILE,)
        self.inputs, self.outputs = _facts(config, self.monai_vit.prefix_tokens)
        self.notes = tuple(_notes(config, self.monai_vit, job))

    def write(self, folder: Path) -> None:
        """Write the tensors."""
        entering = _entering(self._backbone)
        tensors = monai_tensors(self._config, self._backbone.state_dict(), entering)
        ordered = dict(sorted(tensors.items()))
        entries = [(name, dtype_name(t), tuple(t.shape)) for name, t in ordered.items()]
        write_safetensors(folder / FILE, entries, ordered.values())

    def prove(self, folder: Path) -> ExportProof:
        """Build MONAI's network as export.json tells, load the file strictly, and run it."""
        facts = self.monai_vit
        assert facts is not None  # noqa: S101 - for mypy: set when this was made
        volume = random_volume((_BATCH, self._config.in_channels, *self._config.volume))
        after: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda _, __, out: after.append(out))
            for block in self._backbone.blocks
        ]
        with torch.inference_mode():
            tokens = self._backbone.forward_features(volume)
        for hook in hooks:
            hook.remove()
        network = build(facts, folder / FILE)
        errors = _errors(network, volume, [*after, tokens], self._config)
        for norm in _norms(network):
            norm.eps = nn.LayerNorm(1).eps
        left = _errors(network, volume, [*after, tokens], self._config)
        self.monai_vit = facts.model_copy(update={"error_with_own_eps": max(left.values())})
        return proof_of(errors, [f"monai {version_of('monai')} ViT, loaded strictly"])


def build(facts: MonaiVit, path: Path) -> nn.Module:
    """MONAI's network, built as export.json tells, with the tensors of a file.

    Args:
        facts: What export.json tells.
        path: The safetensors file.
    """
    from monai.networks.nets import ViT

    network = ViT(**facts.arguments)
    if facts.prefix_tokens:
        (width,) = network.norm.normalized_shape
        network.cls_token = nn.Parameter(torch.zeros(1, facts.prefix_tokens, width))
    for norm in _norms(network):
        norm.eps = facts.norm_eps
    checkpoint = SafetensorsCheckpoint([path])
    tensors = {name: checkpoint.read(name) for name in checkpoint.header}
    network.load_state_dict(tensors, strict=True)
    return network.eval()  # type: ignore[no-any-return]


def _norms(network: nn.Module) -> list[nn.LayerNorm]:
    return [module for module in network.modules() if isinstance(module, nn.LayerNorm)]


def _errors(
    network: nn.Module, volume: Tensor, expected: Sequence[Tensor], config: VitConfig
) -> dict[str, float]:
    """Errors of the tokens after every block and at the end, by case."""
    with torch.inference_mode():
        tokens, hidden = network(volume)
    names = [f"after block {index}" for index in range(config.depth)] + ["tokens"]
    return {
        name: apart(got, with_copies(want, config))
        for name, got, want in zip(names, [*hidden, tokens], expected, strict=True)
    }


def with_copies(tokens: Tensor, config: VitConfig) -> Tensor:
    """(B, P + L, E) to (B, D P + L, E): prefix tokens as often as MONAI's sequence has them."""
    prefix = config.num_prefix_tokens
    front = tokens[:, :prefix].repeat(1, config.grid_size[0], 1)
    return torch.cat([front, tokens[:, prefix:]], dim=1)


def _entering(backbone: VitBackbone) -> Tensor:
    """What enters the first block of a volume of zeros: tokens and positions, however kept."""
    seen: list[Tensor] = []
    hook = backbone.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        backbone.forward_features(
            torch.zeros(1, backbone.config.in_channels, *backbone.config.volume)
        )
    hook.remove()
    return seen[0]


def _facts(
    config: VitConfig, prefix: int
) -> tuple[tuple[TensorFacts, ...], tuple[TensorFacts, ...]]:
    depth, height, width = config.grid_size
    given = TensorFacts(
        name="x",
        axes=("batch", "channels", "depth", "height", "width"),
        shape=("batch", config.in_channels, *config.volume),
    )
    tokens = TensorFacts(
        name="tokens",
        axes=("batch", "token", "width"),
        shape=("batch", prefix + depth * height * width, config.embed_dim),
    )
    return (given,), (tokens,)


def _notes(config: VitConfig, facts: MonaiVit, job: ExportJob) -> list[str]:
    found = []
    if facts.prefix_copies > 1:
        found.append(
            f"Each prefix token of the source ({config.num_prefix_tokens} in all) stands "
            f"{facts.prefix_copies} times in MONAI's sequence, once for each depth token: so it "
            "weighs as much as it does here."
        )
    if facts.prefix_tokens:
        found.append(
            f"MONAI's ViT is given a cls_token of {facts.prefix_tokens} rows once it is built; "
            "UNETR has no place for such tokens."
        )
    if facts.norm_eps != nn.LayerNorm(1).eps:
        found.append(
            f"Epsilon of all layer norms is to be set to {facts.norm_eps:g}: MONAI's is "
            f"{nn.LayerNorm(1).eps:g}, and no argument sets it."
        )
    if config.layer_scale:
        found.append("The layer scales are multiplied into the weights that they follow.")
    if isinstance(job.source.network, Segmenter):
        found.append("The decoder is left out: this is the backbone that was trained with it.")
    return found
