"""Views of images: specs (values), and the batched augmentation that renders them."""
