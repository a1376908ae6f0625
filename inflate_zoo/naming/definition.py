"""Typed, frozen forms of the TOML files."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Role = Literal[
    "stem_kernel",
    "stem_bias",
    "position_table",
    "bias_table",
    "window_table",
    "offset_kernel",
    "merge_norm",
    "merge_kernel",
    "neck_kernel",
    "token",
]
# Beyond these a fold leaves what float32 can hold.
Mean = Annotated[float, Field(strict=True, ge=-1e6, le=1e6, allow_inf_nan=False)]
Std = Annotated[float, Field(strict=True, ge=1e-6, le=1e6, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConfigEntry(_Strict):
    """Where one field of the architecture comes from.

    Attributes:
        path: Field of config.json (of the section for the model type).
        default: The value where config.json leaves it out: the library's own default.
        rule: A named function instead, for what is not a plain field.
    """

    path: str | None = None
    default: Any = None
    rule: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.rule is not None and (self.path is not None or self.default is not None):
            raise ValueError("'rule' stands alone, without 'path' or 'default'")
        if self.rule is None and self.path is None and self.default is None:
            raise ValueError("needs 'path', 'default' or 'rule'")
        return self


class Normalization(_Strict):
    """Input normalisation, in intensities of [0, 1]: one value per channel, or one for all."""

    mean: tuple[Mean, ...] = Field(min_length=1)
    std: tuple[Std, ...] = Field(min_length=1)


class RgbNormalization(Normalization):
    """One value per RGB channel."""

    mean: tuple[Mean, Mean, Mean]
    std: tuple[Std, Std, Std]


class Family(_Strict):
    """One way in which 2D vision transformer checkpoints name their tensors.

    In patterns `{}` is an index, of which a name may have several, `{+1}` one that is greater by 1
    in the source than in ours, `{*2}` and `{*2+1}` one that is twice ours, and twice ours and 1; a
    source with two for our one numbers the blocks anew in each stage, which comes first;
    `{wb}` is weight or bias, `{a,b,c}` (only in `join`) lists what is stacked, `*` (only in `drop`)
    is anything.

    Attributes:
        name: File name of the definition, without its ending.
        network: Which network it is, by the name of its folder.
        summary: What it covers, one line.
        library: What built the original: `transformers`, `timm`, `torchvision` or `original` (a
            .pth of its own).
        dimensions: Of what the network takes: 3 where it is 3D already, and nothing is inflated.
        reference: Class of that library which the proof compares with; of timm's and of originals'
            it also says how timm describes and builds the network.
        modules: Of `timm.models`, where timm registers the architectures of this kind.
        bare: What to do about a file that nothing states an architecture of; for timm's.
        model_types: `model_type` values of config.json that choose this family.
        sections: Model type to the part of config.json that describes the image tower.
        wrappers: Parts of the path under which files of this kind keep the tower, by which they
            are known among kinds with the same names; `*` is any path, or none.
        drop: Tensors of the tower that are left out.
        pooling_head: Those of the dropped that pooled the tokens in the original.
        linear_stem: Where the stem is a matrix over patches instead of a kernel: whether a patch
            runs over channel, height, width or over height, width, channel.
        optional: Our names that may be absent, from every block or from none.
        rename: Source pattern to our name.
        join: Our name to the source pattern whose alternatives are stacked along dimension 0, or
            to several such patterns, of which a file has one.
        split: Source pattern to our names of its equal parts along dimension 0, in their order;
            empty for a part that is left out.
        roles: Our name to what becomes of it; all others are copied.
        config: Field of the architecture to where it comes from.
        processor: Image processor of transformers that feeds these models; its defaults are what
            a source's file leaves out.
        conditioner: Fields of config.json, mean and std, by which the network itself normalises
            what its processor gives; `normalization` is what it does where they are left out.
        normalization: The guess where the source states none.
        examples: Well-known checkpoints of this family.
    """

    name: str
    network: str
    summary: str
    library: Literal["transformers", "timm", "torchvision", "original"]
    dimensions: Literal[2, 3] = 2
    reference: str
    modules: tuple[str, ...] = ()
    bare: str = "name it, e.g. --arch vit_base_patch16_224"
    model_types: tuple[str, ...] = ()
    sections: Mapping[str, str] = Field(default_factory=dict)
    wrappers: tuple[str, ...] = ("*",)
    drop: tuple[str, ...] = ()
    pooling_head: tuple[str, ...] = ()
    linear_stem: Literal["channels_first", "channels_last"] | None = None
    optional: tuple[str, ...] = ()
    rename: Mapping[str, str]
    join: Mapping[str, str | tuple[str, ...]] = Field(default_factory=dict)
    split: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    roles: Mapping[str, Role]
    config: Mapping[str, ConfigEntry]
    processor: str | None = None
    conditioner: tuple[str, str] | None = None
    normalization: RgbNormalization
    examples: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _no_dead_entries(self) -> Self:
        ours = set(self.targets)
        ours |= {name.replace("{wb}", part) for name in ours for part in ("weight", "bias")}
        strangers = {
            "optional": set(self.optional) - ours,
            "roles": self.roles.keys() - ours,
            "sections": self.sections.keys() - set(self.model_types),
            "pooling_head": set(self.pooling_head) - set(self.drop),
        }
        for key, names in strangers.items():
            if names:
                raise ValueError(f"{key} names what nothing else mentions: {sorted(names)}")
        for source, parts in self.split.items():
            kept = [name for name in parts if name]
            if len(parts) < 2 or not kept or len(set(kept)) < len(kept):
                raise ValueError(f"split makes '{source}' no two parts, each kept once or left out")
        if list(self.roles.values()).count("stem_kernel") != 1:
            raise ValueError("roles give 'stem_kernel' to one tensor")
        if (self.processor is not None) != (self.library == "transformers"):
            raise ValueError("processor is named for transformers, and only there")
        if bool(self.modules) != (self.library == "timm"):
            raise ValueError("modules are named for timm, and only there")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """All our names, as patterns."""
        parts = (name for names in self.split.values() for name in names if name)
        return (*self.rename.values(), *self.join, *parts)

    @property
    def stem(self) -> str:
        """Our name of the stem's kernel."""
        return next(name for name, role in self.roles.items() if role == "stem_kernel")
