"""Image encoders for the lists; any other name that timm knows works too. Does not import torch."""

CATALOGUE = {
    "resnet10t": "ResNet, 4.9 M parameters: the fastest useful one on a CPU",
    "resnet18": "ResNet, 11.2 M: the default",
    "resnet34": "ResNet, 21.3 M",
    "resnet50": "ResNet, 23.5 M: what most papers report",
    "convnext_atto": "ConvNeXt, 3.4 M",
    "convnext_tiny": "ConvNeXt, 27.8 M",
    "vit_tiny_patch16_224": "vision transformer, 5.5 M; the patch size is chosen from the image size",
    "vit_small_patch16_224": "vision transformer, 21.7 M",
    "vit_base_patch16_224": "vision transformer, 85.8 M",
}
