"""Kinds of recordings that were read wrongly once, a line each: how the file is made, and what it holds."""

import os
import struct

import av
import numpy as np
import pytest
import soundfile
import torch

from tavtorch.lab.data.files import AUDIO, SoundAbout, audio_info, read_audio, sound_about, write_audio
from tavtorch.lab.data.sound_results import form_of_result

RATE, FRAMES = 44100, 30001
TIME = np.arange(FRAMES) / RATE
WAVE = np.stack((0.3 * np.sin(2 * np.pi * 440 * TIME), 0.2 * np.sin(2 * np.pi * 1234.5 * TIME)), 1).astype(np.float32)
COARSE = (WAVE * 32768).round() / 32768  # in 16 bits


def plain(**given):
    return lambda path: soundfile.write(path, COARSE, RATE, **given)


def coded(codec, container, rate=RATE, **options):
    """A file by ffmpeg's encoders."""

    def make(path):
        with av.open(path, "w", format=container, options=options) as file:
            stream = file.add_stream(codec, rate=rate, layout="stereo")
            stream.bit_rate = 192000
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(WAVE.T), format="fltp", layout="stereo")
            frame.rate, frame.pts = RATE, 0
            size = stream.codec_context.frame_size or 1024
            convert = av.AudioResampler(stream.codec_context.format, "stereo", rate, frame_size=size)
            for piece in (*convert.resample(frame), *convert.resample(None)):
                file.mux(stream.encode(piece))
            file.mux(stream.encode(None))

    return make


def changed(maker, *places):
    """A file with some bytes written over; a place is a number, or bytes and how far behind their start."""

    def make(path):
        maker(path)
        data = bytearray(path.read_bytes())
        for place, new in places:
            at = place if isinstance(place, int) else data.index(place[0]) + place[1]
            data[at : at + len(new)] = new
        path.write_bytes(data)

    return make


def twice(maker):
    def make(path):
        maker(path)
        path.write_bytes(2 * path.read_bytes())

    return make


def cut(maker, share=0.6):
    def make(path):
        maker(path)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return make


def data_size(size):
    return changed(plain(subtype="PCM_16"), ((b"data", 4), struct.pack("<I", size)))


MP3, VORBIS, OPUS = coded("libmp3lame", "mp3"), plain(format="OGG", subtype="VORBIS"), coded("libopus", "ogg", 48000)
STREAMED = coded("libmp3lame", "mp3", write_xing="0", id3v2_version="0")
M4A, FAST = coded("aac", "ipod"), coded("aac", "ipod", movflags="faststart")
NO_LENGTH = (21, b"\xf0" + 4 * b"\0")  # of the number of frames in a FLAC

READ = {  # a name: (suffix, maker, repetitions of the wave, largest number of frames more, largest difference)
    "WAV": ("wav", plain(), 1, 0, 0),
    "WAV, 24 bits": ("wav", plain(subtype="PCM_24"), 1, 0, 0),
    "WAV, extensible": ("wav", plain(format="WAVEX"), 1, 0, 0),
    "RF64": ("wav", plain(format="RF64"), 1, 0, 0),
    "W64": ("w64", plain(format="W64"), 1, 0, 0),
    "AIFF": ("aif", plain(format="AIFF"), 1, 0, 0),
    "AIFF-C": ("aifc", plain(format="AIFF", subtype="FLOAT"), 1, 0, 0),
    "AU": ("au", plain(), 1, 0, 0),
    "CAF": ("caf", plain(), 1, 0, 0),
    "FLAC": ("flac", plain(), 1, 0, 0),
    "FLAC in Ogg": ("oga", coded("flac", "ogg"), 1, 0, 1e-4),
    "WAV of a recorder that was killed": ("wav", data_size(0), 1, 0, 0),
    "WAV of a stream": ("wav", data_size(0xFFFFFFFF), 1, 0, 0),
    "WAV, one byte too large": ("wav", data_size(4 * FRAMES + 1), 1, 0, 0),
    "FLAC of a pipe": ("flac", changed(plain(), NO_LENGTH), 1, 0, 0),
    "Vorbis": ("ogg", VORBIS, 1, 0, 0.1),
    "Vorbis, two chained": ("ogg", twice(VORBIS), 2, 0, 0.1),
    "Opus": ("opus", OPUS, 1, None, None),
    "Opus, two chained": ("opus", twice(OPUS), 2, None, None),
    "MP3": ("mp3", MP3, 1, 0, 0.02),
    "MP3, two files in one": ("mp3", twice(MP3), 2, 0, 0.02),
    "MP3 of a pipe": ("mp3", STREAMED, 1, 3 * 1152, None),
    "MP3 of a pipe, two in one": ("mp3", twice(STREAMED), 2, 6 * 1152, None),
    "MP3 named WAV": ("wav", MP3, 1, 0, 0.02),
    "MPEG layer II": ("mp2", coded("mp2", "mp2"), 1, 2 * 1152, None),
    "AAC in MP4": ("m4a", M4A, 1, 0, 0.03),
    "AAC, header in front": ("m4a", FAST, 1, 0, 0.03),
    "AAC alone": ("aac", coded("aac", "adts"), 1, 2 * 1024, None),
    "ALAC": ("m4a", coded("alac", "ipod"), 1, 0, 1e-4),
    "ALAC in CAF": ("caf", coded("alac", "caf"), 1, 0, 1e-4),
    "WMA": ("wma", coded("wmav2", "asf"), 1, None, None),  # its encoder leaves the last frame out
    "AAC in Matroska": ("mka", coded("aac", "matroska"), 1, 1024, 0.03),
    "Opus in WebM": ("webm", coded("libopus", "webm", 48000), 1, None, None),
}

