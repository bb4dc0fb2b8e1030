"""Detectors of other authors, written anew from their papers and published settings.

They are here to be measured beside the search of this package: on the same frozen network, with
every image that passes counted. Each gives Evidence with its own ``statistic``; the rule by which
its authors come to a verdict stands in :mod:`unbackdoor.bench.scan.rules`.
"""
