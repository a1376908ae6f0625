"""What a card's front matter says."""

import pytest
import yaml

from inflate_zoo.hub.cards import front_matter_text, license_fields, one_line


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


@pytest.mark.parametrize(
    "text, line",
    [
        ("plain text", "plain text"),
        ("two\nlines\t and  gaps", "two lines and gaps"),
        ("a|b `c` *d* _e_", r"a\|b \`c\` \*d\* \_e\_"),
        ("<script>[x](y)", r"&lt;script&gt;\[x\](y)"),
        ("back\\slash", r"back\\slash"),
        ("\x1b[2J\u202e", r"\[2J"),
    ],
)
def test_a_text_stays_inside_its_line(text, line):
    assert one_line(text) == line


@pytest.mark.parametrize(
    "value", ["---", "a: b", "# x", "\ud7ff\n---\n", "no", 1.5, [1, "2"], None]
)
def test_front_matter_reads_back_as_what_was_written(value):
    text = front_matter_text({"key": value, "other": 1})
    start, body, end = text.split("---\n", 1)[0], text[4:-4], text[-4:]
    assert (start, end) == ("", "---\n")
    assert yaml.safe_load(body) == {"key": value, "other": 1}
    assert list(yaml.safe_load(body)) == ["key", "other"]


def test_front_matter_that_is_not_read_is_told(tmp_path, caplog):
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    assert license_fields(tmp_path / "README.md") == {}
    assert "README.md: its front matter is not read: " in caplog.text
    assert license_fields(tmp_path / "gone.md") == {}
