"""transformers' AutoConfig and AutoModel take our networks once this module is imported.

    import inflate_zoo.transformers
    from transformers import AutoModel

    model = AutoModel.from_pretrained("org/name", volume=(64, 96, 128))
    output = model(volumes)  # [batch, channels, depth, height, width]

No code of a repo runs: the classes are these. A model gives what `inflate_zoo.load` gives of the
same folder, in evaluation as transformers has it: `last_hidden_state` is `forward_features`,
`pooler_output` is `forward`, `hidden_states` (asked for) the tokens after each level. Weights come
in float32 unless `dtype` says otherwise; `save_pretrained` writes what `inflate_zoo.load` takes.

What transformers has and these models do not: attention weights as outputs, other attention
implementations, `device_map="auto"`, quantisation, sharded files, image processors and pipelines
(they make pictures, not volumes), and AutoBackbone, whose decoders convolve in the plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import cached_file

from inflate_zoo.errors import UsageError
from inflate_zoo.files.checkpoints import SafetensorsCheckpoint
from inflate_zoo.files.dtypes import DTYPES
from inflate_zoo.networks.backbone import Backbone, read_backbone_config
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.config_json import fields_to_write
from inflate_zoo.networks.files import CONFIG, WEIGHTS, folder_of, parse_config, write_network
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.networks.tables import as_in_file, without_wrappers

if TYPE_CHECKING:
    from inflate_zoo.networks.network import Maps

__all__ = ["InflatedConfig", "InflatedModel", "register"]

_INNER = "backbone."
_NOT_FIELDS = frozenset({"model_type", "format_version"})
_HUB = frozenset(
    {"cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token"}
)
# What says nothing of our files: they hold no code, and their weights are safetensors.
_WITHOUT_EFFECT = frozenset(
    {"_from_auto", "_commit_hash", "adapter_kwargs", "low_cpu_mem_usage", "trust_remote_code"}
    | {"use_safetensors", "weights_only"}
)


class InflatedConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers has no types
    """A backbone's config.json as transformers has configs: the network's fields are attributes.

    Attributes:
        form: The config of the network's own.
    """

    form: ClassVar[type[BackboneConfig]]

    def __init__(self, **fields: Any) -> None:
        own = {name: fields.pop(name) for name in self.own_names() if name in fields}
        super().__init__(**fields)
        for name, value in own.items():
            setattr(self, name, value)

    @classmethod
    def own_names(cls) -> list[str]:
        """The network's fields."""
        return [name for name in cls.form.model_fields if name not in _NOT_FIELDS]

    def network_config(self) -> BackboneConfig:
        """The config of the network, with tables for its volume.

        Raises:
            UsageError: The fields are not those of a network, or not all there.
        """
        fields = {name: getattr(self, name) for name in self.own_names() if hasattr(self, name)}
        missing = [name for name, field in self.form.model_fields.items() if field.is_required()]
        if missing := [name for name in missing if name not in fields]:
            raise UsageError(
                f"the config states no {', no '.join(missing)}",
                hint="take it from a conversion: AutoConfig.from_pretrained(...)",
            )
        config = parse_config({**fields, "model_type": self.model_type}, "it", self.form)
        return config.for_volume(None)

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], **kwargs: Any) -> Any:
        """A config from what stands in config.json.

        Args:
            config_dict: Content of the file, of any format version.
            kwargs: `volume` (depth, height, width in voxels), and what transformers' own takes.

        Returns:
            The config; with `return_unused_kwargs` also the arguments that it does not use.

        Raises:
            ConfigError: The file is not that of a network of ours.
            UsageError: The patch does not divide the volume, or another field is to be changed.
        """
        raw = {name: value for name, value in config_dict.items() if name != "_commit_hash"}
        stored = parse_config(raw, "it", cls.form)
        fields = stored.for_volume(kwargs.pop("volume", None)).model_dump(exclude=set(_NOT_FIELDS))
        made = super().from_dict(dict(fields), **kwargs)
        config = made[0] if isinstance(made, tuple) else made
        if changed := [name for name in fields if getattr(config, name) != fields[name]]:
            raise UsageError(
                f"{' and '.join(changed)} of converted weights cannot be changed",
                hint="give another volume=(depth, height, width), or convert the source again",
            )
        return made

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds, as `inflate_zoo.load` takes it."""
        if not hasattr(
            self, "volume"
        ):  # one without a network, which transformers makes to compare
            return dict(super().to_dict())
        return fields_to_write(self.network_config())

    def to_diff_dict(self) -> dict[str, Any]:
        """The same: no field is left out for being the usual."""
        return self.to_dict()


class InflatedModel(PreTrainedModel):  # type: ignore[misc]  # transformers has no types
    """A 3D backbone as transformers has models.

    Attributes:
        backbone: What `inflate_zoo.load` gives.
    """

    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: InflatedConfig) -> None:
        super().__init__(config)
        self._recompute = False
        made = Backbone(config.network_config())  # type: ignore[abstract]  # becomes its kind
        self.backbone: Backbone = made
        self.register_load_state_dict_pre_hook(_as_shown)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the network has initialised itself."""

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether blocks are recomputed in the backward pass; transformers sets it."""
        return self._recompute

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enable: bool) -> None:
        self._recompute = enable
        self.backbone.set_grad_checkpointing(enable)

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Tensor, ...]:
        """Tokens and a pooled vector of volumes.

        Args:
            pixel_values: Volumes, shape [batch, channels, depth, height, width] in voxels.
            output_hidden_states: Whether to give `hidden_states`: the tokens after each level of
                the network, shape [batch, prefix + tokens, width].
            return_dict: Whether to give a named output; by default what the config says.

        Raises:
            ValueError: The volume is not of the size the model was loaded for.
        """
        hidden: tuple[Tensor, ...] | None = None
        if self._said(output_hidden_states, "output_hidden_states"):
            tokens, hidden = self._levels(pixel_values)
        else:
            tokens = self.backbone.forward_features(pixel_values)
        output = BaseModelOutputWithPooling(
            last_hidden_state=tokens,
            pooler_output=self.backbone.forward_head(tokens),
            hidden_states=hidden,
        )
        return output if self._said(return_dict, "return_dict") else output.to_tuple()

    def _said(self, given: bool | None, field: str) -> bool:
        return bool(getattr(self.config, field)) if given is None else given

    def _levels(self, volumes: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Final tokens, and those after each level with the prefix tokens before them."""
        found = self.backbone.forward_intermediates(
            volumes, return_prefix_tokens=True, output_fmt="NLC"
        )
        tokens, levels = cast("tuple[Tensor, Maps]", found)
        pairs = (level if isinstance(level, tuple) else (level, None) for level in levels)
        return tokens, tuple(
            patches if prefix is None else torch.cat([prefix, patches], dim=1)
            for patches, prefix in pairs
        )

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *model_args: Any,
        config: InflatedConfig | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: Any = None,
        dynamic_img_size: bool = False,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load converted weights, strictly.

        Args:
            pretrained_model_name_or_path: A folder, or a Hub repo.
            model_args: None are taken.
            config: That of the folder, by default; its `volume` is the model's.
            dtype: `float32` (also `None`), `float16` or `bfloat16`; `auto` is the file's own type,
                if it has but one.
            device_map: One device.
            dynamic_img_size: Whether to take volumes of any size that the patch divides.
            output_loading_info: Whether to give also what did not fit, which is nothing.
            kwargs: `volume`, and where on the Hub and how: `revision`, `token`, `cache_dir` ...

        Returns:
            The model, in evaluation; with `output_loading_info` also a dict of lists.

        Raises:
            UsageError: An argument has no meaning here, or the config is not that of the folder.
            ConfigError: The folder's config is malformed.
            AccountingError: Tensors are missing, left over or of another shape.
            CheckpointError: The file is damaged.
        """
        place = str(pretrained_model_name_or_path)
        hub = {name: kwargs.pop(name) for name in _HUB & kwargs.keys()}
        dtype = dtype or kwargs.pop("torch_dtype", None)
        if config is None:
            given = {"volume": kwargs.pop("volume", None)}
            config = cls.config_class.from_pretrained(place, **hub, **given)
        if not isinstance(config, cls.config_class):
            raise UsageError(
                f"config is no {cls.config_class.__name__}", hint="AutoConfig.from_pretrained(...)"
            )
        _refuse(model_args, kwargs)
        folder = _folder(place, hub)
        wanted = config.network_config()
        backbone = Backbone.from_pretrained(
            folder,
            volume=wanted.volume,
            dtype=_dtype(dtype or config.dtype, folder),
            device=_device(device_map),
            dynamic_img_size=dynamic_img_size,
        )
        _require_same(wanted, folder)
        with torch.device("meta"):
            model = cls(config)
        model.backbone = backbone
        model.config.dtype, model.name_or_path = model.dtype, place
        model.eval()
        nothing: dict[str, list[str]] = {
            name: [] for name in ("missing_keys", "unexpected_keys", "mismatched_keys")
        }
        return (model, nothing) if output_loading_info else model

    def save_pretrained(
        self,
        save_directory: str | Path,
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write `config.json` and `model.safetensors`, as `inflate_zoo.load` takes them.

        Args:
            save_directory: Where to; made if need be. Other files there are left alone.
            is_main_process: Whether this process is the one that writes.
            state_dict: What to write instead of the model's own tensors, under its names.
            kwargs: What transformers gives besides; shards there are none.

        Raises:
            UsageError: It is to be pushed as well, or has a classifier, or tensors that no
                backbone of ours has.
            WriteError: It cannot be written.
            ConfigError: The weights are of a type other than float32, float16 or bfloat16.
        """
        if getattr(self, "_hf_peft_config_loaded", False):  # adapters alone, as peft has them
            super().save_pretrained(save_directory, is_main_process, state_dict, **kwargs)
            return
        if kwargs.get("push_to_hub"):
            raise UsageError(
                "save_pretrained does not push",
                hint="save, then run: inflate-zoo push FOLDER ORG/NAME; or model.push_to_hub(...)",
            )
        if not is_main_process:
            return
        self.backbone.require_bare()
        named = without_wrappers(self.state_dict() if state_dict is None else state_dict)
        own = {name.removeprefix(_INNER): tensor for name, tensor in named.items()}
        form, tensors = as_in_file(self.backbone.config, own, self.backbone.file)
        write_network(Path(save_directory), form, tensors, form.shapes())


