"""Files of class probabilities that numpy and nnU-Net read."""

import zipfile

import numpy as np

from inflate_zoo.bench.prediction.probabilities import write_npz


def test_numpy_reads_what_was_written_class_by_class(tmp_path):
    array = np.random.default_rng(0).random((3, 4, 5, 6)).astype(np.float32)
    turned = (each.transpose(2, 1, 0).copy().transpose(2, 1, 0) for each in array)  # not in order
    write_npz(tmp_path / "a.npz", turned, array.shape)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive.files == ["probabilities"]
        np.testing.assert_array_equal(archive["probabilities"], array)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None
        assert archive.infolist()[0].compress_type == zipfile.ZIP_DEFLATED


def test_the_same_values_give_the_same_bytes(tmp_path):
    array = np.zeros((2, 3, 4, 5), np.float32)
    for name in "ab":
        write_npz(tmp_path / name, iter(array), array.shape)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size < array.nbytes
