"""Where work runs: `core` decides (pure), `live` talks to Kubernetes."""
