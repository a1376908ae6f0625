"""The four ways of pre-training. Each holds one encoder, and gives the loss of a batch."""

import copy
import math

import timm
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from pictures import NAMES, Pictures, View, views
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

ARCHITECTURE = "vit_tiny_patch16_224"
SHAPE = {"img_size": 32, "patch_size": 4, "embed_dim": 144, "depth": 6, "num_heads": 3}
WIDTH, PATCH, PATCHES = 144, 4, 64


def make_encoder() -> VisionTransformer:
    """The one architecture of all sources: 64 patches of 4x4 pixels, 1.5 million parameters."""
    made: VisionTransformer = timm.create_model(
        ARCHITECTURE, num_classes=0, dynamic_img_size=True, **SHAPE
    )
    return made


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Cosines of all pairs of rows, [left, right], in float32: temperatures magnify their error."""
    with torch.autocast(left.device.type, enabled=False):
        return F.normalize(left.float(), dim=-1) @ F.normalize(right.float(), dim=-1).T


class Objective(nn.Module):
    """What trains an encoder."""

    batch, epochs, learning_rate, weight_decay = 512, 100, 1e-3, 0.05

    def __init__(self) -> None:
        super().__init__()
        self.encoder = make_encoder()

    @property
    def result(self) -> VisionTransformer:
        """The encoder that is kept."""
        return self.encoder

    def loss(self, batch: Pictures, generator: torch.Generator) -> Tensor:
        """Loss of a batch."""
        raise NotImplementedError

    def after_step(self, progress: Tensor) -> None:
        """What follows a step; `progress`, on the device, runs from 0 to 1."""


class Supervised(Objective):
    """Class labels, from the class token, smoothed by 0.1."""

    epochs = 49

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(WIDTH, len(NAMES))

    def loss(self, batch: Pictures, generator: torch.Generator) -> Tensor:
        tokens = self.encoder.forward_features(views(batch.images, View(), generator))
        return F.cross_entropy(self.head(tokens[:, 0]), batch.labels, label_smoothing=0.1)


class MaskedAutoencoder(Objective):
    """MAE (He et al., 2022): three quarters of the patches are hidden and predicted, normalised."""

    batch, epochs, learning_rate = 1024, 79, 1.5e-3
    shown, decoder_width = PATCHES // 4, 96

    def __init__(self) -> None:
        super().__init__()
        width = self.decoder_width
        self.enter = nn.Linear(WIDTH, width)
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, PATCHES, width) * 0.02)
        self.decoder = nn.Sequential(Block(width, 3, qkv_bias=True), Block(width, 3, qkv_bias=True))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * PATCH**2))

    def loss(self, batch: Pictures, generator: torch.Generator) -> Tensor:
        images = views(batch.images, View(area=(0.5, 1.0), colour=0.2), generator)
        count, encoder = len(images), self.encoder
        noise = torch.rand(count, PATCHES, device=images.device, generator=generator)
        order = noise.argsort(1)
        kept, place = order[:, : self.shown, None], order.argsort(1)[..., None]
        tokens = encoder.patch_embed(images).flatten(1, 2) + encoder.pos_embed[:, 1:]
        tokens = tokens.gather(1, kept.expand(-1, -1, WIDTH))
        first = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(count, -1, -1)
        tokens = encoder.norm(encoder.blocks(torch.cat([first.to(tokens.dtype), tokens], 1)))
        known = self.enter(tokens[:, 1:])
        blank = self.hidden.to(known.dtype).expand(count, PATCHES - self.shown, -1)
        full = torch.cat([known, blank], 1).gather(1, place.expand(-1, -1, self.decoder_width))
        guess = self.leave(self.decoder(full + self.places)).float()
        truth = F.unfold(images, PATCH, stride=PATCH).transpose(1, 2)
        truth = (truth - truth.mean(-1, keepdim=True)) / (truth.var(-1, keepdim=True) + 1e-6).sqrt()
        error = (guess - truth).square().mean(-1)
        return error.gather(1, order[:, self.shown :]).mean()


class SelfDistillation(Objective):
    """DINO (Caron et al., 2021): a momentum teacher, two global crops and two small local ones.

    Crops are smaller than the pictures: twice the steps in the hour that two CPU cores may take.
    """

    batch, epochs, learning_rate, weight_decay = 128, 13, 5e-4, 0.1
    prototypes, student_temperature, teacher_temperature = 1024, 0.1, 0.04
    world = View(size=24, area=(0.4, 1.0), colour=0.5)
    detail = View(size=12, area=(0.1, 0.4), colour=0.5)

    def __init__(self) -> None:
        super().__init__()
        sizes = [nn.Linear(WIDTH, 512), nn.GELU(), nn.Linear(512, 512), nn.GELU()]
        self.head = nn.Sequential(*sizes, nn.Linear(512, 128))
        self.directions = nn.Parameter(torch.randn(self.prototypes, 128))
        self.teacher = copy.deepcopy(nn.ModuleList([self.encoder, self.head])).requires_grad_(False)
        self.teacher.register_buffer("directions", self.directions.detach().clone())
        self.register_buffer("center", torch.zeros(self.prototypes))

    @property
    def result(self) -> VisionTransformer:
        kept: VisionTransformer = self.teacher[0]
        return kept

    def loss(self, batch: Pictures, generator: torch.Generator) -> Tensor:
        worlds = torch.cat([views(batch.images, self.world, generator) for _ in range(2)])
        details = torch.cat([views(batch.images, self.detail, generator) for _ in range(2)])
        with torch.no_grad():
            aims = self._scores(*self.teacher, self.teacher.directions, worlds)
            targets = ((aims - self.center) / self.teacher_temperature).softmax(-1).chunk(2)
            self.center.lerp_(aims.mean(0), 0.1)
        parts = [
            self._scores(self.encoder, self.head, self.directions, x) for x in (worlds, details)
        ]
        guesses = [
            (scores / self.student_temperature).log_softmax(-1)
            for part in parts
            for scores in part.chunk(2)
        ]
        pairs = [
            -(target * guess).sum(-1).mean()
            for i, target in enumerate(targets)
            for j, guess in enumerate(guesses)
            if i != j
        ]
        return torch.stack(pairs).mean()

    @staticmethod
    def _scores(encoder: nn.Module, head: nn.Module, directions: Tensor, images: Tensor) -> Tensor:
        return cosines(head(encoder.forward_features(images)[:, 0]), directions)

    @torch.no_grad()
    def after_step(self, progress: Tensor) -> None:
        change = 0.01 * (1 + torch.cos(math.pi * progress)) / 2
        ours = [*self.encoder.parameters(), *self.head.parameters(), self.directions]
        theirs = [*self.teacher.parameters(), self.teacher.directions]
        torch._foreach_mul_(theirs, 1 - change)
        torch._foreach_add_(theirs, torch._foreach_mul(ours, change))


TEMPLATES = (
    "a photo of a {}", "a small photo of a {}", "a blurry photo of the {}", "a close photo of a {}",
    "one {}", "a picture of the {}", "there is a {} in the picture", "a {} seen from afar",
    "a grey picture of a {}", "this is a {}", "a good view of a {}", "the {} in the middle",
)  # fmt: skip


class Captions(Objective):
    """CLIP (Radford et al., 2021), against a small text tower over captions from class names.

    Equal captions in a batch share the target: they are no negatives of each other.
    """

    epochs = 49
    text_width, words_at_most = 96, 8

    def __init__(self) -> None:
        super().__init__()
        captions = [template.format(name) for name in NAMES for template in TEMPLATES]
        words = sorted({word for caption in captions for word in caption.split()})
        codes = [[1 + words.index(word) for word in caption.split()] for caption in captions]
        padded = [code + [0] * (self.words_at_most - len(code)) for code in codes]
        self.register_buffer("captions", torch.tensor(padded))
        width = self.text_width
        self.words = nn.Embedding(len(words) + 1, width)
        self.places = nn.Parameter(torch.randn(1, self.words_at_most, width) * 0.02)
        self.text = nn.Sequential(
            Block(width, 3, qkv_bias=True), Block(width, 3, qkv_bias=True), nn.LayerNorm(width)
        )
        self.from_text, self.from_image = nn.Linear(width, 96), nn.Linear(WIDTH, 96)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def loss(self, batch: Pictures, generator: torch.Generator) -> Tensor:
        tokens = self.encoder.forward_features(views(batch.images, View(), generator))
        device, labels = tokens.device, batch.labels
        kind = torch.randint(len(TEMPLATES), labels.shape, device=device, generator=generator)
        chosen = labels * len(TEMPLATES) + kind
        codes = self.captions[chosen]
        written = (codes > 0).float()[..., None]
        states = self.text(self.words(codes) + self.places).float() * written
        text = self.from_text(states.sum(1) / written.sum(1))
        scores = cosines(self.from_image(tokens[:, 0]), text) * self.scale.exp().clamp(max=100)
        same = (chosen[:, None] == chosen[None]).float()
        share = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(scores, share) + F.cross_entropy(scores.T, share)) / 2


OBJECTIVES: dict[str, type[Objective]] = {
    "supervised": Supervised,
    "mae": MaskedAutoencoder,
    "dino": SelfDistillation,
    "clip": Captions,
}
