"""Running and comparing methods: what the command line is made of. Nothing heavy is imported here."""

from sb3_infomax.compare.spec import Method, RunSpec, UserError, parse_method

__all__ = ["Method", "RunSpec", "UserError", "parse_method"]
