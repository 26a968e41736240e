"""The components, for our pipeline and for anybody's."""
