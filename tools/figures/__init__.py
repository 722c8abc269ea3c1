"""Training and measuring the network that finds the drawn people of the embedded model's world."""
