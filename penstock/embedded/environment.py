"""What a service may see of our environment."""

from collections.abc import Mapping

# PGDATA, PGPORT, JAVA_TOOL_OPTIONS, CLASSPATH, LC_* and their like would change a service behind our back.
PASSED = ("PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in PASSED if name in environ} | {"LC_ALL": "C"}


def java_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The same for Java, which takes the encoding of file names from the locale: in `C` it knows ASCII alone."""
    return clean_environment(environ) | {"LC_ALL": "C.UTF-8"}
