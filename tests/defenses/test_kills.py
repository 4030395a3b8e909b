"""Every defense that remembers goes on as if nobody had killed it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import ROOT, environment

pytestmark = pytest.mark.slow

VARIANTS = {
    "central_dp": {"adaptive": True, "noise_multiplier": 0.1},
    "fl_detector": {"window": 2},
    "sign_guard": {"similarity": "sim"},
}
"""Parameters with which a defense remembers, or acts on what it remembers."""

PROGRAM = '''
import hashlib, json, os, signal, sys
from pathlib import Path
import pytorch_lightning as pl
import torch
from benchmark.config.compose import read_yaml, resolve
from benchmark.config.plugins import available
from benchmark.config.instantiate import located
from benchmark.data.module import FederatedDataModule
from benchmark.run.recorder import Checkpoint
from benchmark.run.trainer import trainer_of
from benchmark.testing.toys import federation

ROUNDS = 8
OVERRIDES = ["attack=boosted", f"federation.rounds={ROUNDS}", "federation.root_images=20",
             "federation.replacement=true", "federation.clients_per_round=7"]


class Kill(pl.Callback):
    """After the defense has changed its state, before that is saved."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.current_epoch == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def made(name):
    own = read_yaml("defense", name)
    section = {**own, **located(own["_target_"]).in_tests, **json.loads(sys.argv[2]).get(name, {})}
    return federation({"defense": resolve("defense", name, section)}, *OVERRIDES)


def fit(name, folder, at=None):
    folder.mkdir(parents=True, exist_ok=True)
    run, kept = made(name), Checkpoint(folder, "a cell", 1)
    callbacks = [kept] if at is None else [kept, Kill(at)]
    trainer = trainer_of(ROUNDS, "cpu", callbacks)
    data = FederatedDataModule(run.dataset)
    trainer.fit(run, data, ckpt_path=kept.usable(), weights_only=True)
    return hashlib.sha256(run.result.numpy().tobytes()).hexdigest()


torch.set_num_threads(1)
folder, told = Path(sys.argv[1]), {}
for name in available("defense"):
    if not made(name).defense.state_dict():
        continue
    ends = []
    for at in (2, 5):
        if not (child := os.fork()):
            fit(name, folder / name, at)
            os._exit(0)
        ends.append(os.waitpid(child, 0)[1])
    told[name] = [fit(name, folder / name), fit(name, folder / f"{name} undisturbed"), ends]
print(json.dumps(told))
'''


def test_killed_in_two_rounds_each_ends_with_the_same_bits(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path), json.dumps(VARIANTS)],
        env=environment(ROOT),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert {"adaptive_clip", "centered_clipping", "foolsgold", *VARIANTS} <= told.keys()
    for name, (resumed, undisturbed, ends) in told.items():
        assert ends == [9, 9], name
        assert resumed == undisturbed, name
