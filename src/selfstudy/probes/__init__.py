"""What is asked of features: probes, their baselines and the table of results."""
