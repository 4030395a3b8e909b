"""The columns of the table of runs, for people and programs; imports nothing that takes time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stated:
    """A column that the table states.

    Attributes:
        name: of the column; with capitals, of a family of columns.
        dtype: ``text``, ``integer``, ``number`` or ``any``. A missing one is NaN.
        unit: empty where there is none.
        meaning: one sentence.
    """

    name: str
    dtype: str
    unit: str
    meaning: str


COLUMNS = (
    Stated("cell", "text", "", "id of the run: attack, defense, seed and a hash"),
    Stated("seed", "integer", "", "of everything random"),
    Stated("status", "text", "", "finished, diverged (the model did not stay finite) or missing"),
    Stated("reason", "text", "", "why it diverged, or why there is no record, where that is known"),
    Stated("diverged_round", "number", "", "in which the model stopped being finite, from 0"),
    Stated(
        "all_rejected_rounds",
        "number",
        "",
        "in which everybody was rejected and the model stayed; empty where nobody is judged",
    ),
    Stated("setting", "text", "", "what tells the run's setting from the others, or `all`"),
    Stated("attack", "text", "", "the attack with its explicit parameters"),
    Stated("defense", "text", "", "the defense with its explicit parameters"),
    Stated("goal", "text", "", "of the attack: backdoor or untargeted"),
    Stated("seconds_per_round", "number", "s", "median over rounds"),
    Stated("peak_memory_mb", "number", "MiB", "of the hungriest round, on the device"),
    Stated("device", "text", "", "what it ran on"),
    Stated("engine", "text", "", "what trained its clients"),
    Stated("precision", "text", "", "of its arithmetic"),
    Stated("code_version", "text", "", "of the package"),
    Stated("code_fingerprint", "text", "", "hash of the source files that it used"),
    Stated("weights_sha256", "text", "", "hash of the final global model"),
    Stated("mlflow_run_id", "text", "", "its run in MLflow"),
    Stated("record", "text", "", "its file, beside the leaderboard"),
    Stated("command", "text", "", "repeats the run"),
    Stated("notes", "text", "", "what a reader must know, one a line"),
)
"""In every table, in this order."""

FAMILIES = (
    Stated("METRIC.MEASURE", "number", "the metric's", "a curve in one number"),
    Stated("GROUP.KEY", "any", "", "the resolved configuration, as in conf/; lists are JSON"),
    Stated("data.FACT", "any", "", "of the partitioned data: hash, users, train_images, ..."),
)
"""Behind them, one column for each that some run has."""
