"""The development set: networks with backdoors of every family, clean ones, and their scans."""
