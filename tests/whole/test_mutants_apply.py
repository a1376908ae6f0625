from tests import mutants


def test_every_mutant_still_applies():
    assert mutants.outdated() == []


def test_every_mutant_names_tests_that_exist():
    tests = {test for mutant in mutants.ALL.values() for test in mutant.tests}
    assert [test for test in sorted(tests) if not (mutants.ROOT / "tests" / test).is_file()] == []
