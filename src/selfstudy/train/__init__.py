"""The training loop and what it needs: clock, signals, monitors, health, checkpoints, compilation."""
