"""What an op is run on: items and batches (`batches`), and where they come from.

| data | files |
|---|---|
| any files, for predictions | `folder`, `media`: kinds of files, `files`: reading and writing them |
| pictures and recordings with a known damage | `images`, `recordings`, `damage` |
| generated pictures | `drawings`, `synthetic.shapes`, `synthetic.textures` |
| songs with stems | `songs`, `generated`; `stems`: excerpts of them to train on |
| songs to recognise | `music` |

`scored` is the data module of everything that is scored.
"""
