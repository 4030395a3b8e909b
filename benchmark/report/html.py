"""What all pages are made with: templates beside the modules that fill them, all text escaped."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Templates are named by their path in the package; a name that is not filled is an error."""
    return Environment(
        loader=PackageLoader("benchmark", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
