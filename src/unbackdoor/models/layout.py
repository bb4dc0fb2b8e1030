"""Which layout in memory a network can be run in: channels last, unless it cannot."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO

import torch
from torch import Tensor, nn

from unbackdoor.models.modes import evaluating


@torch.no_grad()
def layout_for(module: nn.Module, images: Tensor) -> torch.memory_format:
    """Return channels last, which is faster, or the usual layout for a network that needs it.

    A network that takes a ``view`` of its values can be run on the usual layout alone, because of
    the other there is no such view. Layers with weights in channels last answer in that layout, so
    they are moved to the layout that is returned.

    Args:
        module: moved in place; its modes and averages do not change.
        images: two that it takes, ``(2, C, H, W)``, on its device.

    """
    with evaluating(module):
        try:
            module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            with redirect_stderr(StringIO()):  # where traced networks print how they failed
                module(images.contiguous(memory_format=torch.channels_last))
        except Exception:  # foreign code: what is wrong in either layout is said where it is run
            module.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
            return torch.contiguous_format
        return torch.channels_last
