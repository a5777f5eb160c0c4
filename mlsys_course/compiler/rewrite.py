"""Rules applied to a fixed point. A rule, pattern and template, is a function from a node to a better one, or None."""

from collections.abc import Callable, Sequence

from ..substrate.graph import GraphError, Node

Rule = Callable[[Node], Node | None]


def rewrite(outputs: Sequence[Node], rules: Sequence[Rule], limit: int = 1000) -> list[Node]:
    """Outputs of a graph to none of whose nodes a rule applies any more. Lab 6, exercise ``rewrite``.

    Inputs are rewritten before the node that uses them; of several rules the first that applies is taken, and what it
    gives is rewritten too. A node with several users is rewritten once, for all of them; what no rule changes stays the
    same node. Raises GraphError, naming the rule, for a replacement of another shape or dtype, and for rules that go on
    after ``limit`` replacements or lead back to the node itself.
    """
    final: dict[Node, Node] = {}
    became: dict[Node, tuple[Node, Rule]] = {}
    waiting, count = list(outputs), 0
    while waiting:
        node = waiting[-1]
        if node in became:  # it waited for its replacement alone, unless that needs the node
            replacement, rule = became[node]
            if node not in final and replacement not in final:
                raise loops(rule, node)
            final.setdefault(node, final.get(replacement, node))
        missing = [] if node in final else [x for x in node.inputs if x not in final]
        waiting += missing
        if missing:
            continue
        if node not in final:
            inputs = tuple(final[x] for x in node.inputs)
            now = node if inputs == node.inputs else node.operator(*inputs)
            found = first_that_applies(rules, now)
            if found:
                count += 1
                if count > limit:
                    raise loops(found[1], node)
                became[node] = found
                became.setdefault(now, found)
                waiting.append(found[0])
                continue
            final[node] = final[now] = now
        waiting.pop()
    return [final[node] for node in outputs]


def first_that_applies(rules: Sequence[Rule], node: Node) -> tuple[Node, Rule] | None:
    """What the node becomes and by which rule; None if by none."""
    for rule in rules:
        replacement = rule(node)
        if replacement is not None:
            if replacement.kind != node.kind:
                raise GraphError(f"rule {rule.__name__} makes {replacement.kind} of {node}; keep shape and dtype")
            return replacement, rule
    return None


def loops(rule: Rule, node: Node) -> GraphError:
    return GraphError(f"rule {rule.__name__} goes on without end, last at {node}; let it apply where it helps only")
