"""`rubout doctor`: what is wrong with this machine, and how to mend it.

Only looks: it starts no cluster, writes no file and waits for no answer longer than two seconds.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from rubout import __version__
from rubout.cli.parse import parse
from rubout.errors import UserError
from rubout.layout import PACKAGES, check_layout
from rubout.rollout.environment import has_ray, is_remote, num_cpus, unanswered

Status = Literal["ok", "note", "problem"]

_PYTHON = (3, 11)
_PORTS = {6379: "Ray's head node", 8265: "Ray's dashboard"}
_COLOURS: dict[Status, str] = {"ok": "green", "note": "yellow", "problem": "bold red"}
_TIMEOUT_S = 2.0
_SHARED = Path("/dev/shm")  # noqa: S108
_GIB = 2**30
_LEAST_MEMORY_GIB, _LEAST_DISK_GIB, _LEAST_SHARED_GIB = 1.0, 1.0, 1.0


@dataclass(frozen=True)
class DoctorOptions:
    """Look at this machine; the exit code is 1 where something is wrong."""

    json: bool = False
    """Print one JSON document and nothing else."""


@dataclass(frozen=True)
class Finding:
    """One line of the answer.

    Attributes:
        status: `ok`, `note` (works, but you may want to know) or `problem`.
        name: what was looked at.
        what: what was found.
        mend: what to do about it; empty where there is nothing to do.
    """

    status: Status
    name: str
    what: str
    mend: str = ""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(DoctorOptions, argv, "rubout doctor")
    found = findings()
    sick = any(finding.status == "problem" for finding in found)
    if options.json:
        checks = [dataclasses.asdict(finding) for finding in found]
        print(json.dumps({"version": __version__, "healthy": not sick, "checks": checks}))
    else:
        _show(found)
    return int(sick)


def findings() -> list[Finding]:
    """Everything, in the order it is shown. A check that fails is itself a finding."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        python,
        packages,
        layout,
        processors,
        gpus,
        memory,
        disk,
        ray,
        ports,
        terminal,
    )
    found: list[Finding] = []
    for check in checks:
        try:
            found += check()
        except Exception as error:
            what = f"could not be looked at: {type(error).__name__}: {error}"
            found.append(Finding("note", check.__name__, what))
    return found


def python() -> Iterator[Finding]:
    """The interpreter."""
    shown = f"{sys.version.split()[0]}, {sys.executable}"
    if sys.version_info[:2] < _PYTHON:
        least = ".".join(map(str, _PYTHON))
        yield Finding("problem", "python", shown, f"install Python {least} or newer")
    else:
        yield Finding("ok", "python", shown)


def packages() -> Iterator[Finding]:
    """What rubout needs, against the least version that pyproject.toml asks for."""
    for requirement in _requirements():
        match = re.match(
            r"([A-Za-z0-9._-]+)(\[[^]]*\])?\s*(?:>=\s*([0-9][0-9A-Za-z.]*))?", requirement
        )
        assert match is not None, requirement
        name, extras, least = match.group(1), match.group(2) or "", match.group(3) or "0"
        install = f"pip install '{name}{extras}>={least}'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name == "ray":  # everything runs in one process without it
                what = "not installed: rollouts and learner run in one process"
                yield Finding("note", name, what, install)
            else:
                yield Finding("problem", name, "not installed", install)
            continue
        if _numbers(version) < _numbers(least):
            yield Finding("problem", name, f"{version}, older than {least}", install)
        else:
            yield Finding("ok", name, version)


def _requirements() -> list[str]:
    """From pyproject.toml where the sources are, else from the installed package."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.is_file():
        wanted: list[str] = tomllib.loads(project.read_text(encoding="utf-8"))["project"][
            "dependencies"
        ]
        return wanted
    installed = metadata.requires("rubout") or []
    return [requirement for requirement in installed if "extra ==" not in requirement]


def _numbers(version: str) -> tuple[int, ...]:
    """2.13.0+cpu -> (2, 13); zeros at the end say nothing."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in release.group().split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def layout() -> Iterator[Finding]:
    """Whether the four packages are ours: `envs` is a name that others use as well."""
    try:
        home = check_layout()
    except UserError as error:
        what, _, how = str(error).partition(": ")
        yield Finding("problem", "packages", what, how)
        return
    yield Finding("ok", "packages", f"{', '.join(PACKAGES)} in {home}")


def processors() -> Iterator[Finding]:
    """Cores that may be used, against the threads torch takes."""
    import torch

    cores, threads = num_cpus(), torch.get_num_threads()
    quota = _cpu_quota()
    if quota is not None and quota < cores:
        what = f"{cores} cores are seen and this container may use {quota:g}"
        mend = f"keep workers x --threads at most {max(int(quota), 1)}"
        yield Finding("note", "cpu", what, mend)
    elif threads > cores:
        what = f"{cores} cores, and torch takes {threads} threads by itself"
        yield Finding("note", "cpu", what, "unset OMP_NUM_THREADS; rubout sets --threads anyway")
    else:
        what = f"{cores} cores; torch takes {threads} threads by itself, a run takes --threads (1)"
        yield Finding("ok", "cpu", what)


def _cpu_quota() -> float | None:
    """CPUs that the container's control group allows; None: no limit."""
    file = Path("/sys/fs/cgroup/cpu.max")
    quota, _, period = (
        file.read_text().strip().partition(" ") if file.is_file() else ("max", "", "")
    )
    return None if quota == "max" else int(quota) / int(period)


