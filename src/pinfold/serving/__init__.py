"""HTTP doors served: requests in, doors asked on threads, answers out within limits, logged and counted.

`App` and what it needs know nothing of sockets; `server.py` alone imports granian, and is not imported here, so that
settings and routes can be made where it is not installed.
"""

from pinfold.serving.address import Address
from pinfold.serving.app import App, Outcome
from pinfold.serving.limits import Limits
from pinfold.serving.routes import Route, Routes

__all__ = ["Address", "App", "Limits", "Outcome", "Route", "Routes"]
