"""Lab 6, sealed: misconceptions. Those made by ``wrong`` are the references with something changed."""

import mlsys_course.substrate.graph as G
from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import compiler
from mlsys_course.autodiff import topological_order


def frozen(function, arguments):
    """The examples' numbers are in the graph; its inputs lead nowhere."""
    inputs, outputs = compiler.trace(function, arguments)
    fixed = {x: G.constant(a) for x, a in zip(inputs, [a for a in arguments if hasattr(a, "dtype")], strict=True)}
    became: dict = {}
    for node in topological_order(outputs):
        inner = [became[x] for x in node.inputs]
        became[node] = fixed[node] if node in fixed else node.operator(*inner) if inner else node
    return inputs, [became[node] for node in outputs]


mistake = wrong(compiler.trace)
TRACE = [
    mistake("prints slip through", "What does a function that prints do when its graph runs?",
        "if printed.getvalue():", "if False:"),
    mistake("chance is frozen", "Run the graph twice: are its random numbers others the second time?",
        "if chance() != drawn:", "if False:"),
    mistake("in place slips through", "After x += 1 on a tensor its owner sees the change. Who sees it in your graph?",
        argument=G.variable),
    mistake("errors as they come", "What does a function meet that asks a node for a number? What should it raise?",
        "except (TypeError, AttributeError) as problem:", "except ZeroDivisionError as problem:"),
    Misconception("examples frozen", frozen,
        "Feed other numbers than those of the example. What does your graph compute?"),
    mistake("fixed results as they are", "A result may be a tensor or a number. What does who runs the graph expect?",
        "return constant(value)", "return value"),
    mistake("one result", "A function may return several values, as a tuple or a list. Where do the others go?",
        "for x in results]", "for x in results[:1]]"),
]  # fmt: skip


mistake = wrong(compiler.jit)
JIT = [
    mistake("no guard on dtypes", "float32 and float64 of one shape: is it one program?",
        "value.shape, value.dtype, value.device", "value.shape, value.device"),
    mistake("no guard on shapes", "What is a program for three rows worth when four come?",
        "return value.shape, value.dtype, value.device", "return value.dtype, value.dim()"),
    mistake("sizes, not shapes", "2 x 6 and 6 x 2 have as many entries. Have they the same program?",
        "value.shape, value.dtype", "value.numel(), value.dim(), value.dtype"),
    mistake("no guard on values", "The values of Python are built into a program. What if the next call has others?",
        "return type(value), repr(value)", "return (type(value),)"),
    mistake("equal is the same", "In Python 1 == 1.0 == True, one key to a dict. Are they one to a graph?",
        "return type(value), repr(value)", "return ('value', value)"),
    mistake("only what is written", "A number and a word may be written alike. What tells them apart?",
        "return type(value), repr(value)", "return ('value', str(value))"),
    mistake("compiled every time", "How often does the function have to be traced for ten calls of one kind?",
        "if guard not in self.programs:", "if True:"),
    mistake("remembers the last one only", "Two kinds of calls in turn: how many programs do they need?",
        "self.programs[guard] = self.specialize(",
        "self.programs.clear()\n            self.programs[guard] = self.specialize("),
    mistake("tensors of the first call", "With which tensors is the program called the second time?",
        "return self.programs[guard](*[x for x in arguments if isinstance(x, Tensor)])",
        "self.first = getattr(self, 'first', {})\n        self.first.setdefault(guard, arguments)\n"
        "        return self.programs[guard](*[x for x in self.first[guard] if isinstance(x, Tensor)])"),
    mistake("a refusal is remembered", "What is in your table after a call that could not be compiled?",
        "self.programs[guard] = self.specialize(self.function, arguments)",
        "self.programs[guard] = lambda *x: x[0].sum()\n"
        "            self.programs[guard] = self.specialize(self.function, arguments)"),
]  # fmt: skip

mistake = wrong(compiler.eliminate)
ELIMINATE = [
    mistake("one look only", "Two nodes become common when their inputs have been merged. When do you look?",
        "(node.operator, inputs) if inputs", "(node.operator, node.inputs) if inputs"),
    mistake("by name", "x * 2 and x * 3 have operators of one name. What else do operators have?",
        "(node.operator, inputs)", "(node.operator.name, inputs)"),
    mistake("sides do not matter", "Is x - y the same as y - x?",
        "(node.operator, inputs) if inputs", "(node.operator, frozenset(inputs)) if inputs"),
    mistake("variables of one kind", "Two variables of one name and shape are fed different numbers.",
        "if inputs else node", "if inputs else (node.operator.name, node.kind)"),
    mistake("dead nodes stay", "Who reads each node of your order?",
        "if node not in needed:", "if False:"),
    mistake("outputs as they were", "The outputs that you return: are they nodes of the order that you return?",
        "return kept, [became[node] for node in outputs]", "return kept, list(outputs)"),
    mistake("nothing is merged", "Count the operators of a graph that has tanh(x) twice.",
        "if same not in known:", "if True:"),
]  # fmt: skip


