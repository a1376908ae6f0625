"""The card of a builtin source, from what its training recorded."""

from typing import Any

CARD = """---
license: apache-2.0
library_name: timm
tags:
- image-feature-extraction
- vision-transformer
- cifar-10
---

# builtin/{name}

A small vision transformer (6 blocks of width 144, patch 4, pictures of 32x32 pixels, 1.5 million
parameters) for trying inflate-zoo out. Not for results: it has seen 50,000 tiny pictures.

{objective}

| | |
| --- | --- |
| Trained on | CIFAR-10's training pictures (Krizhevsky 2009, for research use) |
| Epochs, batch | {epochs}, {batch} |
| Learning rate, weight decay | {learning_rate:g}, {weight_decay:g} |
| Seed | {seed} |
| Device, seconds | {device}, {seconds:.0f} |
| Versions | torch {torch}, timm {timm} |
| Linear probe, test pictures | {linear_probe:.1%} |
| The same of a random network | {linear_probe_of_a_random_network:.1%} |

The probe is one linear layer on the class token and the mean of the patch tokens. Views are random
crops, mirrored, changed in colour, a fifth of them grey. Format: timm, float16. Made by
`benchmarks/builtin/train.py`.
"""


def card(name: str, result: dict[str, Any]) -> str:
    """Markdown with front matter."""
    plain = {key: value for key, value in result.items() if key != "versions"}
    return CARD.format(name=name, **plain, **result["versions"])
