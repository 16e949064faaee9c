"""Recognition of songs from a few noisy seconds.

`constellation` finds the peaks of a sonogram and hashes pairs of them, `landmarks` for recordings of any length.
`library` stores songs in a database (`address`, `tables`, `store`, `packing`), keeps them sorted in memory (`index`),
spread over processes (`shards`), and in a file (`cache`), and recognises clips (`search`, `changes`, `answers`,
`match`).
`setlist` finds the songs of long recordings, `listener` those of a stream that does not end; both put windows together
to `tracks`, and `calibration` tells how often these are false.
"""

from tavtorch.audio.recognition.constellation import Hashes as Hashes
from tavtorch.audio.recognition.constellation import Peaks as Peaks
from tavtorch.audio.recognition.constellation import pairs as pairs
from tavtorch.audio.recognition.constellation import peaks as peaks
from tavtorch.audio.recognition.constellation import unpack as unpack
from tavtorch.audio.recognition.landmarks import COURSE as COURSE
from tavtorch.audio.recognition.landmarks import Landmarks as Landmarks
from tavtorch.audio.recognition.landmarks import Recipe as Recipe
from tavtorch.audio.recognition.landmarks import evidence as evidence
from tavtorch.audio.recognition.landmarks import fingerprint as fingerprint
from tavtorch.audio.recognition.landmarks import fingerprint_stream as fingerprint_stream
from tavtorch.audio.recognition.library import Library as Library
from tavtorch.audio.recognition.listener import Listener as Listener
from tavtorch.audio.recognition.match import Match as Match
from tavtorch.audio.recognition.setlist import recognise as recognise
from tavtorch.audio.recognition.setlist import recognise_stream as recognise_stream
from tavtorch.audio.recognition.setlist import setlist as setlist
from tavtorch.audio.recognition.tracks import Heard as Heard
from tavtorch.audio.recognition.tracks import Track as Track
from tavtorch.audio.recognition.tracks import Tracker as Tracker