REFUSED = {  # a name: (suffix, maker, what the message says)
    "WAV, cut": ("wav", cut(plain()), "cut short: .* of 30001 frames"),
    "WAV, extensible, cut": ("wav", cut(plain(format="WAVEX")), "cut short"),
    "RF64, cut": ("wav", cut(plain(format="RF64")), "cut short"),
    "W64, cut": ("w64", cut(plain(format="W64")), "cut short"),
    "AIFF, cut": ("aif", cut(plain(format="AIFF")), "cut short: .* of 29999 frames"),
    "AU, cut": ("au", cut(plain()), "cut short"),
    "CAF, cut": ("caf", cut(plain()), "cut short"),
    "FLAC, cut": ("flac", cut(plain()), "cut short"),
    "FLAC of a pipe, cut": ("flac", cut(changed(plain(), NO_LENGTH)), "cut short"),
    "FLAC that promises billions": ("flac", cut(changed(plain(), (21, b"\xff" * 5)), 0.01), "do not fit|cut short"),
    "Vorbis, cut": ("ogg", cut(VORBIS), "cut short"),
    "Vorbis, two chained, cut": ("ogg", cut(twice(VORBIS)), "cut short"),
    "Opus, cut": ("opus", cut(OPUS), "cut short"),
    "MP3, cut": ("mp3", cut(MP3), "cut short: .* of 30001 frames"),
    "MP3 of a pipe, cut": ("mp3", cut(STREAMED), "cut short"),
    "MP3 with other bytes within": ("mp3", changed(MP3, (5000, bytes(range(250)) * 4)), "damaged"),
    "AAC in MP4, cut": ("m4a", cut(M4A), "cut short"),
    "AAC, header in front, cut": ("m4a", cut(FAST), "cut short"),
    "AAC alone, cut": ("aac", cut(coded("aac", "adts")), "cut short"),
    "AAC in Matroska, cut": ("mka", cut(coded("aac", "matroska")), "cut short"),
    "Opus in WebM, cut": ("webm", cut(coded("libopus", "webm", 48000)), "cut short"),
    "WMA, cut": ("wma", cut(coded("wmav2", "asf")), "cut short"),
    "no samples": ("wav", lambda path: soundfile.write(path, WAVE[:0], RATE), "no samples"),
    "a list of addresses": (
        "mp3",
        lambda path: path.write_text("#EXTM3U\nhttp://localhost/a.mp3\n"),
        "not a recording",
    ),
    "text": ("m4a", lambda path: path.write_text("la la la " * 1000), "not a recording"),
    "an empty file": ("mp3", lambda path: path.touch(), "not a recording"),
    "a folder": ("wav", lambda path: path.mkdir(), "no such file"),
}


@pytest.fixture
def make(tmp_path):
    def make(suffix, maker):
        path = tmp_path / f"sound.{suffix}"
        maker(path)
        return path

    return make


@pytest.mark.parametrize("name", READ)
def test_read_as_it_is(make, name):
    suffix, maker, times, more, close = READ[name]
    path = make(suffix, maker)
    wave, rate = read_audio(path)
    assert audio_info(path) == (rate, 2, wave.shape[1])
    length = round(times * FRAMES * rate / RATE)
    if more is None:  # Opus has 48 kHz
        assert rate in (RATE, 48000) and abs(wave.shape[1] - length) <= (1400 if suffix == "wma" else 2 * times)
    else:
        assert rate == RATE and 0 <= wave.shape[1] - length <= more
    if close is not None:
        expected = torch.from_numpy(np.tile(COARSE, (times, 1)).T)
        assert (wave[:, 600 : length - 600] - expected[:, 600 : length - 600]).abs().quantile(0.99) <= close


