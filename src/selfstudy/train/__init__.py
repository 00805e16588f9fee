"""The optimizer-step loop and what it needs: optimizers, monitors, the checkpoint store."""
