"""What this machine has: processors, memory, devices, fast precisions, a compiler."""
