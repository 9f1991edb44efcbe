"""The same network with fewer passes over memory, for separating: tested against the plain form.

What differs: pictures lie channels-last throughout, activations, sums and products are made where a matrix
product ends, scalings are folded into the weights beside them, and only the last column is decoded.
"""
