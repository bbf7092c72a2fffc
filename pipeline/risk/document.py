"""What `rekindle fit` writes and the registry keeps under `model/<hash>`: a model, and where it comes from."""

from hashlib import sha256
from typing import Final

import msgspec

from pipeline.risk.evaluate import Judgement
