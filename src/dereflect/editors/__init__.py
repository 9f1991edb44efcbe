"""Installing what lets editors and file managers run `dereflect`; the files are in ``integrations/``."""
