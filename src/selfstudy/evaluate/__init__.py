"""How good an encoder is: frozen-feature probes, their baselines, and label-free health."""
