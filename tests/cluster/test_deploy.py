"""The files in deploy/: valid, of one mind with the project, and large enough for what they run."""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rubout.cli.train import read_options
from rubout.training import resources
from tests.cluster.head import ROOT

yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")

DEPLOY = ROOT / "deploy"
SCHEMA = json.loads((Path(__file__).parent / "rayjob.schema.json").read_text())
RAY = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)

VALIDATE = """
import json, sys
from ray.autoscaler._private.util import prepare_config, validate_config
prepared = prepare_config(json.load(open(sys.argv[1])))
validate_config(prepared)
print(json.dumps(prepared))
"""


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text()))


@pytest.fixture
def job(documents) -> dict[str, Any]:
    return next(one for one in documents if one["kind"] == "RayJob")


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "cluster.yaml").read_text())


def pods(job: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """How many of each, and what they are."""
    spec = job["spec"]["rayClusterSpec"]
    workers = [(group["replicas"], group["template"]["spec"]) for group in spec["workerGroupSpecs"]]
    return [(1, spec["headGroupSpec"]["template"]["spec"]), *workers]


def test_the_job_keeps_to_the_schema(job):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(job, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entrypont"), "python"),
        (("spec", "ttlSecondsAfterFinished"), "600"),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplica"), 1),
        (("metadata", "name"), "Rubout"),
    ],
)
def test_the_schema_refuses_slips(job, path, value):
    *parents, last = path
    wrong = copy.deepcopy(job)
    place: Any = wrong
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_the_job_fits_into_its_cluster(job):
    """The command's options exist, and its actors find room in the pods that take actors."""
    program, config = shlex.split(job["spec"]["entrypoint"]), job["spec"]["rayClusterSpec"]
    assert program[:4] == ["python", "-m", "rubout", "train"]
    options, run = read_options(program[4:])
    assert config["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    machines = []
    for count, pod in pods(job)[1:]:
        for _ in range(count):
            limits = pod["containers"][0]["resources"]["limits"]
            gpus = float(limits.get("nvidia.com/gpu", 0))
            machines.append({"CPU": float(limits["cpu"]), "GPU": gpus})
    resources.check_fits(run, machines)
    assert options.out.is_absolute()


def test_the_job_writes_where_every_pod_writes(job, documents):
    options, _ = read_options(shlex.split(job["spec"]["entrypoint"])[4:])
    (claim,) = (one for one in documents if one["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    code = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["working_dir"]
    for _, pod in pods(job):
        (volume,), (mount,) = pod["volumes"], pod["containers"][0]["volumeMounts"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert volume["name"] == mount["name"]
        assert options.out.is_relative_to(mount["mountPath"])
        assert code.startswith(f"file://{mount['mountPath']}/")


def test_one_version_of_ray(job, cluster):
    assert RAY is not None
    version = RAY.group(1)
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version
    images = {pod["containers"][0]["image"] for _, pod in pods(job)}
    assert images == {f"REGISTRY/rubout:{version}"}
    assert f"REGISTRY/rubout:{version}" in (DEPLOY / "Dockerfile").read_text()


def test_every_cluster_has_a_token(job, cluster):
    auth = job["spec"]["rayClusterSpec"]["authOptions"]
    assert auth == {"mode": "token", "secretName": "rubout-token"}
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = (line for line in cluster[name] if "ray start" in line)
        assert "RAY_AUTH_MODE=token" in start
        assert start.index("PATH=") < start.index("ray start")
    assert "~/.ray/auth_token" in cluster["file_mounts"]


@pytest.mark.ray
def test_the_cluster_file_by_rays_own_validator(cluster, tmp_path):
    """In a process of its own: this one may be about to start a cluster, and has not set it up."""
    prepared = json.loads(validated(cluster, tmp_path).stdout.splitlines()[-1])
    (kind,) = prepared["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == len(cluster["provider"]["worker_ips"])
    refused = validated(cluster | {"head_start_ray_comands": []}, tmp_path)
    assert refused.returncode != 0
    assert "head_start_ray_comands" in refused.stderr


def validated(cluster: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """What Ray makes of it, as JSON, where it finds nothing wrong."""
    (folder / "cluster.json").write_text(json.dumps(cluster))
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", VALIDATE, str(folder / "cluster.json")],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_cluster_file_copies_what_is_there(cluster):
    for source in cluster["file_mounts"].values():
        assert source.startswith("~") or (ROOT / source).is_file()


def test_dependencies_are_read_from_the_project(tmp_path, monkeypatch, capsys, cluster):
    """What setup_commands and the Dockerfile run, on the files that they copy."""
    (line,) = (line for line in cluster["setup_commands"] if "tomllib" in line)
    program = shlex.split(line)[2]
    (tmp_path / "rubout").mkdir()
    text = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "rubout" / "pyproject.toml").write_text(text)
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    wanted = tomllib.loads(text)["project"]["dependencies"]
    exec(program)
    assert capsys.readouterr().out.splitlines() == wanted
    docker = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    found = re.search(r'python -c "(.*?)"', docker)
    assert found is not None
    exec(found.group(1))
    assert capsys.readouterr().out.splitlines() == wanted
