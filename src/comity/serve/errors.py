"""What goes wrong when a model answers.

ServeError
├── BadInference       a request that the model cannot answer (HTTP 400)
├── ModelRefused       an artefact that must not be loaded: other bytes, external data, foreign operators, another signature
├── NotReady           no model is loaded for the service (HTTP 503)
└── ReceiptNotDurable  the receipt could not be made durable, so there is no answer (HTTP 503)
"""

from __future__ import annotations

from comity.record.errors import ComityError


class ServeError(ComityError):
    """The root of this package's errors."""

    code = "serve"


class BadInference(ServeError):
    """A request that is not what the model takes."""

    code = "bad-inference"


class ModelRefused(ServeError):
    """An artefact that is not what was approved, or that could do more than compute."""

    code = "model-refused"
    exit_code = 4


class NotReady(ServeError):
    """Nothing is loaded here that could answer."""

    code = "not-ready"
    exit_code = 5


class ReceiptNotDurable(ServeError):
    """The receipt is not on disk; the answer is withheld."""

    code = "receipt-not-durable"
    exit_code = 2
