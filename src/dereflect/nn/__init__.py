"""Parts of networks that know no method."""
