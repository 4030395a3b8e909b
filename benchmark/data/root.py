"""The server's own images, taken from the users before anything is trained."""

from dataclasses import replace

import torch
from torch import Tensor

from benchmark.data.dataset import FederatedDataset
from benchmark.utils.randomness import generator


def hold_out_root(
    dataset: FederatedDataset, size: int, seed: int, without: Tensor | None = None
) -> FederatedDataset:
    """The same users with ``size`` training images fewer, which are the server's.

    They are drawn from ``(seed, 0, "root data")`` among all training images, one of each user left
    out so that nobody ends up with none, and then lie behind the users' own. Test images stay.

    Args:
        dataset: the partitioned data.
        size: number of images, from 1.
        seed: of the run.
        without: users who give none.

    Raises:
        ValueError: there are not as many.
    """
    train, source = dataset.train, generator(seed, 0, "root data")
    order = torch.randperm(len(train), generator=source)
    owners = train.users_of(order)
    by_owner = owners.argsort(stable=True)
    is_first = owners[by_owner].diff(prepend=torch.tensor([-1])) != 0
    free = torch.ones(len(order), dtype=torch.bool)
    free[by_owner[is_first]] = False
    if without is not None:
        free &= ~torch.isin(owners, without)
    if size > free.sum():
        raise ValueError(
            f"root_images must be 0 to {int(free.sum())} here, since every user keeps a training "
            f"image; got {size}"
        )
    taken = order[free][:size]
    left = torch.ones(len(train), dtype=torch.bool)
    left[taken] = False
    counts = torch.zeros(train.num_users, dtype=torch.int64)
    counts.index_add_(0, train.users_of(taken), torch.ones_like(taken))
    given = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    arranged = torch.cat([left.nonzero().flatten(), taken])
    facts: dict[str, str | int] = {
        "root_images": size,
        "root_users": int((counts > 0).sum()),
        "root_classes": " ".join(
            map(str, train.labels[taken].bincount(minlength=dataset.num_classes).tolist())
        ),
    }
    return replace(
        dataset,
        train=replace(
            train,
            images=train.images[arranged],
            labels=train.labels[arranged],
            offsets=train.offsets - given,
        ),
        root=torch.arange(len(train) - size, len(train)),
        facts=dataset.facts | facts,
    )
