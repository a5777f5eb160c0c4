"""Would the harness see an attack that wins? The right answer is one that does."""

from .harness import HONEST, RIGHT, Attack


def test_the_honest_wrong_answer_has_some_points_and_lacks_others(lab):
    assert lab.honest == {"times": 2, "chain": 3, "lean": 4, "answer": 1}
    assert lab.won(HONEST) == []


def test_a_perfect_attack_is_seen(lab):
    assert lab.won(Attack("right", answer=RIGHT)) == ["times: 6 instead of 2"]


def test_points_lost_are_seen_and_allowed_where_they_are_expected(lab):
    broken = {"chain": "chain = None"}
    assert lab.won(Attack("breaks", others=broken)) != []
    assert lab.won(Attack("breaks", others=broken, hurts=("chain",))) == []


def test_a_neighbour_who_suffers_is_seen(lab):
    kept = lab.neighbour
    lab.neighbour = {**kept, "times": 5.0}
    try:
        (said,) = lab.won(HONEST)
        assert said.startswith("the neighbour has")
    finally:
        lab.neighbour = kept
