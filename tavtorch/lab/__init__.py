"""What runs experiments: data, scores, panels and pages around the ops, with Lightning and Hydra.

`task` runs an op on batches, `data` makes the batches, `metrics` scores them, `panels` and `page` show them, `report`
and `write` are the callbacks that do so, and `run` builds all of it from a configuration.
"""
