"""What a card's front matter says."""

import pytest

from inflate_zoo.hub.cards import license_fields


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("", {}),
        ("# A card\n\nlicense: mit\n", {}),
        ("---\nlicense: mit\n---", {"license": "mit"}),
        ("---\r\nlicense: mit\r\n---\r\n", {"license": "mit"}),
        ("\ufeff---\nlicense: mit\n---\n", {"license": "mit"}),
        ("---\nlicense:\n- apache-2.0\n---\n", {"license": "apache-2.0"}),
        ("---\nlicense: [mit, apache-2.0]\n---\n", {}),
        ("---\nlicense: []\n---\n", {}),
        ("---\nlicense: [[mit]]\n---\n", {}),
        ("---\nlicense: {a: b}\n---\n", {}),
        ("---\nlicense: ''\n---\n", {}),
        ('---\nlicense: "mit\\e[2J"\n---\n', {}),
        ("---\nlicense: |\n  mit\n  passed\n---\n", {}),
        ("---  \n\nlicense: mit\n---  \n----\n", {"license": "mit"}),
        ("---\nlicense: ' mit '\n---\n", {"license": "mit"}),
        ("---\n- license\n---\n", {}),
        ("---\n---\nlicense: mit\n---\n", {}),
        ("---\nlicense: mit\n", {}),
        ("---\nlicense: [\n---\n", {}),
        ("---\nlicense: !!python/object:os.system x\n---\n", {}),
        ("---\nlicense: 2024-01-01\n---\n", {}),
        (
            "---\nlicense: other\nlicense_name: [x]\nlicense_link: LICENSE\n---\n",
            {"license": "other", "license_name": "x", "license_link": "LICENSE"},
        ),
    ],
)
def test_the_license_of_a_card(tmp_path, card, expected):
    file = tmp_path / "README.md"
    file.write_bytes(card.encode())
    assert license_fields(file) == expected
