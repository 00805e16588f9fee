"""Networks that turn an image into a vector: the protocols, the timm adapter, saving and loading."""