def by_recursion(outputs, rules, limit=1000):
    def visit(node):
        inputs = [visit(x) for x in node.inputs]
        now = node if tuple(inputs) == node.inputs else node.operator(*inputs)
        for rule in rules:
            found = rule(now)
            if found is not None:
                return visit(found)
        return now

    return [visit(node) for node in outputs]


def once_each(outputs, rules, limit=1000):
    """Every node is looked at once; what a rule made is not looked at again."""
    became: dict = {}
    for node in topological_order(outputs):
        inputs = tuple(became[x] for x in node.inputs)
        now = node if inputs == node.inputs else node.operator(*inputs)
        became[node] = next((found for rule in rules if (found := rule(now)) is not None), now)
    return [became[node] for node in outputs]


def all_made_anew(outputs, rules, limit=1000):
    after = compiler.rewrite(outputs, rules, limit)
    became: dict = {}
    for node in topological_order(after):
        became[node] = node.operator(*[became[x] for x in node.inputs]) if node.inputs else node
    return [became[node] for node in after]


def outputs_only(outputs, rules, limit=1000):
    """Rules are tried at the outputs."""
    found = []
    for node in outputs:
        for _ in range(limit):
            after = next((made for rule in rules if (made := rule(node)) is not None), None)
            if after is None:
                break
            node = after
        found.append(node)
    return found


mistake = wrong(compiler.rewrite)
REWRITE = [
    Misconception("one look only", once_each,
        "A rule's result may be what another rule, or the same, waits for. Who looks at it?"),
    Misconception("at the outputs only", outputs_only, "Deep inside the graph, who asks the rules?"),
    mistake("first rule only", "There are several rules. Does each get its chance?",
        "for rule in rules:", "for rule in rules[:1]:"),
    Misconception("recursive", by_recursion,
        "Along how many paths is a shared node reached, how deep is Python's stack, and when do rules end?"),
    Misconception("all made anew", all_made_anew,
        "A node that no rule changes can stay the node that it is. Which of yours are new?"),
    mistake("no limit", "Two rules that undo each other. Who stops them, and by what name?",
        "if count > limit:", "if False:"),
    mistake("nameless", "Whoever reads the error wants to know which rule it was.",
        'GraphError(f"rule {rule.__name__} goes on', 'GraphError(f"a rule goes on'),
    mistake("any replacement", "A rule may be wrong. How would you see that a node became one of another shape?",
        "if replacement.kind != node.kind:", "if False:"),
]  # fmt: skip

mistake = wrong(compiler.merge_qkv)

MERGE = [
    mistake("whatever has one right side", "Which of the two sides do queries, keys and values have in common?",
        "siblings.setdefault(node.inputs[0], [])", "siblings.setdefault(node.inputs[0].shape, [])",
        "siblings.get(node.inputs[0], [])", "siblings.get(node.inputs[0].shape, [])"),
    mistake("weights of one width", "Keys may be narrower than queries. Where does each slice begin?",
        "start += weight.shape[1]", "start += weights[0].shape[1]"),
    mistake("slices in reverse", "In which order do the weights stand, and in which do you cut?",
        "for one, weight in zip(group, weights, strict=True):",
        "for one, weight in zip(group[::-1], weights[::-1], strict=True):"),
    mistake("first layer only", "The second layer's left side is a node that you made anew. Do you find its products?",
        "if len(group) > 1:", "if len(group) > 1 and not node.inputs[0].inputs:"),
    mistake("pairs only", "Three have one left side. How many products are left?",
        "group = siblings.get(node.inputs[0], [])", "group = siblings.get(node.inputs[0], [])[:2]"),
    Misconception("nothing is merged", lambda order, outputs: list(outputs), "Count the products before and after."),
    mistake("made weights too", "A right side that has inputs may need the very product that you merge it with.",
        "not node.inputs[1].inputs and ", ""),
]  # fmt: skip

