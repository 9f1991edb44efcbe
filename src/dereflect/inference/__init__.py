"""The walk of one picture: plan, prepare, run, stripes, finish, in this order and never back."""
