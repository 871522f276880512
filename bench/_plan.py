"""Who is measured when: rounds in which every entrant has a turn, in an order that rotates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench._sections import Section


class Unknown(Exception):
    """A name after ``--only`` that is neither a section's nor an entrant's; says which, and what there is."""


@dataclass(frozen=True)
class Turn:
    """One sample to be taken. ``round`` counts from 0; with ``warmup`` it does not count."""

    section: str
    entrant: str
    round: int
    warmup: bool


@dataclass(frozen=True)
class Plan:
    """What a run measures: the entrants of each section, and the turns in their order."""

    entrants: dict[str, tuple[str, ...]]
    turns: list[Turn]
    seconds: float

    @property
    def rounds(self) -> int:
        """The rounds of the section that has most, with the one to warm up."""
        return 1 + max((turn.round for turn in self.turns), default=-1)


def plan(sections: Mapping[str, Section], *, quick: bool, only: Sequence[str] = ()) -> Plan:
    """Make the plan of a quick or a full run; ``only`` names sections and entrants, none means all.

    An entrant that is named takes part wherever a full run has it, also if a quick one leaves it out.

    Raises:
        Unknown: a name is no section's and no entrant's.
    """
    known = {entrant for section in sections.values() for entrant in section.entrants}
    for name in only:
        if name not in known and name not in sections:
            raise Unknown(f"{name!r} is no section ({', '.join(sections)}) and no entrant ({', '.join(sorted(known))})")
    named = known.intersection(only)
    chosen = {}
    for id, section in sections.items():
        if id in only or not set(sections).intersection(only):
            all_of_it = section.goals if quick and not named else section.entrants
            entrants = tuple(entrant for entrant in all_of_it if not named or entrant in named)
            if entrants:
                chosen[id] = entrants
    turns = list(_turns({id: sections[id] for id in chosen}, chosen, quick))
    return Plan(chosen, turns, sum(sections[turn.section].costs[not quick] for turn in turns))


def _turns(sections: Mapping[str, Section], entrants: Mapping[str, tuple[str, ...]], quick: bool) -> Iterator[Turn]:
    """Round by round, in each all sections: what disturbs the machine for a while disturbs one round, not one section.

    Within a section the entrants of a round follow each other closely, so that they can be compared pair by pair. Each
    round begins with another one, for whoever is first, or follows a heavy one, may be better or worse off.
    """
    lengths = {id: section.rounds[not quick] + section.warmup for id, section in sections.items()}
    for round in range(max(lengths.values(), default=0)):
        for id, section in sections.items():
            if round < lengths[id]:
                for entrant in rotated(entrants[id], round):
                    yield Turn(id, entrant, round, warmup=section.warmup and round == 0)


def rotated(entrants: Sequence[str], round: int) -> list[str]:
    """The order of a round: each time another one begins."""
    start = round % len(entrants)
    return [*entrants[start:], *entrants[:start]]
