"""Which trials nothing beats in both quality and diversity."""

from __future__ import annotations

from collections.abc import Mapping

from rubout.evaluation.titles import title_of
from rubout.report.looks import Look, looks
from rubout.report.plane import Curve, Dot, Plane
from rubout.report.trials import SearchFolder, score

QUALITY, DIVERSITY = "nll_oracle", "nll_test"  # less is better of both
_CROWDED = 0.25  # of an axis: a front within so little of it is drawn again, larger

Place = tuple[float, float]


def front(places: Mapping[str, Place]) -> list[str]:
    """Names of what nothing dominates, by rising first number.

    One place dominates another if it is no greater in either number, and less in one; equal places
    do not dominate each other.
    """
    return sorted(
        (name for name, place in places.items() if not _is_dominated(place, places)),
        key=lambda name: places[name],
    )


def charts(found: SearchFolder) -> list[Plane]:
    """All trials that have both figures; then their front alone where it is crowded."""
    places = {}
    for trial in found.trials:
        quality, diversity = score(trial, QUALITY), score(trial, DIVERSITY)
        if quality is not None and diversity is not None:
            places[trial.number] = (quality, diversity)
    if not places:
        return []
    near = _near_front(places)
    if len(near) in (0, len(places)):
        return [_chart(found, places)]
    return [_chart(found, places, is_labelled=False), _chart(found, near, ", near the front")]


def _is_dominated(place: Place, places: Mapping[str, Place]) -> bool:
    return any(
        other != place and other[0] <= place[0] and other[1] <= place[1]
        for other in places.values()
    )


def _near_front(places: Mapping[str, Place]) -> dict[str, Place]:
    """What lies around a front that takes little of an axis; nothing where it takes more."""
    best = [places[name] for name in front(places)]
    ends = []
    for axis in (0, 1):
        whole = [place[axis] for place in places.values()]
        low, high = min(one[axis] for one in best), max(one[axis] for one in best)
        ends.append((high + (high - low) / 2, (high - low) / ((max(whole) - min(whole)) or 1.0)))
    if len(best) < 2 or min(share for _, share in ends) > _CROWDED:
        return {}
    (most_x, _), (most_y, _) = ends
    return {name: (x, y) for name, (x, y) in places.items() if x <= most_x and y <= most_y}


def _chart(
    found: SearchFolder,
    places: Mapping[str, Place],
    where: str = "",
    *,
    is_labelled: bool = True,
) -> Plane:
    names = front(places)
    joined = Look("front", f"front: {', '.join(names)}")
    quality, diversity = title_of(QUALITY).words, title_of(DIVERSITY).words
    said = "; ".join(
        f"trial {name} at {places[name][0]:.4g}, {places[name][1]:.4g}" for name in names
    )
    return Plane(
        title=f"diversity: {diversity} (lower is better){where}",
        across=f"quality: {quality} (lower is better)",
        said=f"{len(places)} trials. On the front: {said}.",
        curves=[Curve([places[name] for name in names], joined)],
        dots=[
            Dot(places[number], look, number if is_labelled and number in names else "")
            for number, look in looks(found).items()
            if number in places
        ],
    )
