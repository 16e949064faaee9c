import logging

import pytest

from tavtorch.lab.secrets import mask_files, mask_logs, masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://me:p%40ss@host:5432/songs", "postgresql+psycopg://me:***@host:5432/songs"),
        ("'url=postgresql://me:pa:ss@host/songs' x=y", "'url=postgresql://me:***@host/songs' x=y"),
        ("sqlite:///runs/library.sqlite", "sqlite:///runs/library.sqlite"),
        ("http://host:80/a?mail=b@c", "http://host:80/a?mail=b@c"),
        ("data:image/webp;base64,AA//:b@", "data:image/webp;base64,AA//:b@"),
    ],
)
def test_a_password_is_not_shown(text, shown):
    assert masked(text) == shown


def test_a_password_is_not_logged(caplog):
    before = [(handler, list(handler.filters)) for handler in logging.getLogger().handlers]
    mask_logs()
    logging.getLogger("tavtorch").warning("%s is not there", "postgresql://me:pass@host/songs")
    assert "pass" not in caplog.text and "me:***@host/songs is not there" in caplog.text
    for handler, filters in before:
        handler.filters = filters


def test_a_password_does_not_stay_in_the_files_of_hydra(tmp_path):
    (tmp_path / ".hydra").mkdir()
    files = [tmp_path / ".hydra/overrides.yaml", tmp_path / ".hydra/hydra.yaml", tmp_path / "multirun.yaml"]
    for path in files:
        path.write_text("- library.url=postgresql://me:pass@host/songs\n- task=recognise\n")
    mask_files(tmp_path)
    for path in files:
        assert path.read_text() == "- library.url=postgresql://me:***@host/songs\n- task=recognise\n"
