"""What is measured: each module has `prepare(args) -> run`.

`run()` is what a worker times. Heavy imports stand inside of `prepare`.
"""
