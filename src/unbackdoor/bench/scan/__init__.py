"""The search of this package beside the detectors of others, on the same networks."""
