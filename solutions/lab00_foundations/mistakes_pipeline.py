"""Lab 0, sealed: misconceptions about the pipeline."""

from autograder.exercise import Misconception
from mlsys_course import foundations as component


def bare(preprocess, forward, postprocess):
    run = component.pipeline(preprocess, forward, postprocess)
    return lambda inputs: run(inputs) if isinstance(inputs, list) else run(inputs)[0]


def takes_texts_apart(preprocess, forward, postprocess):
    return lambda inputs: [postprocess(forward(preprocess(one))) for one in inputs]


def only_texts_are_one(preprocess, forward, postprocess):
    run = component.pipeline(preprocess, forward, postprocess)
    return lambda inputs: run(inputs if isinstance(inputs, str) else list(inputs))


def all_at_once(preprocess, forward, postprocess):
    return lambda inputs: [postprocess(forward(preprocess(inputs)))]


def the_first_only(preprocess, forward, postprocess):
    run = component.pipeline(preprocess, forward, postprocess)
    return lambda inputs: run(inputs)[:1]


def remembers(preprocess, forward, postprocess):
    answers = []

    def run(inputs):
        answers.extend(component.pipeline(preprocess, forward, postprocess)(inputs))
        return list(answers)

    return run


def nested(preprocess, forward, postprocess):
    run = component.pipeline(preprocess, forward, postprocess)
    return lambda inputs: [run(one) for one in inputs] if isinstance(inputs, list) else run(inputs)


def no_postprocessing(preprocess, forward, postprocess):
    return component.pipeline(preprocess, forward, lambda found: found)


def single_when_one(preprocess, forward, postprocess):
    run = component.pipeline(preprocess, forward, postprocess)

    def unpacked(inputs):
        answers = run(inputs)
        return answers[0] if isinstance(inputs, list) and len(answers) == 1 else answers

    return unpacked


def runs_at_once(preprocess, forward, postprocess):
    return postprocess(forward(preprocess))


def nothing_for_nothing(preprocess, forward, postprocess):
    run = component.pipeline(preprocess, forward, postprocess)
    return lambda inputs: None if isinstance(inputs, list) and not inputs else run(inputs)


def the_last_stages():
    stages = []

    def pipeline(*given):
        stages[:] = given
        return lambda inputs: component.pipeline(*stages)(inputs)

    return pipeline


PIPELINE = [
    Misconception("one answer without a list", bare,
        "The lecture's answer to one text begins with a bracket: [{...}]."),
    Misconception("takes a text apart", takes_texts_apart,
        "What does `for one in ...` go through when it is given one string?"),
    Misconception("only a text is one input", only_texts_are_one,
        "Which type means several inputs? An image is one input, and is no text."),
    Misconception("all at once", all_at_once, "Of a list, each input goes through the stages on its own."),
    Misconception("the first only", the_first_only, "How many answers does a list of three inputs have?"),
    Misconception("remembers", remembers, "Call it twice. Does the second answer hold the first one too?"),
    Misconception("a list in a list", nested, "How many brackets stand around the answer to the second of two texts?"),
    Misconception("two stages", no_postprocessing, "What is the third stage for, and is it called?"),
    Misconception("a list of one without a list", single_when_one,
        "A list of one input has a list of how many answers?"),
    Misconception("None for no inputs", nothing_for_nothing,
        "A list of three has a list of three answers. And a list of none?"),
    Misconception("one pipeline", the_last_stages(), "Of two pipelines each keeps its stages. Where does yours?"),
    Misconception("runs before it is asked", runs_at_once,
        "pipeline(...) returns something that can be called. What is called when?"),
]  # fmt: skip
