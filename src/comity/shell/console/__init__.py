"""The console: pages over the HTTP API, drawn on the server, under a policy that lets no page run or load anything foreign.

`routes(api)` gives Starlette routes; `api` is an HTTP client to the same node, in process. See `pages`, `guard`, docs/console.md.
"""

from comity.shell.console.pages import routes

__all__ = ["routes"]
