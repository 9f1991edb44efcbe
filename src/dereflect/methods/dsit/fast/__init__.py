"""DSIT as it separates: a picture at a time, in place, both streams as one batch; equal to the plain form."""
