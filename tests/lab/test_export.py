"""The command `tavtorch-export`: a training's network, or that of the package, as a file of weights or of ONNX."""

import warnings

import pytest
import torch

from tavtorch import RidgeModel, UNet
from tavtorch.lab.checkpoints import Checkpoints
from tavtorch.lab.export import main
from tavtorch.lab.onnx_file import InRealNumbers

SMALL = {"width": 8, "depth": 2, "n_fft": 256, "hop": 64}


def small(**options):
    return UNet(**SMALL | options).requires_grad_(False).eval()


def saved(path, model, **made_by):
    kind = {"_target_": f"tavtorch.{type(model).__name__}"}
    weights = {f"op.{name}": value for name, value in model.state_dict().items()}
    state = {"made_by": kind | made_by, "state_dict": weights, "pytorch-lightning_version": "2.6.0"}
    Checkpoints().save_checkpoint(state, path)
    return str(path)


@pytest.fixture
def checkpoint(tmp_path):
    model = small()
    return model, saved(tmp_path / "best.ckpt", model, **SMALL)


def noise(*shape):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


# weights


def test_a_checkpoint_becomes_a_file_of_weights(checkpoint, tmp_path, capsys):
    model, path = checkpoint
    main([str(tmp_path / "own.safetensors"), path])
    back, wave = UNet.pretrained(tmp_path / "own.safetensors"), noise(1, 1, 3000)
    assert torch.equal(back(wave), model(wave)) and back.settings == model.settings
    assert "own.safetensors: UNet of 0." in capsys.readouterr().out


def test_the_weights_of_a_denoiser(tmp_path):
    model = RidgeModel(axis=2, diagonal=2, size=5)
    path = saved(tmp_path / "ridge.ckpt", model, axis=2, diagonal=2, size=5)
    main([str(tmp_path / "own.safetensors"), path])
    assert torch.equal(RidgeModel.pretrained(tmp_path / "own.safetensors").slopes, model.slopes)
    with pytest.raises(SystemExit, match=r"error: file: expected \*.safetensors for this network, got .*own.onnx"):
        main([str(tmp_path / "own.onnx"), path])


# graphs


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_torch_export_gives_the_same(batch):
    model, wave = small(), noise(batch, 1, 5000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the GRU's weights, which are no buffers
        program = torch.export.export(model, (wave,))
    assert torch.equal(program.module()(wave), model(wave))


@pytest.mark.parametrize("length", [1, 63, 64, 65, 5000])
@pytest.mark.parametrize("options", [{}, {"channels": 2}, {"stems": ("a", "b", "c", "d"), "hop": 32}])
def test_in_real_numbers_the_network_is_the_same(length, options):
    model, wave = small(**options), noise(1, options.get("channels", 1), length)
    torch.testing.assert_close(InRealNumbers(model, length)(wave), model(wave), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"channels": 2, "stems": ["a", "b", "c"]}, None])
def test_onnxruntime_gives_the_same(tmp_path, options):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = UNet.pretrained() if options is None else small(**options)
    file, network = (
        tmp_path / "own.onnx",
        [] if options is None else [saved(tmp_path / "a.ckpt", model, **SMALL | options)],
    )
    main([str(file), *network, "--seconds=2.01"])
    session, wave = runtime.InferenceSession(file), noise(1, model.channels, 32160)
    (stems,) = session.run(["stems"], {"wave": wave.numpy()})
    torch.testing.assert_close(torch.from_numpy(stems), model(wave).detach(), rtol=0, atol=1e-5)
    held = session.get_modelmeta().custom_metadata_map
    assert (held["stems"].split(","), held["sample_rate"]) == (list(model.stems), "16000")
    assert {path.name for path in tmp_path.iterdir()} <= {"own.onnx", "a.ckpt"}


# errors


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["own.pt"], r"file: expected \*.safetensors or \*.onnx, got .*own.pt"),
        (["own.safetensors", "none.ckpt"], "ckpt: .*none.ckpt does not exist"),
        (["own.safetensors", "none.safetensors"], "path: .*none.safetensors does not exist"),
        (["none/own.safetensors"], "path: none.own.safetensors cannot be written .No such file or directory."),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, monkeypatch, typed, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"error: {message}"):
        main(typed)
    assert not list(tmp_path.iterdir())


def test_a_name_in_a_checkpoint_is_not_called(tmp_path):
    model = small()
    for target in ("os.system", "tavtorch.UNet.pretrained", None):
        path = saved(tmp_path / "a.ckpt", model, **SMALL | {"_target_": target})
        with pytest.raises(SystemExit, match="is of none of the networks tavtorch.UNet, tavtorch.RidgeModel"):
            main([str(tmp_path / "own.safetensors"), path])


def test_without_the_packages_of_onnx(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SystemExit, match=r"needs the packages of pip install 'tavtorch\[onnx\]'"):
        main([str(tmp_path / "own.onnx")])


def test_windows_that_do_not_fit():
    with pytest.raises(ValueError, match="hop: expected a divisor of n_fft = 256 .*, got 100"):
        InRealNumbers(small(hop=100), 5000)


def test_weights_of_another_shape(tmp_path, checkpoint):
    model, _ = checkpoint
    path = saved(tmp_path / "a.ckpt", model, **SMALL | {"width": 4})
    with pytest.raises(SystemExit, match="ckpt: .*a.ckpt does not fit the network"):
        main([str(tmp_path / "own.safetensors"), path])