@pytest.mark.parametrize("name", [name for name in READ if "layer II" not in name and "AAC" not in name])
def test_an_excerpt_is_what_the_whole_holds_there(make, name):
    """AAC and MPEG layer II add noise at random."""
    path = make(*READ[name][:2])
    wave, _ = read_audio(path)
    for start in (0, 1, 1151, 20000, 27000, wave.shape[1] - 1000):
        torch.testing.assert_close(read_audio(path, start, 1000)[0], wave[:, start : start + 1000], atol=1e-6, rtol=0)
    torch.testing.assert_close(read_audio(path, 25000)[0], wave[:, 25000:], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["AAC in MP4", "AAC alone", "AAC in Matroska", "MPEG layer II"])
def test_an_excerpt_stands_where_it_is_in_the_whole(make, name):
    path = make(*READ[name][:2])
    wave, _ = read_audio(path)
    for start in (1, 5000, 28000):
        excerpt = read_audio(path, start, 1000)[0]
        assert (excerpt - wave[:, start : start + 1000]).abs().max() < 2e-3


LENGTHS = ["MP3", "AAC in MP4", "AAC, header in front", "ALAC", "ALAC in CAF", "FLAC in Ogg"]


@pytest.mark.parametrize("frames", [500, 1152, 2048, 5000, 22051, 44100])
@pytest.mark.parametrize("name", LENGTHS)
def test_every_frame_and_no_padding(make, monkeypatch, name, frames):
    monkeypatch.setitem(globals(), "WAVE", np.resize(WAVE, (frames, 2)))
    assert audio_info(make(*READ[name][:2])) == (RATE, 2, frames)


def video(path, *, sound):
    with av.open(path, "w", format="mp4") as file:
        pictures = file.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        stream = file.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for _ in range(20):
            file.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        file.mux(pictures.encode(None))
        for at in range(0, 4096 if sound else 0, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = RATE, at
            file.mux(stream.encode(frame))
        if sound:
            file.mux(stream.encode(None))


def test_the_sound_of_a_video(make):
    path = make("mp4", lambda path: video(path, sound=True))
    assert read_audio(path)[0].shape == (1, 4096)


def test_a_video_without_sound(make):
    with pytest.raises(ValueError, match="holds no sound"):
        read_audio(make("mp4", lambda path: video(path, sound=False)))


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_its_reason(make, name):
    suffix, maker, message = REFUSED[name]
    path = make(suffix, maker)
    with pytest.raises(ValueError, match=f"sound.{suffix}: .*({message})"):
        read_audio(path)


def test_beyond_the_end(make):
    path = make("wav", plain())
    with pytest.raises(ValueError, match="1 of 2 frames"):
        read_audio(path, FRAMES - 1, 2)
    with pytest.raises(ValueError, match="start: .* got -1"):
        read_audio(path, -1, 2)


def test_a_part_with_another_rate(make):
    def make_two(path):
        parts = []
        for rate in (RATE, 48000):
            coded("libmp3lame", "mp3", rate)(path)
            parts.append(path.read_bytes())
        path.write_bytes(b"".join(parts))

    with pytest.raises(ValueError, match="rate"):
        read_audio(make("mp3", make_two))


# written


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("suffix", ["wav", "aiff", "caf", "w64", "au"])
def test_written_in_the_depth_asked_for(tmp_path, suffix, subtype):
    path = tmp_path / f"a.{suffix}"
    write_audio(path, torch.from_numpy(COARSE.T), RATE, subtype=subtype)
    assert sound_about(path)[:3] == (f".{suffix}", suffix.upper(), subtype)
    assert torch.equal(read_audio(path)[0], torch.from_numpy(COARSE.T))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "oga", "opus", "mp3", "aif"])
