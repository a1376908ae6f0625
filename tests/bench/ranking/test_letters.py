import itertools

from hypothesis import given
from hypothesis import strategies as st

from inflate_zoo.bench.ranking.letters import letters

ARMS = "abcdefg"
pairs = st.sets(st.sampled_from(list(itertools.combinations(ARMS, 2))))


@given(pairs, st.permutations(ARMS))
def test_two_arms_share_a_letter_exactly_where_they_are_not_told_apart(apart, arms):
    shown = letters(arms, sorted(apart))
    assert list(shown) == list(arms)
    for one, other in itertools.combinations(ARMS, 2):
        assert ((one, other) in apart) != bool(set(shown[one]) & set(shown[other]))


@given(pairs)
def test_no_letter_says_what_another_says_already(apart):
    shown = letters(ARMS, sorted(apart))
    columns = [
        {arm for arm in ARMS if letter in shown[arm]} for letter in set("".join(shown.values()))
    ]
    assert not any(one < other for one in columns for other in columns)


@given(pairs)
def test_the_order_of_the_pairs_does_not_matter(apart):
    backwards = [pair[::-1] for pair in sorted(apart, reverse=True)]
    assert letters(ARMS, backwards) == letters(ARMS, sorted(apart))


def test_letters_begin_with_the_first_arm():
    assert letters(["x", "y", "z"], [("x", "z")]) == {"x": "a", "y": "ab", "z": "b"}
    assert letters(["x", "y"], []) == {"x": "a", "y": "a"}
    assert letters([], []) == {}


def test_many_letters_go_on_after_the_alphabet():
    arms = [str(number) for number in range(60)]
    shown = letters(arms, list(itertools.combinations(arms, 2)))
    assert [shown[arms[at]] for at in (0, 25, 26, 51, 52)] == ["a", "z", "A", "Z", "a2"]
    assert len(set(shown.values())) == 60
