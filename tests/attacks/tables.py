"""All attacks on the small lab: those that stay within their sandbox, those that might be felt next door, slow ones."""

from . import by_force, by_looking, by_tricks, on_the_channel, on_the_judge

QUIET = [on_the_judge.PATCHES, on_the_judge.TYPES, by_looking.LOOKING, by_tricks.TRICKS, by_tricks.BESIDE]
LOUD = [on_the_channel.FORGED, by_force.KILLS, by_force.PROCESSES, by_force.RESOURCES]
SLOW = by_force.SLOW
TELLING = by_looking.TELLING