def test_tags_come_back(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    write_audio(path, torch.zeros(2, 48000), 48000, tags={"title": "Étude", "artist": "Chopin"})
    tags = sound_about(path).tags
    assert (tags["title"], tags["artist"]) == ("Étude", "Chopin")
    assert audio_info(path) == (48000, 2, 48000)


def test_what_a_compressed_file_says_of_itself(make):
    def with_title(path):
        with av.open(path, "w") as file:
            file.metadata["title"] = "a song"
            stream = file.add_stream("aac", rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate = RATE
            file.mux([*stream.encode(frame), *stream.encode(None)])

    about = sound_about(make("m4a", with_title))
    assert about.suffix == ".m4a" and about.subtype == "aac" and about.tags["title"] == "a song"


def test_a_wav_of_more_than_4_gib_is_rf64(tmp_path, monkeypatch):
    from tavtorch.lab.data import sound_writer

    monkeypatch.setattr(sound_writer, "_RIFF_BYTES", 1000)
    write_audio(tmp_path / "a.wav", torch.from_numpy(WAVE.T), RATE)
    assert sound_about(tmp_path / "a.wav").format == "RF64"
    assert torch.equal(read_audio(tmp_path / "a.wav")[0], torch.from_numpy(WAVE.T))


@pytest.mark.parametrize(
    ("suffix", "wave", "rate", "subtype", "message"),
    [
        ("wav", torch.tensor([[0.0, torch.nan]]), RATE, None, "some NaN or infinite"),
        ("mp3", torch.tensor([[0.0, torch.inf]]), RATE, None, "some NaN or infinite"),
        ("mp3", torch.zeros(1, 9), 44101, None, "sample_rate: .*44101"),
        ("opus", torch.zeros(1, 9), 44100, None, "sample_rate: .*44100"),
        ("mp3", torch.zeros(5, 9), RATE, None, "5 channels of MPEG_LAYER_III"),
        ("flac", torch.zeros(1, 9), RATE, "FLOAT", "subtype: .*PCM_24.*FLOAT"),
        ("m4a", torch.zeros(1, 9), RATE, None, "are written as .*flac"),
    ],
)
def test_what_cannot_be_written(tmp_path, suffix, wave, rate, subtype, message):
    with pytest.raises(ValueError, match=message):
        write_audio(tmp_path / f"a.{suffix}", wave, rate, subtype=subtype)
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_written(tmp_path):
    write_audio(tmp_path / "a.wav", torch.full((1, 9), 0.5, dtype=torch.half), 8000)
    assert read_audio(tmp_path / "a.wav")[0].eq(0.5).all()


RESULTS = {  # a name: (source, peak, rate, channels, asked, result, what the log says)
    "WAV, 16 bits": ((".wav", "WAV", "PCM_16"), 0.9, RATE, 2, {}, (".wav", "PCM_16"), ""),
    "WAV, extensible": ((".wav", "WAVEX", "PCM_24"), 0.9, RATE, 2, {}, (".wav", "PCM_24"), ""),
    "WAV, 16 bits, loud": ((".wav", "WAV", "PCM_16"), 1.25, RATE, 2, {}, (".wav", "FLOAT"), "peak is 1.25, beyond"),
    "WAV in float, loud": ((".wav", "WAV", "FLOAT"), 1.25, RATE, 2, {}, (".wav", "FLOAT"), ""),
    "AIFF, loud": ((".aif", "AIFF", "PCM_24"), 1.25, RATE, 2, {}, (".aif", "FLOAT"), "in FLOAT"),
    "FLAC": ((".flac", "FLAC", "PCM_16"), 1.0, RATE, 2, {}, (".flac", "PCM_16"), ""),
    "FLAC, loud": ((".flac", "FLAC", "PCM_16"), 1.25, RATE, 2, {}, (".wav", "FLOAT"), "in FLOAT"),
    "FLAC named WAV": ((".wav", "FLAC", "PCM_24"), 0.9, RATE, 2, {}, (".flac", "PCM_24"), ""),
    "MP3, loud": ((".mp3", "MP3", "MPEG_LAYER_III"), 1.25, RATE, 2, {}, (".mp3", "MPEG_LAYER_III"), ""),
    "MP3 at a rate of FLAC": ((".mp3", "MP3", "MPEG_LAYER_III"), 1.0, 96000, 2, {}, (".wav", "FLOAT"), "96000 Hz"),
    "MP3 of five channels": ((".mp3", "MP3", "MPEG_LAYER_III"), 1.0, RATE, 5, {}, (".wav", "FLOAT"), "5 channels"),
    "Opus": ((".opus", "OGG", "OPUS"), 0.9, 48000, 2, {}, (".opus", "OPUS"), ""),
    "Opus named Ogg": ((".ogg", "OGG", "OPUS"), 0.9, 48000, 2, {}, (".ogg", "OPUS"), ""),
    "Opus at the rate of CDs": ((".opus", "OGG", "OPUS"), 0.9, RATE, 2, {}, (".wav", "FLOAT"), "44100 Hz"),
    "AAC": ((".m4a", "mov,mp4", "aac"), 0.9, RATE, 2, {}, (".wav", "FLOAT"), ""),
    "µ-law": ((".au", "AU", "ULAW"), 0.9, 8000, 1, {}, (".wav", "FLOAT"), ""),
    "no file": (None, 3.0, RATE, 2, {}, (".wav", "FLOAT"), ""),
    "FLAC asked for": ((".wav", "WAV", "PCM_16"), 0.9, RATE, 2, {"suffix": ".flac"}, (".flac", "PCM_16"), ""),
    "FLAC of float": ((".wav", "WAV", "FLOAT"), 0.9, RATE, 2, {"suffix": ".flac"}, (".flac", "PCM_24"), ""),
    "FLAC of what is loud": (
        (".wav", "WAV", "FLOAT"),
        9.0,
        RATE,
        2,
        {"suffix": ".flac"},
        (".flac", "PCM_24"),
        "clipped",
    ),
    "WAV of FLAC, loud": ((".flac", "FLAC", "PCM_16"), 9.0, RATE, 2, {"suffix": ".wav"}, (".wav", "FLOAT"), "in FLOAT"),
    "16 bits asked for": ((".wav", "WAV", "FLOAT"), 0.9, RATE, 2, {"subtype": "PCM_16"}, (".wav", "PCM_16"), ""),
    "16 bits of what is loud": (
        (".flac", "FLAC", "PCM_24"),
        9,
        RATE,
        2,
        {"subtype": "PCM_16"},
        (".flac", "PCM_16"),
        "the peak is 9 and is clipped",
    ),
    "16 bits of MP3": ((".mp3", "MP3", "MPEG_LAYER_III"), 0.9, RATE, 2, {"subtype": "PCM_16"}, (".wav", "PCM_16"), ""),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_stored_as_its_source(tmp_path, caplog, name):
    source, peak, rate, channels, asked, (suffix, subtype), said = RESULTS[name]
    wave = torch.zeros(channels, 50)
    wave[-1, 7] = -peak
    about = SoundAbout(*source, {"title": "Étude"}) if source else None
    with caplog.at_level("INFO", "tavtorch"):
        form = form_of_result(tmp_path / "song", wave, rate, about, **asked)
    assert form[:2] == (suffix, subtype) and form.tags == (about.tags if about else {})
    assert (said in caplog.text) if said else not caplog.text
    write_audio(tmp_path / f"a{suffix}", wave, rate, subtype=subtype, tags=form.tags)
    assert sound_about(tmp_path / f"a{suffix}").subtype == subtype


@pytest.mark.parametrize(
    ("asked", "rate", "message"),
    [
        ({"suffix": ".m4a"}, RATE, "task.save.suffix: expected one of .wav, .*got .m4a"),
        ({"suffix": "flac"}, RATE, "task.save.suffix: expected one of .wav, .*got flac"),
        (
            {"suffix": ".opus"},
            RATE,
            "task.save.suffix: .opus does not hold 1 channels at 44100 Hz in OPUS; choose .wav",
        ),
        ({"subtype": "16"}, RATE, "task.save.subtype: expected one of FLOAT, PCM_16, .*in .wav, got 16"),
        ({"suffix": ".flac", "subtype": "FLOAT"}, RATE, "task.save.subtype: expected one of PCM_24.*got FLOAT"),
    ],
)
def test_a_result_that_cannot_be_stored_as_asked(tmp_path, asked, rate, message):
    with pytest.raises(ValueError, match=message):
        form_of_result(tmp_path / "song", torch.zeros(1, 9), rate, **asked)


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_U8"), ("wav", "PCM_16"), ("flac", "PCM_24")])
def test_samples_are_rounded_to_the_nearest_integer(tmp_path, suffix, subtype):
    scale = {"PCM_U8": 128, "PCM_16": 2**15, "PCM_24": 2**23}[subtype]
    wave = torch.tensor([[0.4, 0.6, -0.4, -0.6, 5.0, -5.3]]) / scale
    write_audio(tmp_path / f"a.{suffix}", wave, RATE, subtype=subtype)
    assert (read_audio(tmp_path / f"a.{suffix}")[0] * scale).tolist() == [[0, 1, 0, -1, 5, -5]]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_names_that_are_no_utf8(tmp_path, suffix):
    path = tmp_path / os.fsdecode(b"caf\xe9." + suffix.encode())
    write_audio(path, torch.from_numpy(WAVE.T), RATE)
    assert read_audio(path)[0].shape == (2, FRAMES) and sound_about(path).suffix == f".{suffix}"


def test_every_suffix_of_a_case_is_found():
    assert {f".{suffix}" for suffix, *_ in READ.values()} <= set(AUDIO)
