"""What long work needs anywhere: files, journals, snapshots, progress, the processor."""
