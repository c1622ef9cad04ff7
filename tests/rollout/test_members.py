"""The next part goes to whom has least to do, found without a search."""

from hypothesis import given
from hypothesis import strategies as st

from rubout.rollout.members import IN_FLIGHT, Doors, Member


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["give", "take", "fall", "rise"]))))
def test_the_least_loaded_of_the_well_is_next(deeds: list[tuple[int, str]]) -> None:
    members = [Member(number) for number in range(5)]
    doors = Doors(members)
    for number, deed in deeds:
        member = members[number]
        if deed == "give" and len(member.parts) < IN_FLIGHT:
            member.parts[object()] = None  # type: ignore[assignment]
        elif deed == "take" and member.parts:
            member.parts.popitem()
        elif deed in ("fall", "rise"):
            member.unwell_since = float(deed == "fall")
        doors.place(member)
        free = [m for m in members if not m.unwell_since and len(m.parts) < IN_FLIGHT]
        found = doors.least()
        if free:
            assert found in free
            assert len(found.parts) == min(len(m.parts) for m in free)
        else:
            assert found is None


def test_those_who_have_as_much_to_do_take_turns() -> None:
    members = [Member(number) for number in range(3)]
    doors = Doors(members)
    order = []
    for _ in range(3 * IN_FLIGHT):
        member = doors.least()
        assert member is not None
        order.append(member.actor)
        member.parts[object()] = None  # type: ignore[assignment]
        doors.place(member)
    assert order == [0, 1, 2] * IN_FLIGHT
    assert doors.least() is None


def test_without_a_limit_all_is_given_out_evenly() -> None:
    members = [Member(number) for number in range(3)]
    members[1].unwell_since = 1.0
    doors = Doors(members)
    for _ in range(11):
        member = doors.least(limit=None)
        assert member is not None
        member.parts[object()] = None  # type: ignore[assignment]
        doors.place(member)
    assert [len(member.parts) for member in members] == [6, 0, 5]
    assert doors.least() is None, "whoever keeps a limit gives them no more"
