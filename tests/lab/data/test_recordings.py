from functools import partial

import pytest
import torch

from tavtorch.lab.data.damage import hissing
from tavtorch.lab.data.files import write_audio
from tavtorch.lab.data.recordings import recordings


def items(**options):
    data = recordings(partial(hissing, snr=20.0), **options)
    data.setup("test")
    return list(data.test_dataloader())


def test_noise_is_at_its_level_and_the_truth_is_clean():
    batches = items(count=3, seconds=1.0, batch_size=2)
    assert [len(batch["name"]) for batch in batches] == [2, 1]
    for truth, wave in zip(batches[0]["truth"], batches[0]["inputs"]["wave"], strict=True):
        assert 20 * (truth.norm() / (wave - truth).norm()).log10() == pytest.approx(20, abs=0.01)
    assert batches[0]["inputs"]["sample_rate"] == 16000


def test_a_folder_of_ones_own(tmp_path):
    for name, rate in (("b", 8000), ("a", 11025)):
        write_audio(tmp_path / f"{name}.wav", 0.1 * torch.randn(2, 4000), rate)
    (tmp_path / "c.wav").write_text("la la la")
    found = items(root=str(tmp_path), batch_size=4)
    assert [list(batch.get("name", batch["errors"])) for batch in found] == [["a"], ["b"], ["c"]]
    assert found[0]["inputs"]["sample_rate"] == 11025 and found[0]["truth"].shape == (1, 2, 4000)
    assert "not a recording" in found[2]["errors"]["c"]
