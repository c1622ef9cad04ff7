"""What the doctor sees."""

from __future__ import annotations

import json
import socket
import sys
from importlib import metadata
from pathlib import Path

import pytest

from rubout.cli import doctor


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def look(rubout):
    """The findings by name, and the exit code."""

    def look() -> tuple[dict[str, dict[str, str]], int]:
        ended = rubout("doctor", "--json")
        value = json.loads(ended.out)
        assert value["healthy"] == (ended.code == 0)
        return {check["name"]: check for check in value["checks"]}, ended.code

    return look


def test_a_machine_that_passes_these_tests_is_well(look, rubout):
    found, code = look()
    assert code == 0, found
    assert {"python", "torch", "ray", "packages", "cpu", "gpu", "port 6379"} <= found.keys() | {
        "gpu"
    }
    assert all(check["status"] in {"ok", "note"} for check in found.values())
    ended = rubout("doctor")
    assert ended.code == 0
    assert "0 problems found" in ended.out
    assert ended.err == ""


def test_every_problem_says_how_to_mend_it(look, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(doctor, "_LEAST_DISK_GIB", 1e9)
    monkeypatch.setattr(doctor, "_LEAST_MEMORY_GIB", 1e9)
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1")
    found, code = look()
    problems = [check for check in found.values() if check["status"] == "problem"]
    assert code == 1
    assert {"torch", "ray cluster", "memory", "disk: cache"} <= {
        check["name"] for check in problems
    }
    assert all(check["mend"] for check in problems)


def test_a_package_that_is_too_old_or_missing(look, monkeypatch):
    real = metadata.version

    def version(name: str) -> str:
        if name == "safetensors":
            raise metadata.PackageNotFoundError(name)
        return "1.10.0" if name == "torch" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    found, code = look()
    assert code == 1
    assert found["torch"]["status"] == found["safetensors"]["status"] == "problem"
    assert "older than 2.8" in found["torch"]["what"]
    assert found["numpy"]["status"] == "ok"


def test_versions_are_compared_as_numbers():
    assert doctor._numbers("2.13.0+cpu") > doctor._numbers("2.8")
    assert doctor._numbers("2.8.0") == doctor._numbers("2.8")
    assert doctor._numbers("2.7.9") < doctor._numbers("2.8")


def test_without_ray_it_is_a_note(look, monkeypatch):
    real = metadata.version

    def version(name: str) -> str:
        if name == "ray":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found, code = look()
    assert (found["ray"]["status"], code) == ("note", 0)
    assert "one process" in found["ray"]["what"]


def test_ray_is_not_imported(look):
    before = "ray" in sys.modules
    look()
    assert ("ray" in sys.modules) == before


@pytest.mark.parametrize("form", ["{}", "ray://{}", "http://{}/"])
def test_a_cluster(look, monkeypatch, form):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = form.format(f"127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("RAY_ADDRESS", address)
        found, code = look()
        assert (found["ray cluster"]["status"], code) == ("ok", 0)
    found, code = look()
    assert (found["ray cluster"]["status"], code) == ("problem", 1)
    assert address in found["ray cluster"]["what"]


def test_a_token_that_others_can_read(look, tmp_path):
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("secret")
    file.chmod(0o644)
    found, code = look()
    assert (found["ray token file"]["status"], code) == ("problem", 1)
    assert found["ray token file"]["mend"] == f"chmod 600 {file}"
    assert "secret" not in json.dumps(found)
    file.chmod(0o600)
    found, code = look()
    assert ("ray token file" in found, code) == (False, 0)


def test_token_mode_without_a_token(look, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    found, code = look()
    assert (found["ray token"]["status"], code) == ("problem", 1)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert look()[1] == 0


def test_another_envs_package_in_front(look, tmp_path, monkeypatch):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("")
    monkeypatch.delitem(sys.modules, "envs", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    found, code = look()
    assert (found["packages"]["status"], code) == ("problem", 1)
    assert str(tmp_path) in found["packages"]["what"]


def test_a_port_in_use(look, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(doctor, "_PORTS", {port: "Ray's head node"})
        assert look()[0][f"port {port}"]["status"] == "note"
    assert look()[0][f"port {port}"]["status"] == "ok"


def test_shared_memory_of_a_bare_container(look, monkeypatch):
    monkeypatch.setattr(doctor, "_LEAST_SHARED_GIB", 1e9)
    found, _ = look()
    assert found["/dev/shm"]["status"] == "note"
    assert "--shm-size" in found["/dev/shm"]["mend"]


def test_a_check_that_fails_does_not_end_the_others(look, monkeypatch):
    def broken(_: Path) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(doctor.shutil, "disk_usage", broken)
    found, _ = look()
    assert "could not be looked at" in found["disk"]["what"]
    assert "ray cluster" in found
