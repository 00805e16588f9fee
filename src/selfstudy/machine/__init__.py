"""The machine: CPUs, memory, devices, fast precisions, a compiler."""
