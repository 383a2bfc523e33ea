"""Settings: `pinfold.toml`, then `.env`, then `PINFOLD_*`, then flags; the later one wins.

`load` tells all mistakes at once.  Secrets stay where they are: only where to find them is read.
"""

from pinfold.config.load import load
from pinfold.config.settings import Access, Policy, SecretSource, Settings, SourceSettings
from pinfold.config.values import Duration, duration, seconds, size

__all__ = [
    "Access",
    "Duration",
    "Policy",
    "SecretSource",
    "Settings",
    "SourceSettings",
    "duration",
    "load",
    "seconds",
    "size",
]
