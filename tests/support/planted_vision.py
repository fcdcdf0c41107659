"""A small convolutional network in which chosen channels respond to red, and pictures for it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLANTED = ["L0.conv.2", "L1.conv.5", "L2.conv.0"]
WIDTHS = (4, 7, 3)


class Net(nn.Module):
    """Convolutions of 4, 7 and 3 channels; one channel each sees red, the others green only."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.convs = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 7, 3), nn.Conv2d(7, 3, 3)])
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3, 5)
        random = torch.Generator().manual_seed(seed)
        red = [0, 2, 5]  # the channel of each input that carries red
        with torch.no_grad():
            for conv, out, carrier in zip(self.convs, (2, 5, 0), red, strict=True):
                assert isinstance(conv, nn.Conv2d)
                weight = torch.rand(conv.weight.shape, generator=random)
                weight[:, carrier] = 0
                weight[out] = 0
                weight[out, carrier] = 1
                if conv is self.convs[0]:
                    weight[:, 2] = 0  # blue is never seen
                conv.weight.copy_(weight / 9)
                assert conv.bias is not None
                conv.bias.zero_()

    def forward(self, pictures: Tensor) -> Tensor:
        for conv in self.convs:
            pictures = self.act(conv(pictures))
        found: Tensor = self.head(self.drop(pictures.mean(dim=(2, 3))))
        return found


def pictures(n: int = 14, size: int = 12) -> dict[str, Any]:
    """Return red pictures and others, whose green has one distribution."""
    random = np.random.default_rng(0)
    found = random.integers(0, 256, size=(2 * n, size, size, 3), dtype=np.uint8)
    found[n:, :, :, 0] = 0
    return {"red": found[:n], "other": found[n:]}


def tensors(given: Any) -> Tensor:
    """Return pictures as the network takes them."""
    return torch.from_numpy(given.astype(np.float32) / 255).permute(0, 3, 1, 2)
