"""What a license's identifier says about passing weights on."""

import pytest

from inflate_zoo.registry.licenses import binds, may_pass_on, non_commercial
from inflate_zoo.registry.listing import zoo


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["apache-2.0", "mit", "Apache-2.0", " MIT\n", "bsd-3-clause", "cc0-1.0"], True),
        (["gpl-3.0", "cc-by-sa-4.0", "openrail", "creativeml-openrail-m", "openrail++"], True),
        (["cc-by-nc-4.0", "cc-by-nc-sa-4.0", "CC-BY-NC-4.0"], True),
        (["cc-by-nd-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-nd-3.0", "CC-BY-ND-3.0"], False),
        (["unknown", "other", "", "cc", "gemma", "llama3.1", "my-own", "apache"], None),
    ],
)
def test_whether_weights_may_be_passed_on(names, expected):
    assert {name: may_pass_on(name) for name in names} == dict.fromkeys(names, expected)


def test_non_commercial_licenses():
    names = ["cc-by-nc-4.0", "cc-by-nc-sa-4.0", "CC-BY-NC-ND-4.0"]
    assert all(map(non_commercial, names))
    assert not any(map(non_commercial, ["mit", "cc-by-4.0", "cc-by-nd-4.0", "ncsa", "other"]))


def test_licenses_that_stay_what_they_are():
    assert all(map(binds, ["gpl-3.0", "CC-BY-SA-4.0", "cc-by-nc-sa-4.0", "openrail++", "mpl-2.0"]))
    assert not any(map(binds, ["mit", "apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "other", ""]))


def test_the_zoo_agrees():
    for entry in zoo():
        assert may_pass_on(entry.license) in (entry.redistribution, None), entry.name
