"""Whether the packages are the project's own: `envs` is a name that others use as well."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rubout.errors import UserError

PACKAGES = ("rubout", "envs", "learners", "tune_configs")


def check_layout() -> Path:
    """The folder that holds all four packages.

    Raises:
        UserError: one cannot be imported, or comes from elsewhere.
    """
    home = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec else []
        if not places:
            raise UserError(
                f"the package {name} cannot be imported: run in {home}, or pip install -e it"
            )
        where = Path(places[0]).resolve().parent
        if where != home:
            raise UserError(
                f"{name} in {where} shadows the one in {home}: run in another folder, or rename "
                f"or uninstall it"
            )
    return home
