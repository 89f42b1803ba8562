"""What the endpoints and workers share, in rooms; nothing in here imports `endpoints` or `workers`.

`base` ← `people` ← `conversations` ← `edge`: an arrow points at who may import what stands to its left. `edge` is the door: an event in,
the envelope out.
"""
