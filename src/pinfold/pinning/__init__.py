"""The Pinning Service API 1.0.0, served over any store (docs/pinning.md)."""

from pinfold.pinning.budget import Limits
from pinfold.pinning.database import Database
from pinfold.pinning.service import Options, PinningService
from pinfold.pinning.tokens import SCOPES, Token, Tokens

__all__ = ["SCOPES", "Database", "Limits", "Options", "PinningService", "Token", "Tokens"]
