"""flwr's side of the clients, in Ray's actors: data and model stay in their memory."""

from functools import cache
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn
from torch.nn.functional import cross_entropy

from bench.peers.work import BATCH, EPOCHS, LR, Work

app = ClientApp()


@cache
def resident(folder: str) -> tuple[Work, nn.Module]:
    """Read once in every actor."""
    torch.set_num_threads(1)
    work = Work.read(Path(folder))
    return work, work.network()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Local training of one client."""
    work, model = resident(str(message.content["config"]["folder"]))
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    images, labels = work.client(int(context.node_config["partition-id"]))
    batches = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    for _ in range(EPOCHS):
        for inputs, targets in batches:
            optimizer.zero_grad()
            cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    content = {
        "arrays": ArrayRecord(model.state_dict()),
        "metrics": MetricRecord({"num-examples": len(labels)}),
    }
    return Message(content=RecordDict(content), reply_to=message)
