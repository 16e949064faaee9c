"""A local page to work on: every task of `configs/task`, by hand.

| file | what it does |
|---|---|
| `systems` | a task's page from its configuration and signature |
| `lines` | settings as words for Hydra, and the lines that do what the page does |
| `worker`, `views` | in a process of its own: a task is run, and what its result looks like |
| `listening` | what a microphone hears, all day |
| `jobs` | the processes, what waits for them, stop |
| `sessions` | the files of a visitor |
| `server`, `static/` | what the browser asks, and what it shows |
"""
