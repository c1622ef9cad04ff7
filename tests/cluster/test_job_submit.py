"""`ray job submit` of a checkout, to a cluster with a token that has only the dependencies."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from pathlib import Path

import pytest

from rubout.training import checkpoint
from rubout.training.run_folder import RunFolder
from tests.cluster.head import BIN, OPTIONS, Head

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LEARNER = (
    "--learner mine:Waits --learner.mle-updates 1 --learner.discriminator-warmup 1 "
    "--learner.discriminator-updates 1 --learner.completions 2 "
    "--learner.discriminator.embedding 8 --reward mine:Longer"
)
MOST_BYTES = 10 * 2**20  # of an upload; Ray takes 100 MiB


@pytest.fixture
def submit(head: Head, checkout: Path):
    """A job whose entrypoint is `python -m rubout ...`."""

    def submit(*words: object, job: str) -> subprocess.CompletedProcess[str]:
        options = ("--submission-id", job, "--working-dir", ".")
        entrypoint = ("python", "-m", "rubout", *words)
        return head.run("ray", "job", "submit", *options, "--", *entrypoint, cwd=checkout)

    return submit


@pytest.fixture(scope="module")
def trained(head: Head, checkout: Path, text: Path, tmp_path_factory) -> tuple[str, Path]:
    """What a job printed, and its RUN; its learner goes on only once its first line was read."""
    folder = tmp_path_factory.mktemp("runs")
    out, read_on = folder / "run", folder / "read_on"
    train = f"--task {text} --out {out} --rollout-workers 1 {OPTIONS} {LEARNER}"
    variables = json.dumps({"env_vars": {"READ_ON": str(read_on)}})
    submit = ["job", "submit", "--working-dir", ".", "--runtime-env-json", variables]
    process = subprocess.Popen(
        [str(BIN / "ray"), *submit, "--", "python", "-m", "rubout", "train", *train.split()],
        cwd=checkout,
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    timer = threading.Timer(150, process.kill)
    timer.start()
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if re.search(r"update +1 of 4", line):
                assert not (out / "evaluation.json").exists()
                read_on.touch()
        process.wait()
    finally:
        timer.cancel()
        process.kill()
    printed = "".join(lines)
    assert process.returncode == 0, printed
    return printed, out


def test_the_log_streams(trained):
    """The learner would have given up, had its first line not been read while it waited."""
    printed, _ = trained
    assert re.search(r"update +1 of 4 ", printed)
    assert re.search(r"update +4 of 4 +nll_validation", printed)
    assert "succeeded" in printed


def test_the_run_is_whole(trained):
    _, out = trained
    folder = RunFolder.existing(out)
    updates = [record["update"] for record in folder.read_metrics() if record["kind"] == "train"]
    assert updates == [1, 2, 3, 4]
    assert folder.config().rollout_workers == 1
    assert folder.codec().fingerprint
    newest = checkpoint.last(folder.checkpoints)
    checkpoint.verify(newest)
    assert checkpoint.read_state(newest).update == 4
    assert json.loads(folder.evaluation.read_text())
    assert list(folder.samples.glob("*.jsonl"))


def test_plug_ins_and_packages_are_those_that_were_submitted(trained, head):
    """In the driver and in the actor, which are two processes; not what is installed."""
    printed, _ = trained
    home = str(head.folder) + r"/\S*/working_dir_files/_ray_pkg_\w+"
    where = rf"in (\d+) of {home}/rubout/__init__\.py by {home}/mine\.py"
    learner, reward = (re.search(f"{what} {where}", printed) for what in ("learner", "reward"))
    assert learner, printed
    assert reward, printed
    assert learner.group(1) != reward.group(1)


def test_the_upload_is_small_and_holds_no_data(trained, head):
    (package,) = head.folder.glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*/")
    names = {path.relative_to(package).as_posix() for path in package.rglob("*")}
    assert {"rubout/__main__.py", "envs", "learners", "mine.py"} <= names
    assert not names & {".env", ".git", ".venv", "data", "runs", "shared"}
    size = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    assert 0 < size < MOST_BYTES


@pytest.mark.parametrize(
    ("out", "words", "line"),
    [
        ("/nowhere/x", "--updtes 3", "unknown option --updtes (did you mean --updates?)"),
        ("runs/x", "--updates 3", "--out runs/x is relative: a submitted job runs in a folder"),
        (
            "/nowhere/x",
            "--learner psi_mle --rollout-workers 64",
            "64 rollout and 0 learner workers of 1 thread(s) need",
        ),
    ],
)
def test_what_is_wrong_is_one_line_of_a_failed_job(submit, head, text, out, words, line):
    job = "wrong-" + re.sub(r"\W+", "-", out + words)
    ended = submit("train", "--task", text, "--out", out, *words.split(), job=job)
    assert ended.returncode == 1
    assert f"rubout train: error: {line}" in " ".join(ended.stdout.split())
    status = head.run("ray", "job", "status", job)
    assert "failed" in status.stdout + status.stderr
    assert f"error: {line}" in " ".join((status.stdout + status.stderr).split())
    logs = head.run("ray", "job", "logs", job)
    assert "Traceback" not in logs.stdout
    assert logs.stdout.rstrip().splitlines()[-1].startswith(f"rubout train: error: {line}")


def test_another_token_is_refused(submit, head, checkout):
    words = ("job", "submit", "--working-dir", ".", "--submission-id", "stranger", "--", "true")
    for changes in ({"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}):
        ended = head.run("ray", *words, cwd=checkout, **changes)
        assert ended.returncode != 0
        assert "authentication" in (ended.stdout + ended.stderr).lower()
    assert "stranger" not in head.run("ray", "job", "list").stdout


def test_a_search(submit, checkout, tmp_path):
    if not (checkout / "rubout" / "cli" / "tune.py").exists():
        pytest.skip("there is no rubout tune yet")
    out = tmp_path / "search"
    words = ("tune_configs/mle.py", "--smoke", "--num-samples", "2", "--out", out)
    ended = submit("tune", *words, job="search")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "succeeded" in ended.stdout + ended.stderr
    assert (out / "results.json").is_file()
