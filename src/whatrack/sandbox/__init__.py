"""A Meta that runs on this machine: what the product, its tests and other programs talk to instead of Meta.

Graph API, OAuth dialog, datasets, insights and signed webhooks over a made-up world that follows from a seed; faults on
demand; and the true answer, to compare with. It imports nothing of `whatrack.meta`: one misreading of Meta must not pass
on both sides. `docs/sandbox.md` tells how to point a client at it.
"""
