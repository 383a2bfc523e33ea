"""Reading from trustless HTTP gateways: several at once, none of them believed."""

from pinfold.store.gateway.store import GatewayStore

__all__ = ["GatewayStore"]
