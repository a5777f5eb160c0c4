"""How lab 7's exercises are called. Read it to see what a case asks of your function."""

from mlsys_course.check import Tree, driver


def whole_numbers(inputs: Tree, outputs: Tree) -> str | None:
    """Counts are exact, so they are ``int``; a float loses single parameters beyond 2**53."""
    for name, count in outputs.items():
        if not isinstance(count, int):
            return f"{name} is {count!r}; count in whole numbers (// instead of /)"
    return None


def total_is_sum(inputs: Tree, outputs: Tree) -> str | None:
    """Where a case asks for the whole table, its last term is the sum of the others."""
    if "total" in outputs and outputs["total"] != sum(count for name, count in outputs.items() if name != "total"):
        return "total is not the sum of the other terms"
    return None


@driver(properties={"whole numbers": whole_numbers, "sum": total_is_sum})
def parameter_table(candidate, case):
    """The terms that the case names, of the table for its sizes."""
    table = candidate(dict(case["config"]))
    if not isinstance(table, dict):
        return table
    return {name: table[name] for name in case["terms"] if name in table}
