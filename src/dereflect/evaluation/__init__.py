"""Measuring methods on pairs with known layers."""
