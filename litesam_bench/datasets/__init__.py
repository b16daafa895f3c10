"""Datasets: images with instances, behind the `Dataset` protocol of `litesam_bench.types`.

`open.open_dataset(name)` is the way in. To add a dataset, write one file that returns an object
with `info`, `image_ids`, `categories`, `truth` and `sample`, and name it in `open.py`.
"""