def gpus() -> Iterator[Finding]:
    """What torch sees, and what it does not see though it is there."""
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            what = f"{about.name}, {about.total_memory / _GIB:.0f} GiB, CUDA {torch.version.cuda}"
            yield Finding("ok", f"gpu {index}", what)
    elif shutil.which("nvidia-smi"):
        mend = (
            "install a torch built for the driver's CUDA (pytorch.org), check CUDA_VISIBLE_DEVICES"
        )
        yield Finding(
            "problem", "gpu", f"nvidia-smi is here, torch {torch.__version__} sees none", mend
        )
    else:
        yield Finding("note", "gpu", "none; everything runs on the CPU")


def memory() -> Iterator[Finding]:
    """What is free, and the shared memory that Ray's object store takes."""
    file = Path("/proc/meminfo")
    if file.is_file():
        rows = (line.split() for line in file.read_text().splitlines())
        kib = {row[0].rstrip(":"): int(row[1]) for row in rows}
        free, total = kib["MemAvailable"] / 2**20, kib["MemTotal"] / 2**20
        what = f"{free:.1f} of {total:.1f} GiB free"
        if free < _LEAST_MEMORY_GIB:
            mend = "end other programs, or take fewer --rollout-workers"
            yield Finding("problem", "memory", what, mend)
        else:
            yield Finding("ok", "memory", what)
    if _SHARED.is_dir():
        size = shutil.disk_usage(_SHARED).total / _GIB
        if size < _LEAST_SHARED_GIB:
            what = f"{size:.2f} GiB: Ray's object store will lie on disk instead, and be slow"
            yield Finding("note", str(_SHARED), what, "docker run --shm-size=2g")
        else:
            yield Finding("ok", str(_SHARED), f"{size:.1f} GiB")


def disk() -> Iterator[Finding]:
    """Where runs, the cache and Ray's session write."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(os.environ.get("RUBOUT_CACHE") or Path(home) / "rubout")
    places = {"this folder": Path.cwd(), "cache": cache, "temporary": Path(tempfile.gettempdir())}
    for name, folder in places.items():
        standing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(standing).free / _GIB
        what = f"{free:.1f} GiB free in {folder}"
        if not os.access(standing, os.W_OK):
            mend = "set RUBOUT_CACHE to another folder" if name == "cache" else "write elsewhere"
            status: Status = "problem" if name == "temporary" else "note"
            yield Finding(status, f"disk: {name}", f"{folder} cannot be written", mend)
        elif free < _LEAST_DISK_GIB:
            yield Finding("problem", f"disk: {name}", what, "remove what is no longer needed")
        else:
            yield Finding("ok", f"disk: {name}", what)


def ray() -> Iterator[Finding]:
    """Which cluster a run would use, whether it answers, and how it is locked."""
    if not has_ray():
        return  # said among the packages
    address = os.environ.get("RAY_ADDRESS")
    if address and is_remote(None):
        yield _cluster(address)
    else:
        yield Finding("ok", "ray cluster", "a run starts its own, with a token of its own")
    mode, token = os.environ.get("RAY_AUTH_MODE"), os.environ.get("RAY_AUTH_TOKEN")
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if mode == "disabled":
        what = "RAY_AUTH_MODE=disabled: whoever reaches the cluster can run code on it"
        yield Finding("note", "ray token", what, "export RAY_AUTH_MODE=token")
    elif mode == "token" and not token and not file.is_file():
        what = f"RAY_AUTH_MODE=token, but there is neither RAY_AUTH_TOKEN nor {file}"
        yield Finding("problem", "ray token", what, "ray get-auth-token --generate")
    else:
        yield Finding("ok", "ray token", f"RAY_AUTH_MODE {mode or 'not set: a run sets token'}")
    if file.is_file() and file.stat().st_mode & 0o077:
        what = f"{file} can be read by others (mode {file.stat().st_mode & 0o777:04o})"
        yield Finding("problem", "ray token file", what, f"chmod 600 {file}")


def _cluster(address: str) -> Finding:
    """Whether something listens at RAY_ADDRESS; Ray itself would try for ten minutes."""
    error = unanswered(address, _TIMEOUT_S)
    if error:
        what = f"nothing answers at RAY_ADDRESS={address}: {error}"
        return Finding("problem", "ray cluster", what, "start it, or unset RAY_ADDRESS")
    return Finding("ok", "ray cluster", f"something listens at RAY_ADDRESS={address}")


def ports() -> Iterator[Finding]:
    """Ports that Ray prefers; a run's own cluster takes others where they are taken."""
    for port, whose in _PORTS.items():
        with socket.socket() as probe:
            probe.settimeout(_TIMEOUT_S)
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        if taken:
            what = f"in use; perhaps {whose} of another cluster"
            yield Finding("note", f"port {port}", what, "ray stop, if it is yours and forgotten")
        else:
            yield Finding("ok", f"port {port}", "free")


def terminal() -> Iterator[Finding]:
    """Where the output goes."""
    if sys.stdout.isatty():
        yield Finding("ok", "terminal", "stdout is one: progress is shown as a bar")
    else:
        yield Finding("note", "terminal", "stdout is none: progress is shown as plain lines")


def _show(found: list[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(finding.name) for finding in found)
    for finding in found:
        line = Text(f"{finding.status:<7}", style=_COLOURS[finding.status])
        line.append(f"  {finding.name:<{width}}  {finding.what}", style="default")
        console.print(line)
        if finding.mend:
            console.print(f"{'':<7}  {'':<{width}}  -> {finding.mend}", markup=False)
    problems = sum(finding.status == "problem" for finding in found)
    console.print(f"{problems} problem{'' if problems == 1 else 's'} found")
