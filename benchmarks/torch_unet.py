"""The 2D U-Net of ``networks/unet.py`` written in plain PyTorch, for ``training_step.py``."""

import torch
from torch import nn


def block(channels, maps, dropout):
    """Return convolution, ELU, dropout, convolution, ELU."""
    first, second = nn.Conv2d(channels, maps, 3, padding=1), nn.Conv2d(maps, maps, 3, padding=1)
    between = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(first, nn.ELU(), *between, second, nn.ELU())


class UNet(nn.Module):
    """U-Net with one input channel and one channel of logits, ``(n, 1, y, x)``.

    Parameters
    ----------
    feature_maps, drop_values : sequence
        Of each level, the bottleneck last.
    """

    def __init__(self, feature_maps, drop_values):
        super().__init__()
        *maps, bottom = feature_maps
        *drops, bottom_drop = drop_values
        channels = [1, *maps]
        self.down = nn.ModuleList(block(*args) for args in zip(channels[:-1], maps, drops, strict=True))
        self.bottom = block(maps[-1], bottom, bottom_drop)
        wider = [*maps[1:], bottom]
        self.up = nn.ModuleList(nn.ConvTranspose2d(wide, n, 2, stride=2) for wide, n in zip(wider, maps, strict=True))
        self.merge = nn.ModuleList(block(2 * n, n, drop) for n, drop in zip(maps, drops, strict=True))
        self.head = nn.Conv2d(maps[0], 1, 1)

    def forward(self, x):
        """Return the logits."""
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, merge, skip in reversed(list(zip(self.up, self.merge, skips, strict=True))):
            x = merge(torch.cat([up(x), skip], dim=1))
        return self.head(x)
