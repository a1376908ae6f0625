"""Pictures: names in them, and the same bytes for the same data."""


def test_hostile_names_are_text_in_the_drawings(hostile):
    drawings = list((hostile[0] / "plots").glob("*.svg"))
    assert drawings
    for path in drawings:
        assert "<script" not in path.read_text()
        assert "<!--" not in path.read_text()
