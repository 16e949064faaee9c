"""What runs experiments: data, scores, panels and pages around the ops, with Lightning and Hydra.

`task` runs an op on batches, after `contract` has compared the op with them; `data` makes the batches; `kinds` has the
score, the panels and the writer of each kind of system; `report` and `write` are the callbacks for scores and
predictions, and `page` the HTML; `run` builds all of it from a configuration, and `script` says how a script ends.
"""
