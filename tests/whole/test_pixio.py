"""Several class tokens in a whole trial, for all kin of the plain ViT: they share its network."""

import inflate_zoo
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from tests.support.checkpoints import save_transformers
from tests.support.datasets import write_decathlon
from tests.support.trials import SHAPE, VIT, one_thread, tiny_run


def test_several_class_tokens_are_trained_and_written(tmp_path):
    write_decathlon(tmp_path / "data", 10, SHAPE, ("MRI",))
    small_vit = {k: v for k, v in VIT.items() if k != "intermediate_size"}
    save_transformers("pixio", tmp_path / "vit", **small_vit)
    with one_thread():
        run = tiny_run(tmp_path, "train.learning_rate=1e-2", kinds=("inflated", "random"))
        for trial in run.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
        config = run.trial().spec.arm.config
        assert (config.reg_tokens, config.cls_token, config.num_prefix_tokens) == (8, False, 8)
        backbone = inflate_zoo.load(run.trial().folder).backbone
    assert backbone.reg_token.shape == (1, 8, config.embed_dim)
