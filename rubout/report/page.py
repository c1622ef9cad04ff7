"""The page: one HTML file that needs no other, nor a network."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined

from rubout import __version__
from rubout.errors import UserError
from rubout.evaluation.titles import Title, title_of
from rubout.files import replacing
from rubout.report import looks, view
from rubout.report.chart import swatch
from rubout.report.groups import comparisons
from rubout.report.material import Run
from rubout.report.search_view import SearchView
from rubout.report.trials import SearchFolder
from rubout.report.values import Value


def render(
    runs: Sequence[Run],
    made: datetime,
    baseline: str | None = None,
    commands: Mapping[Path, str | None] | None = None,
) -> str:
    """A report on runs.

    Args:
        runs: at least one.
        made: when, with its time zone.
        baseline: see `rubout.report.groups.Comparison.group_of`; None: maximum likelihood.
        commands: by the path of a run, what would train it again; None where that is not known.

    Returns:
        HTML; the same for the same arguments on the same machine.

    Raises:
        UserError: see `rubout.report.groups.comparisons`.
    """
    tasks = comparisons(runs, baseline)
    views = [view.TaskView.of(task, baseline) for task in tasks]
    groups = view.labelled(tasks, commands or {})
    title, extent = view.title_of_page(tasks), view.extent(tasks)
    return _rendered("page.html", groups, made, tasks=views, title=title, extent=extent)


def render_search(found: SearchFolder, made: datetime, command: str | None = None) -> str:
    """A report on a search, and on the best run of it.

    Args:
        found: the search.
        made: when, with its time zone.
        command: what would train the best again; None where that is not known.

    Returns:
        HTML; the same for the same arguments on the same machine.
    """
    tasks = comparisons([found.best]) if found.best else []
    commands = {found.best.path: command} if found.best else {}
    shown = SearchView.of(found)
    return _rendered(
        "search.html",
        view.labelled(tasks, commands),
        made,
        tasks=[view.TaskView.of(task, None) for task in tasks],
        title=shown.title,
        extent=shown.extent,
        search=shown,
        metric=title_of(found.metric),
        better="lower is better" if found.mode == "min" else "higher is better",
        legend=looks.legend(),
        stroke=looks.stroke,
    )


def _rendered(
    template: str, groups: Sequence[view.Labelled], made: datetime, **more: object
) -> str:
    """A page that ends with samples, options and machines of some groups, or of none."""
    samples, sample_notes = view.samples_of(groups) if groups else ([], [])
    environment = _environment()
    script = environment.get_template("replay.js").render()
    return environment.get_template(template).render(
        made=made,
        groups=groups,
        samples=samples,
        sample_notes=sample_notes,
        options=view.options_of([item.group for item in groups]) if groups else None,
        facts=view.facts_of(groups),
        machine=machine(),
        policy=_policy(script),
        **more,
    )


def write(path: Path, page: str) -> int:
    """The page as a file, whole or not at all.

    Args:
        path: of a file that is there or not.
        page: of `render`.

    Returns:
        its size in bytes.

    Raises:
        UserError: it cannot be written.
    """
    # Half a character, which JSON can hold and UTF-8 cannot, becomes a question mark.
    content = page.encode("utf-8", "replace")
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
            temporary.chmod(0o644)
    except OSError as error:
        raise UserError(f"--out {path} cannot be written: {error.strerror}") from error
    return len(content)


def machine() -> dict[str, str]:
    """Versions here, by what they are of."""
    return {
        "rubout": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "platform": platform.platform(),
        "CPUs": str(os.cpu_count()),
    }


def verdict(value: Value, title: Title) -> str:
    """A difference in a word: whether it is for the better, where the figure says which that is."""
    if value.verdict == "undecided" or title.better not in ("low", "high"):
        return value.verdict
    return "better" if value.verdict.startswith(title.better) else "worse"


def _environment() -> Environment:
    """Templates that escape all that is not markup of our own."""
    environment = Environment(
        loader=PackageLoader("rubout.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"swatch": swatch, "verdict": verdict}
    environment.filters |= {"json": _json, "counted": _counted}
    return environment


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _policy(script: str) -> str:
    """What a browser may do for the page: show it, and run the one script in it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        f"img-src data:; base-uri 'none'; form-action 'none'"
    )