def _as_shown(module: InflatedModel, tensors: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Let a model take what stands in files, its own among them, which a Trainer goes on from.

    They have no module around the backbone, and tables as the model's file has them: those are
    resized, as they were when it was loaded.
    """
    for name in [name for name in tensors if name.startswith(prefix)]:
        if not name.startswith(prefix + _INNER):
            tensors[prefix + _INNER + name[len(prefix) :]] = tensors.pop(name)
    network, inside = module.backbone, prefix + _INNER
    own = {n.removeprefix(inside): t for n, t in tensors.items() if n.startswith(inside)}
    shown = without_wrappers(network.state_dict())
    if network.file is not None and network.file.holds(own, shown):
        fitted = network.file.config.fit(own, network.config)
        tensors.update({inside + name: tensor for name, tensor in fitted.items()})


def _refuse(model_args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that would change nothing, unless they ask for nothing.

    Raises:
        UsageError: Names them.
    """
    asked = [name for name, value in kwargs.items() if value not in (None, False)]
    unknown = sorted(set(asked) - _WITHOUT_EFFECT)
    if model_args or unknown:
        raise UsageError(
            f"converted weights are not loaded with {', '.join(unknown) or 'further arguments'}",
            hint="leave it out; see help(inflate_zoo.transformers)",
        )


def _folder(place: str, hub: Mapping[str, Any]) -> Path:
    """The folder with both files; of a Hub repo, fetched as transformers fetches."""
    local = Path(place, hub.get("subfolder") or "")
    if local.is_dir():
        return folder_of(local, *CONFIGS.values())
    config, _ = (Path(str(cached_file(place, name, **hub))) for name in (CONFIG, WEIGHTS))
    return config.parent


def _dtype(asked: str | torch.dtype | None, folder: Path) -> str | torch.dtype | None:
    """What `Backbone.from_pretrained` takes: `auto` becomes the file's own type, if it is one."""
    if asked != "auto":
        return asked
    header = SafetensorsCheckpoint([folder / WEIGHTS]).header
    found = {info.dtype for info in header.values()}
    names = [name for name, short in DTYPES.items() if {short} == found]
    return names[0] if names else None


def _device(device_map: Any) -> torch.device | None:
    """The one device of a device map.

    Raises:
        UsageError: There are several, or none is named.
    """
    one = isinstance(device_map, Mapping) and set(device_map) == {""}
    asked = device_map[""] if one else device_map
    try:
        return None if asked is None else torch.device(asked)
    except (RuntimeError, TypeError):
        raise UsageError(
            f"device_map={device_map!r} names no single device",
            hint='name one, e.g. device_map="cuda", or move the model with .to(...)',
        ) from None


def _require_same(wanted: BackboneConfig, folder: Path) -> None:
    """Refuse a config whose network is not the folder's.

    Raises:
        UsageError: Names the fields.
    """
    there = read_backbone_config(folder, folder).for_volume(wanted.volume).model_dump()
    asked = wanted.model_dump()
    if changed := [name for name in there | asked if there.get(name) != asked.get(name)]:
        raise UsageError(
            f"the config's {' and '.join(changed)} are not those of '{folder.name}'",
            hint="leave the config out: that of the folder is taken",
        )


def register(kind: str) -> None:
    """Tell transformers of the networks of one `model_type`.

    Args:
        kind: A name in `CONFIGS`.
    """
    name = "".join(word.capitalize() for word in kind.split("_"))
    inside = {"__module__": __name__}
    config = type(
        f"{name}Config",
        (InflatedConfig,),
        {**inside, "model_type": kind, "form": CONFIGS[kind], "__init__": InflatedConfig.__init__},
    )
    model = type(f"{name}Model", (InflatedModel,), {**inside, "config_class": config})
    globals().update({config.__name__: config, model.__name__: model})  # where pickles look
    AutoConfig.register(kind, config, exist_ok=True)
    AutoModel.register(config, model, exist_ok=True)


for _kind in CONFIGS:
    register(_kind)
