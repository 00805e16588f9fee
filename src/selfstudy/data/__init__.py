"""From whatever the user points at to batches of uint8 images, scanned first."""
