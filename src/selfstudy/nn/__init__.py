"""Modules with state and no training: heads, the moving-average teacher, the queue."""
