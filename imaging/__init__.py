"""Medical images: 2D pictures, CT and MR volumes, and the backbones for them."""
