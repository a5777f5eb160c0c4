"""How lab 9's exercises are called: once on each rank, all at the same time."""

from mlsys_course.check import driver


@driver(ranks=True)
def ring_all_reduce(candidate, case, comm):
    return {"sum": candidate(case["x"], comm)}
