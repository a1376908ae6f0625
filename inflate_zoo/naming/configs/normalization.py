"""What a source is fed: its own files by their meaning, for intensities in [0, 1].

A processor makes (factor * pixel - shift - mean) / std of a pixel of 0 to 255, with parts of it
switched off; whatever is on, that is one mean and one std for intensities in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError

from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.naming.configs.from_config import short
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.texts import plural

Basis = Literal["stated", "given", "guessed"]
"""Whether the source states it, the user gave it, or nobody did."""

PROCESSOR_CONFIG, PREPROCESSOR_CONFIG = "processor_config.json", "preprocessor_config.json"
OPEN_CLIP_CONFIG = "open_clip_config.json"
# What else a processor may do to intensities; by default none of it.
_PECULIAR = ("offset", "rescale_offset", "include_top", "do_flip_channel_order", "do_grayscale",
             "do_color_quantize")  # fmt: skip
_BY_HAND = "state it yourself: --mean and --std, in intensities of [0, 1]"
_PIXELS = 255.0


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """What a file beside the weights says of feeding.

    Attributes:
        file: Name of the file.
        section: What to put before a field in messages.
        fields: The image processor's fields.
    """

    file: str
    section: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Processor:
    """What feeds the original, for the proof to build.

    Attributes:
        library: What builds it.
        kind: Class of transformers; for timm what its transforms are configured by.
        settings: The fields that bear on intensities, as the source has them.
    """

    library: Literal["transformers", "timm"]
    kind: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Feeding:
    """How the original is fed.

    Attributes:
        normalization: What intensities in [0, 1] become before the network.
        basis: Who says so.
        origin: Where it stands, for people.
        processor: What feeds the original so; `None` where no library does.
        notes: What a user should know, one sentence each.
        conditioned: Whether the network itself does the last part of it, after its processor.
    """

    normalization: Normalization
    basis: Basis
    origin: str
    processor: Processor | None = None
    notes: tuple[str, ...] = ()
    conditioned: bool = False


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What a class of transformers does where a file says nothing."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    factor: float = 1 / _PIXELS
    shift: str | None = None  # the field that shifts by one, where the class has one
    shifted: bool = False


_HALF = ((0.5,) * 3, (0.5,) * 3)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# Those that only rescale, shift and normalise. The proof builds nothing else by a file's word.
PROCESSORS: Mapping[str, _Defaults] = MappingProxyType(
    {
        "BeitImageProcessor": _Defaults(*_HALF),
        "BitImageProcessor": _Defaults(*_CLIP),
        "BlipImageProcessor": _Defaults(*_CLIP),
        "CLIPImageProcessor": _Defaults(*_CLIP),
        "ChineseCLIPImageProcessor": _Defaults(*_CLIP),
        "ConvNextImageProcessor": _Defaults(*_HALF),
        "DINOv3ViTImageProcessor": _Defaults(*_IMAGENET),
        "DPTImageProcessor": _Defaults(*_HALF),
        "DeiTImageProcessor": _Defaults(*_HALF),
        "LevitImageProcessor": _Defaults(*_IMAGENET),
        "Siglip2ImageProcessor": _Defaults(*_HALF),
        "Sam2ImageProcessor": _Defaults(*_IMAGENET),
        "SamImageProcessor": _Defaults(*_IMAGENET),
        "SegformerImageProcessor": _Defaults(*_IMAGENET),
        "SiglipImageProcessor": _Defaults(*_HALF),
        "ViTImageProcessor": _Defaults(*_HALF),
        "VivitImageProcessor": _Defaults(*_HALF, 1 / 127.5, "offset", shifted=True),
    }
)
_TIMM = _Defaults(*_IMAGENET)


def image_processor(
    processor: Mapping[str, Any] | None, preprocessor: Mapping[str, Any] | None
) -> Preprocessor | None:
    """Which of the two files says how images are fed: the order is that of transformers.

    Args:
        processor: processor_config.json; that of transformers 5 holds the image processor.
        preprocessor: preprocessor_config.json.

    Raises:
        ConfigError: The image processor is no object.
    """
    nested = (processor or {}).get("image_processor")
    if nested is not None:
        if not isinstance(nested, Mapping):
            raise _wrong(f"{PROCESSOR_CONFIG}: image_processor", nested, "an object")
        return Preprocessor(PROCESSOR_CONFIG, "image_processor.", nested)
    if preprocessor is not None:
        return Preprocessor(PREPROCESSOR_CONFIG, "", preprocessor)
    return None


def from_preprocessor(found: Preprocessor, usual: str | None) -> Feeding | None:
    """What an image processor of transformers makes of intensities in [0, 1].

    Args:
        found: Its file.
        usual: The class that is taken where the file names none; `None` if there is none.

    Returns:
        `None` where the file leaves open what no known class fills in.

    Raises:
        ConfigError: A field has the wrong type or is out of range, or does what no mean and std
            can express.
    """
    fields = found.fields
    kind = _kind(found) or usual or ""
    own = PROCESSORS.get(kind)
    _refuse_peculiar(found, kind, own)
    normalizes, rescales = (_flag(found, f) for f in ("do_normalize", "do_rescale"))
    if normalizes and own is None and not {"image_mean", "image_std"} <= _stated(fields):
        return None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    if normalizes:
        mean = _values(found, "image_mean", own.mean if own else ())
        std = _values(found, "image_std", own.std if own else ())
    factor = _factor(found, own.factor if own else 1 / _PIXELS) if rescales else 1.0
    shifts = rescales and own is not None and own.shift is not None
    shift = float(shifts and _flag(found, own.shift or "", own.shifted)) if own else 0.0
    gain = factor * _PIXELS
    if math.isclose(gain, 1, rel_tol=1e-6):  # 1 / 255 as somebody rounded it
        gain = 1.0
    try:
        normalization = Normalization(
            mean=tuple((value + shift) / gain for value in mean),
            std=tuple(value / gain for value in std),
        )
    except ValidationError as error:
        raise _out_of_range(f"{found.file}: {found.section}", error) from error
    switches = ("do_normalize", "do_rescale", "offset")
    read = {*_stated(fields) & {"rescale_factor", "image_mean", "image_std"}, *switches}
    settings = {f: value for f, value in fields.items() if f in read}
    built = Processor("transformers", kind, settings)
    notes = () if rescales else (_unscaled(found),)
    silent = normalizes and not {"image_mean", "image_std"} <= _stated(fields)
    origin = f"{found.file}, else {kind}'s default" if silent else found.file
    return Feeding(normalization, "stated", origin, built, notes)


def from_timm(cfg: Mapping[str, Any], label: str, basis: Basis = "stated") -> Feeding | None:
    """What timm's transforms make of intensities in [0, 1].

    Args:
        cfg: A pretrained_cfg, timm's own or that of config.json.
        label: What it is called in messages.
        basis: Whether it is that of the very weights.

    Returns:
        `None` where it says neither mean nor std.

    Raises:
        ConfigError: They are malformed.
    """
    said = {field: cfg[field] for field in _stated(cfg) & {"mean", "std"}}
    if not said:
        return None
    found = Preprocessor(label, "", cfg)
    mean, std = _values(found, "mean", _TIMM.mean), _values(found, "std", _TIMM.std)
    try:
        normalization = Normalization(mean=mean, std=std)
    except ValidationError as error:
        raise _out_of_range(f"{label}: ", error) from error
    return Feeding(normalization, basis, label, Processor("timm", "transforms", said))


def from_open_clip(cfg: Mapping[str, Any]) -> Feeding:
    """What OpenCLIP makes of intensities in [0, 1].

    Args:
        cfg: preprocess_cfg of its config. What is absent, empty or zero there is CLIP's, and one
            number is meant for each of the three channels.

    Raises:
        ConfigError: mean or std are malformed.
    """
    said = {field: cfg[field] for field in ("mean", "std") if cfg.get(field)}
    label = f"{OPEN_CLIP_CONFIG}: preprocess_cfg"
    found = Preprocessor(OPEN_CLIP_CONFIG, "preprocess_cfg.", said)
    mean, std = (
        values * (3 if len(values) == 1 else 1)
        for values in (_values(found, "mean", _CLIP[0]), _values(found, "std", _CLIP[1]))
    )
    try:
        normalization = Normalization(mean=mean, std=std)
    except ValidationError as error:
        raise _out_of_range(f"{found.file}: {found.section}", error) from error
    origin = label if len(said) == 2 else f"{label}, else OpenCLIP's default"
    built = Processor("timm", "transforms", {"mean": mean, "std": std})
    return Feeding(normalization, "stated", origin, built)


def conditioned(
    fed: Feeding | None,
    fields: Mapping[str, Any],
    names: tuple[str, str],
    usual: Normalization,
    processor: str | None,
) -> Feeding:
    """What a network that normalises its input itself makes of intensities in [0, 1].

    Args:
        fed: What its processor does before; `None` where nobody says: it rescales alone.
        fields: The config, of which
        names: are the fields of mean and std.
        usual: What they are where they are left out.
        processor: Class of transformers that feeds such networks.

    Raises:
        ConfigError: They are malformed.
    """
    found = Preprocessor("config.json", "", fields)
    own = [_values(found, n, usual.mean if n == names[0] else usual.std) for n in names]
    label = f"config.json: {names[0]} and {names[1]}"
    if fed is None:
        alone = Processor("transformers", processor or "", {"do_normalize": False})
        fed = Feeding(Normalization(mean=(0.0,), std=(1.0,)), "stated", "", alone)
    channels = max(len(own[0]), len(own[1]), len(fed.normalization.mean))
    outer = for_channels(fed.normalization, channels)
    try:
        inner = for_channels(Normalization(mean=own[0], std=own[1]), channels)
    except ValidationError as error:
        raise _out_of_range("config.json: ", error) from error
    mean = (m + s * n for m, s, n in zip(outer.mean, outer.std, inner.mean, strict=True))
    std = (s * d for s, d in zip(outer.std, inner.std, strict=True))
    total = Normalization(mean=tuple(mean), std=tuple(std))
    origin = f"{fed.origin}, then {label}" if fed.origin else label
    return replace(fed, normalization=total, origin=origin, basis="stated", conditioned=True)


def given(mean: Sequence[float] | None, std: Sequence[float] | None) -> Normalization | None:
    """What the user states, checked; `None` where nothing is.

    Args:
        mean: In intensities of [0, 1], one value per channel of the source or one for all.
        std: Likewise.

    Raises:
        UsageError: One without the other, no finite numbers, or such of another scale.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        lacking = "--mean" if mean is None else "--std"
        raise UsageError(f"{lacking} is missing: mean and std go together", hint="give both")
    try:
        found = Normalization(mean=tuple(mean), std=tuple(std))
    except (TypeError, ValidationError) as error:
        raise UsageError(
            "mean and std must be finite numbers, std above 0",
            hint="e.g. --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        ) from error
    if max(map(abs, found.mean)) > 10 or max(found.std) > 10:
        raise UsageError(
            f"mean {list(found.mean)} and std {list(found.std)} are not in intensities of [0, 1]",
            hint="divide what is meant for pixels of 0 to 255 by 255",
        )
    return found


def for_channels(normalization: Normalization, channels: int) -> Normalization:
    """One value per channel of the stem.

    Raises:
        UsageError: There are values for another number of channels.
    """
    told = {len(normalization.mean), len(normalization.std)} - {1, channels}
    if told:
        number = "one value" if channels == 1 else f"one value or {channels}"
        raise UsageError(
            f"the stem has {plural(channels, 'channel')}, the normalisation {told.pop()}",
            hint=f"{_BY_HAND}, {number}; or leave out --fold-normalization",
        )
    mean, std = (
        values * (channels // len(values)) for values in (normalization.mean, normalization.std)
    )
    return Normalization(mean=mean, std=std)


def _stated(fields: Mapping[str, Any]) -> set[str]:
    """Fields with a value: with null for a number a library has its own, or does not run."""
    return {field for field, value in fields.items() if value is not None}


def _kind(found: Preprocessor) -> str | None:
    """The class that a file names, as it is called today."""
    for field in ("image_processor_type", "feature_extractor_type"):
        name = found.fields.get(field)
        if name is not None:
            if not isinstance(name, str):
                raise _wrong(f"{found.file}: {found.section}{field}", name, "text")
            bare = name
            for ending in ("Fast", "Pil", "FeatureExtractor", "ImageProcessor"):
                bare = bare.removesuffix(ending)
            today = f"{bare}ImageProcessor"
            return today if today in PROCESSORS else name
    return None


def _refuse_peculiar(found: Preprocessor, kind: str, own: _Defaults | None) -> None:
    for field in _PECULIAR:
        if found.fields.get(field) and field != (own.shift if own else None):
            raise ConfigError(
                f"{found.file}: {found.section}{field} is "
                f"{short(found.fields[field])}: what "
                f"{kind or 'its processor'} makes of intensities is not known",
                hint=_BY_HAND,
            )


def _flag(found: Preprocessor, field: str, default: bool = True) -> bool:
    value = found.fields.get(field, default)
    if value is None:  # stands for itself in transformers, which then does not do it
        return False
    if not isinstance(value, bool):
        raise _wrong(f"{found.file}: {found.section}{field}", value, "true or false")
    return value


def _factor(found: Preprocessor, default: float) -> float:
    value = found.fields.get("rescale_factor")
    if value is None:
        return default
    if not _number(value) or not 1e-6 <= value <= 1e6:
        raise _wrong(f"{found.file}: {found.section}rescale_factor", value, "a positive number")
    return float(value)


def _values(found: Preprocessor, field: str, default: tuple[float, ...]) -> tuple[float, ...]:
    value = found.fields.get(field)
    if value is None:
        return default
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(map(_number, values)):
        what = "a number, or a list of one for each channel"
        raise _wrong(f"{found.file}: {found.section}{field}", value, what)
    return tuple(map(float, values))


def _number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 1e12  # NaN and infinity are not


def _unscaled(found: Preprocessor) -> str:
    said = "null" if found.fields["do_rescale"] is None else "false"
    return (
        f"{found.file} says do_rescale {said}, so the original is fed pixels of 0 to 255; if it "
        "was fed intensities in [0, 1], state --mean and --std."
    )


def _wrong(field: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"{field} must be {expected}, found {short(value)}",
        hint=f"correct the file, or {_BY_HAND}",
    )


def _out_of_range(where: str, error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    return ConfigError(
        f"{where}{first['loc'][0]} {short(first['input'])} is no normalisation: in intensities "
        "of [0, 1] std must be from 1e-06 to 1e+06, and mean no larger",
        hint=f"correct the file, or {_BY_HAND}",
    )
