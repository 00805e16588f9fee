"""What the machine offers: CPUs, memory, devices, fast precisions, a compiler."""
