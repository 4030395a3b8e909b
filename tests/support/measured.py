"""Records of which only a few curves are known."""

from benchmark.run.record import Cost, Curve, Record
from benchmark.run.recorder import summarize
from tests.support.synthetic import SETTING


def record(
    seed: int,
    backdoor: list[float],
    *,
    main: float = 0.9,
    attacked: list[int] | None = None,
    defense: str = "mean",
    norm_bound: float | None = None,
) -> Record:
    """A run of which only these curves are known."""
    rounds = list(range(len(backdoor)))
    curves = {
        "backdoor_in_sample": Curve(rounds, backdoor),
        "main_accuracy": Curve(rounds, [main] * len(rounds)),
        "num_compromised": Curve(
            rounds, [float(r in (rounds if attacked is None else attacked)) for r in rounds]
        ),
    }
    under_attack = curves["num_compromised"]
    return Record(
        cell=f"{defense}-{norm_bound}-{seed}",
        overrides=[],
        config=SETTING
        | {
            "attack": {"name": "boosted"},
            "defense": {"name": defense} | ({"norm_bound": norm_bound} if norm_bound else {}),
        },
        data={},
        code={},
        seed=seed,
        curves=curves,
        summary={n: summarize(c, under_attack, len(rounds)) for n, c in curves.items()},
        weights_sha256="5a" * 32,
        cost=Cost([0.1], [512.0], "cpu", "cpu", "float32", {}),
    )
