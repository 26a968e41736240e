"""The same network as `train_ours` in a plain PyTorch loop.

All clips have T steps, so it needs no mask and has none.
"""

from collections.abc import Callable

FACE, CONTEXT, CLASSES, UNITS = 2048, 512, 8, 128
RATE, LIMIT = 1e-3, 5.0


def prepare(args: dict) -> Callable[[], dict]:
    """Makes the network; `args` are `steps`, `batch` and `count`."""
    import torch

    torch.manual_seed(0)
    network = _network(torch)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    length, batch = args["steps"], args["batch"]
    context = torch.rand(batch, length, CONTEXT)
    face = torch.rand(batch, length, FACE)
    labels = torch.randint(0, CLASSES, (batch,))
    loss_of = torch.nn.functional.cross_entropy

    def run() -> dict:
        for _ in range(args["count"]):
            optimizer.zero_grad()
            loss = loss_of(network(context, face), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), LIMIT)
            optimizer.step()
            loss.item()
        return {
            "units": args["count"] * batch,
            "detail": {
                "parameters": sum(p.numel() for p in network.parameters()),
                "threads": torch.get_num_threads(),
            },
        }

    return run


def _network(torch):
    class Cascade(torch.nn.Module):
        """CACA-RNN A; PyTorch's LSTMs have two biases each."""

        def __init__(self):
            super().__init__()
            self.context_encoder = torch.nn.Linear(CONTEXT, UNITS)
            self.face_encoder = torch.nn.Linear(FACE, UNITS)
            self.lstm = torch.nn.LSTM(UNITS, UNITS, 2, batch_first=True)
            self.cell = torch.nn.LSTMCell(2 * UNITS, UNITS)
            self.head = torch.nn.Linear(UNITS, CLASSES)

        def forward(self, context, face):
            memory, (hidden, carry) = self.lstm(
                torch.relu(self.context_encoder(context))
            )
            hidden, carry = hidden[-1], carry[-1]
            face = torch.relu(self.face_encoder(face))
            for t in range(face.shape[1]):
                scores = torch.bmm(memory, hidden[:, :, None])[:, :, 0]
                weights = torch.softmax(scores, 1)
                fed = torch.bmm(weights[:, None], memory)[:, 0]
                inputs = torch.cat([face[:, t], fed], 1)
                hidden, carry = self.cell(inputs, (hidden, carry))
            return self.head(hidden)

    return Cascade()
