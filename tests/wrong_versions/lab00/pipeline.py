# %% wrong: "Anything else (a text, a tensor) is one input": a tuple is taken for several.
def pipeline(preprocess, forward, postprocess):
    def run(inputs):
        if not isinstance(inputs, (list, tuple)):
            inputs = [inputs]
        return [postprocess(forward(preprocess(one))) for one in inputs]
    return run


# %% wrong: "for one input a list of one": the empty text gives an empty list.
def pipeline(preprocess, forward, postprocess):
    def run(inputs):
        if isinstance(inputs, (list, str)) and not inputs:
            return []
        if not isinstance(inputs, list):
            inputs = [inputs]
        return [postprocess(forward(preprocess(one))) for one in inputs]
    return run


# %% wrong: "each goes through the stages on its own": an input that is a list inside the list is taken apart.
def pipeline(preprocess, forward, postprocess):
    def run(inputs):
        if isinstance(inputs, list):
            answers = []
            for one in inputs:
                answers.extend(run(one))
            return answers
        return [postprocess(forward(preprocess(inputs)))]
    return run


# %% wrong: "one answer for each input": answers that are None (or empty) are left out.
def pipeline(preprocess, forward, postprocess):
    def run(inputs):
        if not isinstance(inputs, list):
            inputs = [inputs]
        answers = (postprocess(forward(preprocess(one))) for one in inputs)
        return [answer for answer in answers if answer]
    return run


# %% wrong: "each goes through the stages": an input that was seen before gets its first answer again, no stage runs.
def pipeline(preprocess, forward, postprocess):
    known = {}
    def answer(one):
        key = repr(one)
        if key not in known:
            known[key] = postprocess(forward(preprocess(one)))
        return known[key]
    def run(inputs):
        if not isinstance(inputs, list):
            inputs = [inputs]
        return [answer(one) for one in inputs]
    return run


# %% right: 
import functools
def pipeline(preprocess, forward, postprocess):
    class Answering:
        def __init__(self, *stages):
            self.stages = stages
        def __call__(self, inputs):
            several = inputs if isinstance(inputs, list) else [inputs]
            return [functools.reduce(lambda value, stage: stage(value), self.stages, one) for one in several]
    return Answering(preprocess, forward, postprocess)


# %% right: 
def pipeline(preprocess, forward, postprocess):
    def one(x):
        x = preprocess(x)
        x = forward(x)
        x = postprocess(x)
        return x
    return lambda inputs: list(map(one, inputs)) if isinstance(inputs, list) else [one(inputs)]
