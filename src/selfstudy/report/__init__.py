"""Pages about run folders: a report on one run, a comparison of several. Nothing here imports torch."""
