"""Version 2: a small convolutional net, trained by torch; its layers are those written in model.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.digits.data import Rows
from examples.exporting import export_onnx
from workers.inference.backends.architectures.sequential import Sequential, build

SEED: Final = 0
EPOCHS: Final = 40
BATCH_SIZE: Final = 64
OUTPUTS: Final = ("label", "probabilities")


def train(config: Mapping[str, Any], rows: Rows) -> Sequential:
    """The trained net, ready to be saved. The same rows give the same weights on one machine."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    net = build(config).train()
    images, labels = torch.from_numpy(rows.inputs), torch.from_numpy(rows.labels)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(labels) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(labels)), BATCH_SIZE):
            loss = functional.cross_entropy(net.layers(_shifted(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return net.eval()


def _shifted(images: Tensor) -> Tensor:
    """The batch moved by up to a pixel in each direction: people do not write in the exact middle."""
    down, right = torch.randint(-1, 2, (2,)).tolist()
    return torch.roll(images, (down, right), dims=(1, 2))


class _Exported(nn.Module):
    """The net with its outputs in the order of their names in `OUTPUTS`, as the exporter needs them."""

    def __init__(self, net: Sequential) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.net(image=image)
        return tuple(outputs[name] for name in OUTPUTS)


def as_exported(net: Sequential) -> nn.Module:
    """The net as the exporters take it: one tensor in, the tensors of `OUTPUTS` out."""
    return _Exported(net)


def export(net: Sequential, path: Path) -> None:
    """Write the net as an ONNX graph with the inputs and outputs of model.yaml."""
    export_onnx(
        as_exported(net),
        {"image": torch.zeros(2, 8, 8)},
        {"image": {0: torch.export.Dim("rows")}},
        OUTPUTS,
        path,
        opset=18,
    )
