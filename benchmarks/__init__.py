"""Measurements that compare the product with the plain SDK, or one store with another, in one run."""
