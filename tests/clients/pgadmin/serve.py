"""pgAdmin 4 for one person, as its desktop program starts it: `HOME` holds all that it keeps, PORT and KEY are its address."""

import os
import runpy
import sys
import types
from importlib.metadata import distribution
from pathlib import Path

port, key = sys.argv[1:]
os.environ.update(PGADMIN_SERVER_MODE="OFF", PGADMIN_INT_PORT=port, PGADMIN_INT_KEY=key)

# What would otherwise be a config_local.py among the installed files.
settings = types.ModuleType("config_local")
settings.MASTER_PASSWORD_REQUIRED = False
settings.USE_OS_SECRET_STORAGE = False
settings.UPGRADE_CHECK_ENABLED = False
settings.LLM_ENABLED = False
sys.modules["config_local"] = settings

program = Path(distribution("pgadmin4").locate_file("pgadmin4/pgAdmin4.py"))
sys.path.insert(0, str(program.parent))
sys.argv = [str(program)]
runpy.run_path(str(program), run_name="__main__")
