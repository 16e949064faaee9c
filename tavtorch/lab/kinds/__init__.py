"""What belongs to a kind of system: how its results are scored, shown on a page, and written to files.

| kind | file |
|---|---|
| picture → picture | `pictures` |
| picture → structure and texture | `splits` |
| picture and points → contours | `contours` |
| picture → force field | `forces` |
| wave → wave | `waves` |
| wave → stems | `stems` |
| wave → components | `notes` |
| wave → names of songs | `music` |

A score is `score(output, batch)`: a dictionary of `<part>/<measure>`, one number an item, `(b,)`. Panels are
`show(output, batch)`: a list of `Panel`, for a batch of one. A writer is `save(path, output, batch)`: it writes one
result, for a batch of one, under `path`, which has no suffix yet. A task file in `configs/task` names one of each.
`near` has ops on the part of a picture about a hole or a contour, for `task.inference`.
"""
