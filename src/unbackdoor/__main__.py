"""``python -m unbackdoor``."""

from unbackdoor.app.cli import main

raise SystemExit(main())
