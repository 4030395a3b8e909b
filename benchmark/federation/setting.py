"""What a federation is before anybody trains: the server's own data, what its defense is told."""

from benchmark.attacks.base import Attack, AttackSetting
from benchmark.data.dataset import FederatedDataset
from benchmark.data.root import hold_out_root
from benchmark.defenses.base import Defense, DefenseSetting
from benchmark.engine.client import ClientModule
from benchmark.federation.contract import check_fit, check_parts
from benchmark.federation.protocol import Protocol
from benchmark.tasks.base import Task


def set_up(
    defense: Defense, attack: Attack, client: ClientModule, num_users: int, protocol: Protocol
) -> None:
    """Tell attack and defense what they may know of the federation, or refuse what does not fit.

    Raises:
        ValueError: says what does not.
    """
    setting = DefenseSetting(
        num_users=num_users,
        clients_per_round=protocol.clients_per_round,
        num_parameters=client.num_parameters,
        rounds=protocol.rounds,
        layers=client.layers,
        weighting=protocol.weighting,
        server_lr=protocol.server_lr,
        replacement=protocol.replacement,
        has_root_data=protocol.root_images > 0,
        root_images=protocol.root_images,
        num_statistics=len(client.statistics()),
    )
    check_fit(defense, setting)
    check_parts(defense, attack, protocol.part_size)
    defense.setup(setting)
    attack.setup(
        AttackSetting(
            num_users=num_users,
            clients_per_round=protocol.clients_per_round,
            num_parameters=client.num_parameters,
            rounds=protocol.rounds,
            layers=client.layers,
            client_lr=protocol.client_lr,
            local_epochs=protocol.local_epochs,
            batch_size=protocol.batch_size,
            server_lr=protocol.server_lr,
            weighting=protocol.weighting,
        )
    )


def with_root(
    dataset: FederatedDataset, task: Task, protocol: Protocol, seed: int
) -> FederatedDataset:
    """The data with the server's own images set apart, if the protocol wants any.

    The task has chosen its users before: root data change what they own, not who they are.

    Raises:
        ValueError: there are not enough images, or none is left to the adversary.
    """
    if protocol.root_images == 0:
        return dataset
    owned = task.examples(dataset, "train").indices
    owners = dataset.train.users_of(owned).unique()
    spared = owners if protocol.root_from == "not_targets" else None
    dataset = hold_out_root(dataset, protocol.root_images, seed, spared)
    assert dataset.root is not None
    given = len(owned) - len(task.examples(dataset, "train"))
    if given == len(owned):
        raise ValueError(
            "the server's root data hold every image of the adversary's; fewer root_images, or "
            "root_from=not_targets"
        )
    return dataset.told(root_backdoor_images=given)
