"""What is asked of one engine alone."""

from inflate_zoo.bench.engines.flags import HereFlags, RayFlags, SlurmFlags, given


def test_what_was_given_is_named_as_it_is_typed():
    assert [given(flags()) for flags in (HereFlags, SlurmFlags, RayFlags)] == [[], [], []]
    assert given(HereFlags(per_gpu=2)) == ["--per-gpu"]
    asked = SlurmFlags(jobs=3, cpus_per_task=2, sbatch=("--nice",), detach=True)
    assert given(asked) == ["--jobs", "--cpus-per-task", "--sbatch", "--detach"]
    assert given(RayFlags(gpus=0.5)) == ["--gpus"]
