"""The walk of one picture: prepare (with its plan), run, stripes, finish, in this order."""
