"""The table of readers."""

from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.readers.known import READERS

SCHEMES = families_by_name()


def test_every_definition_is_of_a_network_that_is_read():
    assert {scheme.network for scheme in SCHEMES.values()} == set(READERS)
