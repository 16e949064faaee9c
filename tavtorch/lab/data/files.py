"""Files in and out: pictures; recordings, whole or in excerpts. Results appear whole or not at all."""

from tavtorch.atomic import whole
from tavtorch.lab.data.picture_files import PICTURES, Picture, picture_size, read_mask, read_picture, write_picture
from tavtorch.lab.data.raster_files import About
from tavtorch.lab.data.sound_files import AUDIO, AudioBlocks, SoundAbout, audio_info, read_audio, sound_about
from tavtorch.lab.data.sound_writer import AudioWriter, write_audio

__all__ = [
    "AUDIO",
    "PICTURES",
    "About",
    "AudioBlocks",
    "AudioWriter",
    "Picture",
    "SoundAbout",
    "audio_info",
    "picture_size",
    "read_audio",
    "read_mask",
    "read_picture",
    "sound_about",
    "whole",
    "write_audio",
    "write_picture",
]
