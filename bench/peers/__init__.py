"""What the sidecar is measured beside: programs and configurations, each as its users would have it."""