mistake = wrong(compiler.fuse_elementwise)
FUSE = [
    mistake("fan-out computed again", "A value with two users: how often is it computed in your loops?",
        " and len(users[x]) == 1", ""),
    mistake("outputs vanish", "A value in the middle of a loop never reaches memory. Who asked for it?",
        "if x not in outputs]", "]"),
    mistake("one chain, not a tree", "An operator of two inputs can join both of its inputs' loops.",
        "before = [ending.pop(x) for x in joining if x not in outputs]",
        "before = [ending.pop(x) for x in [x for x in joining if x not in outputs][:1]]"),
    mistake("stretched inside", "A row that is added to each of 1,000 rows: how often is it computed inside the loop?",
        " and x.shape == user.shape", ""),
    mistake("anything joins", "Can an entry of a softmax or a product be computed from the same entry of its input?",
        "both = isinstance(x.operator, Elementwise) and isinstance(user.operator, Elementwise)", "both = True"),
    mistake("uses counted, not users", "x * x uses x twice. How many users has x?",
        "users.setdefault(x, set()).add(node)", "users.setdefault(x, []).append(node)", "set[Node]]", "list[Node]]"),
    mistake("same dtype only", "A comparison and a choice by it go over the same entries. What keeps them apart?",
        "x.shape == user.shape", "x.kind == user.kind"),
    mistake("nothing joins", "How often does a chain of four operators read and write memory?",
        "if x not in outputs]", "if x not in x.inputs and False]"),
]  # fmt: skip

mistake = wrong(compiler.plan_buffers)


def one_after_the_other(order, outputs):
    offsets, at = {}, 0
    for node in order:
        if node.inputs:
            offsets[node], at = at, at + -(-compiler.buffers.bytes_of(node) // 64) * 64
    return offsets


BUFFERS = [
    mistake("freed a step early", "While an operator writes its result, does it still read its inputs?",
        "first <= life[x][1]", "first < life[x][1]"),
    mistake("first use is the last", "A value may be read again, much later. Which use ends its life?",
        "last[x] = at\n", "last[x] = min(at, last[x]) if last[x] != order.index(x) else at\n"),
    mistake("outputs reused", "Who reads an output, and when?",
        "return last | dict.fromkeys(outputs, len(order))", "return last"),
    Misconception("nothing is reused", one_after_the_other, "How large is your arena for a chain of six?"),
    mistake("in order of time", "Small values that come first cut the arena into pieces. Which should choose first?",
        "key=lambda node: -size[node]", "key=lambda node: 0"),
    mistake("smallest first", "Which values find a place hardest: large ones or small ones?",
        "key=lambda node: -size[node]", "key=lambda node: size[node]"),
    mistake("on top of all", "Between two values that stay there may be room. Where do you look?",
        "if place + size[node] <= start:", "if False:"),
    mistake("not rounded up", "Two values of 72 bytes: where does the second begin?",
        "size = {node: rounded(node)", "size = {node: bytes_of(node)"),
    mistake("inputs planned too", "Who owns the memory of variables and constants?",
        "for at, node in enumerate(order) if node.inputs}", "for at, node in enumerate(order)}"),
]  # fmt: skip


def as_made(order, outputs):
    return topological_order(list(order))


def depth_first(order, outputs):
    """Like a recursion from the outputs: valid, small values first or last as it comes."""
    done: dict = {}
    waiting = [*order[::-1], *outputs[::-1]]
    while waiting:
        node = waiting[-1]
        missing = [x for x in reversed(node.inputs) if x not in done]
        waiting += missing
        if not missing:
            done.setdefault(node)
            waiting.pop()
    return list(done)


def greedy_always(order, outputs):
    return compiler.order_for_memory(order, outputs, exact=0)


ORDER = [
    Misconception("as it came", lambda order, outputs: list(order),
        "Try all orders of a graph of five nodes. Is yours the best?"),
    Misconception("as it was made", as_made,
        "The order in which a program was written is one of many. Which one is best?"),
    Misconception("greedy", greedy_always,
        "A step that frees much now may have to be paid for later. What does trying all tell you?"),
    Misconception("depth first", depth_first, "Depth first frees early. Does it know which branch is the larger one?"),
    Misconception("smallest first", lambda order, outputs: sorted(order, key=compiler.buffers.bytes_of),
        "Does each node still come after its inputs?"),
    Misconception("what is needed only", lambda order, outputs: topological_order(outputs),
        "Nodes that no output needs are in the order that you were given. Are they in yours?"),
]  # fmt: skip
