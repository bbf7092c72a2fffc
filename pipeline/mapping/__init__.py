"""Topics that others own, mapped to Rekindle's events as a YAML file says."""

from pipeline.mapping.mapped import Event, Mapping, Origin
from pipeline.mapping.reader import MappingError, parse_mapping

__all__ = ["Event", "Mapping", "MappingError", "Origin", "parse_mapping"]
