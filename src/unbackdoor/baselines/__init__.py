"""Defences of others, small and faithful, to be measured beside this one."""
