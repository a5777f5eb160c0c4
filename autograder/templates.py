"""How the pages for people are rendered: everything is escaped, and a name that a template misspells is an error."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from .untrusted import for_page


def templates_of(package: str) -> Environment:
    """The templates in a package's folder ``templates``."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=for_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = "{:g}".format
    return environment
