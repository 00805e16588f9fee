"""What a method sees of an image: view specs (values) and the batched augmentation that renders them."""
