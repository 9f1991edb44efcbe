"""The web page and the HTTP service: `dereflect serve`. Needs the extra ``web``."""
