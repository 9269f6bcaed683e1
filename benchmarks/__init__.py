"""Programs that measure, each printing ratios next to their targets.

`python -m benchmarks` runs all of them within half an hour, `python -m benchmarks NAME` one.
Nothing here fails because a machine is slow: read the ratios, and run them on an idle machine.
"""
