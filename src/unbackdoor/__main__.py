"""``python -m unbackdoor``."""

from unbackdoor.cli import main

raise SystemExit(main())
