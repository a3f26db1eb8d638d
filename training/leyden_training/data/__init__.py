"""The data: landscapes rendered from known scenes, and captions that say what is in them."""
